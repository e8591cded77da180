"""Pictures as they might as well have been taken: moved, turned, in another light.

Everything random is drawn from torch's generator, a number for each picture, so that a step's pictures
follow from its seed. Mirrored ones are made only where asked: digits and hands then mean something else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SHIFT = 0.1  # of the side, either way: a crop out of the picture with a border round it
_TURN = math.radians(10)
_LIGHT = 0.2  # brightness in standard deviations; contrast and colour as shares


def augment(pictures: Tensor, *, flip: bool) -> Tensor:
    """Another version of each picture.

    Args:
        pictures: (pictures, 3, height, width), less their mean and by their standard deviation.
        flip: mirror every other one.
    """
    return _light(_move(pictures, flip=flip))


def _move(pictures: Tensor, *, flip: bool) -> Tensor:
    """Shifted, turned and mirrored in one go; what comes in from outside is the border's colour."""
    count, _, height, width = pictures.shape
    turn, across, down = (_spread(count) for _ in range(3))
    cos, sin = torch.cos(turn * _TURN), torch.sin(turn * _TURN)
    side = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    ys, xs = torch.meshgrid(_places(height), _places(width), indexing="ij")
    x, y = xs * side.view(-1, 1, 1), ys.expand(count, height, width)
    ratio = height / width  # turned in pixels, not in shares of two unlike sides
    cos, sin = cos.view(-1, 1, 1), sin.view(-1, 1, 1)
    moved_x = cos * x - sin * ratio * y + 2 * _SHIFT * across.view(-1, 1, 1)
    moved_y = sin / ratio * x + cos * y + 2 * _SHIFT * down.view(-1, 1, 1)
    grid = torch.stack([moved_x, moved_y], -1).to(pictures.device)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _light(pictures: Tensor) -> Tensor:
    count = len(pictures)
    bright, contrast, colour = (
        (_LIGHT * _spread(count)).view(-1, 1, 1, 1).to(pictures.device) for _ in range(3)
    )
    mean = pictures.mean((1, 2, 3), keepdim=True)
    lit = (pictures - mean) * (1 + contrast) + mean + bright
    grey = lit.mean(1, keepdim=True)
    return grey + (lit - grey) * (1 + colour)


def _spread(count: int) -> Tensor:
    """Uniform from -1 to 1, (count,)."""
    return 2 * torch.rand(count) - 1


def _places(size: int) -> Tensor:
    """The middles of pixels, from -1 to 1."""
    return (2 * torch.arange(size) + 1) / size - 1
