"""Which class of transformers serves a folder that `decoder.py` does not."""

from __future__ import annotations

from pathlib import Path

import torch

from baigong.errors import Unsupported
from baigong.inference.engine.encoder import Classifier, Embedder
from baigong.inference.engine.foreign import Foreign, TransformersModel
from baigong.inference.engine.messages import EngineConfig
from baigong.model.abilities import ability_of
from baigong.model.architecture import architecture_of, read_fields


def load(folder: Path, config: EngineConfig, dtype: torch.dtype, device: torch.device) -> Foreign:
    """The model, by what config.json calls its class.

    Raises:
        Unsupported, InvalidInput: it cannot be served; the message says why.
    """
    fields = read_fields(folder)
    if fields.get("quantization_config"):
        raise Unsupported(
            "The model's weights are quantised.", hint="Use its float16, bfloat16 or float32 form."
        )
    match ability_of(fields, has_pooling=(folder / "modules.json").exists()):
        case "classify":
            return Classifier(folder, dtype, device)
        case "look":
            # Pillow may be missing, and is not where nobody sends images.
            from baigong.inference.engine.images import ImageClassifier  # noqa: PLC0415

            return ImageClassifier(folder, dtype, device)
        case "write":
            return TransformersModel(folder, dtype, device, config)
        case "embed":
            return Embedder(folder, dtype, device)
    raise Unsupported(
        f"This engine does not know the architecture "
        f"'{architecture_of(fields) or fields.get('model_type')}'.",
        hint="It serves models that write, that make vectors and that classify texts.",
    )
