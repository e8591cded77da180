"""Classification of pictures: convolutional networks and transformers, through transformers' classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageClassification

from baigong.model.picture import read_picture
from baigong.tuning.augment import augment
from baigong.tuning.examples.pictured import Pictured
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.heads import label_fields, load_headed, shortest
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.learners.classify import UNKNOWN
from baigong.tuning.told import Told

_KEPT = 256 << 20  # bytes of pictures that are kept as the model takes them
_FEW = 5


class Images:
    """Cross entropy over the labels. Right is a picture whose likeliest label is its own.

    Pictures are prepared by the processor that serves the model. The figure `top5` is the share of
    validation pictures whose label is among the five likeliest.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Pictured]) -> None:
        labels = sorted({example.label for example in prepared.train})
        self.numbers = {label: number for number, label in enumerate(labels)}
        self.weights = load_headed(
            job, AutoModelForImageClassification, **label_fields(job, labels)
        )
        # On a processor torch leaves gradients of a convolution in bfloat16 unset where its window is
        # larger than the picture that has become of the picture.
        self.weights.takes_bfloat16 = self.weights.device.type != "cpu"
        self.settings = job.settings
        self._prepare = AutoImageProcessor.from_pretrained(
            job.base, backend="pil", local_files_only=True, trust_remote_code=False
        )
        self._pixels: dict[bytes, Tensor] = {}
        self._judged = self._among = 0
        self.weights.kept = self._kept(prepared.train[0])
        self.shown = shortest(prepared.train)
        self.weights.probe = self._tell

    def loss(self, examples: Sequence[Pictured]) -> Tensor:
        # A normalisation over batches has nothing to go by where there is one picture.
        twice = 2 if len(examples) == 1 and self.weights.running else 1
        pixels = self._read(list(examples) * twice)
        if self.settings.augment:
            with torch.no_grad(), torch.autocast(self.weights.device.type, enabled=False):
                pixels = augment(pixels, flip=self.settings.flip)
        return self._nats(self._logits(pixels), list(examples) * twice) / twice

    def judge(self, examples: Sequence[Pictured]) -> Judged:
        logits = self._logits(self._read(examples))
        wanted = self._wanted(examples).unsqueeze(1)
        likeliest = logits.topk(min(_FEW, logits.shape[1])).indices == wanted
        self._judged += len(examples)
        self._among += int(likeliest.any(1).sum())
        return Judged(self._nats(logits, examples), likeliest[:, 0])

    def figures(self) -> dict[str, float]:
        if not self._judged:
            return {}
        share = self._among / self._judged
        self._judged = self._among = 0
        return {"top5": share}

    def _tell(self) -> list[Told]:
        shares = self._logits(self._read(self.shown)).softmax(-1).tolist()
        return [Told(one.file, row) for one, row in zip(self.shown, shares, strict=True)]

    def _logits(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.weights.model(pixel_values=pixels).logits.float()
        return logits

    def _nats(self, logits: Tensor, examples: Sequence[Pictured]) -> Tensor:
        return torch.nn.functional.cross_entropy(
            logits, self._wanted(examples), reduction="sum", ignore_index=UNKNOWN
        )

    def _wanted(self, examples: Sequence[Pictured]) -> Tensor:
        numbers = [self.numbers.get(example.label, UNKNOWN) for example in examples]
        return torch.tensor(numbers, device=self.weights.device)

    def _read(self, examples: Sequence[Pictured]) -> Tensor:
        """Pixels as the model takes them, (pictures, 3, height, width)."""
        return torch.stack([self._picture(example.file) for example in examples]).to(
            self.weights.device
        )

    def _picture(self, file: bytes) -> Tensor:
        known = self._pixels.get(file)
        if known is not None:
            return known
        pixels: Tensor = self._prepare(images=[read_picture(file)], return_tensors="pt")[
            "pixel_values"
        ][0]
        if (len(self._pixels) + 1) * pixels.nbytes <= _KEPT:
            self._pixels[file] = pixels
        return pixels

    def _kept(self, example: Pictured) -> int:
        """Bytes that a backward pass keeps of a picture."""
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += 0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes
            return tensor

        self.weights.model.eval()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            self.weights.model(pixel_values=self._read([example]))
        return total
