"""A model for pictures with random weights, to be trained from nothing: a base folder for `objective: images`.

`python -m baigong.tuning.fresh resnet 64 FOLDER` writes one, and `baigong pull FOLDER` brings it into the hub.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageClassification

from baigong.errors import InvalidInput

# Small ones, for thousands of small pictures rather than millions of large ones.
KINDS: dict[str, dict[str, Any]] = {
    "resnet": {
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 128, 256],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
    "vit": {
        "hidden_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    },
}
_PATCHES = 8  # of a transformer, along a side


def make_fresh(folder: Path, kind: str, size: int, seed: int = 0) -> Path:
    """Write config.json, weights and preprocessor_config.json of a model for pictures of `size` pixels.

    Raises:
        InvalidInput: no such kind, or a size that is no multiple of 8 from 16 to 1024.
    """
    if kind not in KINDS:
        raise InvalidInput(f"There is no kind '{kind}'.", hint=f"Use {' or '.join(KINDS)}.")
    if not 16 <= size <= 1024 or size % _PATCHES:
        raise InvalidInput(f"The size is {size}.", hint="Use a multiple of 8 from 16 to 1024.")
    own = {"image_size": size, "patch_size": size // _PATCHES} if kind == "vit" else {}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **KINDS[kind], **own, num_labels=2)
    AutoModelForImageClassification.from_config(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1), "utf-8")
    return folder


if __name__ == "__main__":
    make_fresh(Path(sys.argv[3]), sys.argv[1], int(sys.argv[2]))
