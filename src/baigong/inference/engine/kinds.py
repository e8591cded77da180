"""Which class of transformers serves a folder that `decoder.py` does not."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.models.auto import modeling_auto as auto

from baigong.errors import Unsupported
from baigong.hub.architecture import architecture_of, looks_ahead, read_fields
from baigong.inference.engine.encoder import Classifier, Embedder
from baigong.inference.engine.foreign import Foreign, TransformersModel
from baigong.inference.engine.messages import EngineConfig

# Ends of an encoder's class name: with no head, or with the one it was first trained with.
_ENCODERS = ("Model", "ForMaskedLM", "ForPreTraining")


def load(folder: Path, config: EngineConfig, dtype: torch.dtype, device: torch.device) -> Foreign:
    """The model, by what config.json calls its class.

    Raises:
        Unsupported, InvalidInput: it cannot be served; the message says why.
    """
    fields = read_fields(folder)
    name, kind = architecture_of(fields), fields.get("model_type")
    if fields.get("quantization_config"):
        raise Unsupported(
            "The model's weights are quantised.", hint="Use its float16, bfloat16 or float32 form."
        )
    if name in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values():
        return Classifier(folder, dtype, device)
    if name in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.values():
        # Pillow may be missing, and is not where nobody sends images.
        from baigong.inference.engine.images import ImageClassifier  # noqa: PLC0415

        return ImageClassifier(folder, dtype, device)
    has_pooling = (folder / "modules.json").exists() or looks_ahead(fields)
    if name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() and not has_pooling:
        return TransformersModel(folder, dtype, device, config)
    is_encoder = has_pooling or name.endswith(_ENCODERS)
    if is_encoder and kind in auto.MODEL_MAPPING_NAMES and not fields.get("is_encoder_decoder"):
        return Embedder(folder, dtype, device)
    raise Unsupported(
        f"This engine does not know the architecture '{name or kind}'.",
        hint="It serves models that write, that make vectors and that classify texts.",
    )
