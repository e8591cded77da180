"""Classifiers of images. Pillow reads the files: `pip install 'baigong[images]'`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from typing_extensions import override

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.foreign import Foreign
from baigong.model.picture import read_picture


class ImageClassifier(Foreign):
    """Tells how likely each label is for an image."""

    tasks = ("look",)

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(transformers.AutoModelForImageClassification, folder, dtype, device)
        config = self._model.config
        self.labels = tuple(config.id2label[number] for number in range(config.num_labels))
        self._dtype = dtype
        try:
            self._prepare = transformers.AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            raise Unsupported(
                f"transformers cannot prepare images for {folder.name}: {error}",
                hint="Pull it again: it needs preprocessor_config.json.",
            ) from error

    @override
    def look(self, images: Sequence[bytes]) -> Tensor:
        pictures = [_picture(image, number) for number, image in enumerate(images)]
        inputs = self._prepare(images=pictures, return_tensors="pt").to(self.device, self._dtype)
        logits: Tensor = self._model(**inputs).logits
        return logits.softmax(-1, torch.float32)


def _picture(data: bytes, number: int) -> Any:
    try:
        return read_picture(data)
    except InvalidInput as error:
        raise InvalidInput(
            f"input: image {number} cannot be read: {error.message}",
            hint="Send a PNG, JPEG, WebP, GIF or BMP file.",
            param="input",
        ) from error
