"""The model folder, as model2vec and sentence-transformers read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from baigong.tuning.embedder.card import write_card
from baigong.tuning.embedder.table import Floats
from baigong.tuning.files import write_folder

_MODULE = "sentence_transformers.models."


def export(vectors: Floats, tokenizer: Tokenizer, folder: Path, facts: dict[str, Any]) -> None:
    """Small integers with a scale for each token: a quarter of the size, and the same ranking."""
    largest = np.abs(vectors).max(axis=1)
    scales = (largest / 127).astype(np.float32)
    small = np.rint(vectors / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "hidden_dim": vectors.shape[1],
        "vocab_size": vectors.shape[0],
        "normalize": True,
        "embedding_dtype": "int8",
    }
    modules = [
        {"idx": 0, "name": "0", "path": ".", "type": f"{_MODULE}StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{_MODULE}Normalize"},
    ]

    def fill(place: Path) -> None:
        save_file({"embeddings": small, "weights": scales}, place / "model.safetensors")
        tokenizer.save(str(place / "tokenizer.json"), pretty=False)
        for name, content in (("config", config), ("modules", modules), ("training", facts)):
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (place / f"{name}.json").write_text(text + "\n", "utf-8")
        (place / "README.md").write_text(write_card(facts), "utf-8")

    write_folder(folder, fill)
