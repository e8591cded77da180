"""Nats without all the logits at once: the same numbers and gradients as the plain way."""

from __future__ import annotations

import pytest
import torch

from baigong.tuning import likelihood as module
from baigong.tuning.likelihood import likelihood


@pytest.mark.parametrize("head_learns", [False, True])
def test_values_and_gradients_are_those_of_cross_entropy(
    head_learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGITS", 50 * 7)  # seven tokens at once
    torch.manual_seed(0)
    hidden, head = torch.randn(20, 16, requires_grad=True), torch.randn(50, 16)
    head.requires_grad_(head_learns)
    wanted, weights = torch.randint(50, (20,)), torch.rand(20)

    plain = torch.nn.functional.cross_entropy(hidden @ head.T, wanted, reduction="none")
    (plain * weights).sum().backward()
    slopes = [p.grad.clone() for p in (hidden, head) if p.grad is not None]
    hidden.grad = head.grad = None
    found = likelihood(hidden, head, wanted)
    (found.nats * weights).sum().backward()

    torch.testing.assert_close(found.nats, plain)
    assert torch.equal(found.is_likeliest, (hidden @ head.T).argmax(-1) == wanted)
    ours = [p.grad for p in (hidden, head) if p.grad is not None]
    assert len(ours) == len(slopes) == 1 + head_learns
    for mine, theirs in zip(ours, slopes, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    with torch.no_grad():
        found = likelihood(torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 1, 2]))
    assert not found.nats.requires_grad
