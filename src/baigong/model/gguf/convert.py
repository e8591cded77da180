"""From a GGUF file to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from baigong.model.gguf.family import config_of, family_of
from baigong.model.gguf.file import File
from baigong.model.gguf.tensors import write_weights
from baigong.model.gguf.tokenizer import Vocabulary
from baigong.types import Report


def convert(path: Path, folder: Path, report: Report) -> None:
    """Write config.json, the tokenizer with its templates, and the weights to `folder`.

    Raises:
        Unsupported: an architecture, a tokenizer or a quantisation that is not known.
        InvalidInput: the file is damaged, or lacks what a model needs.
    """
    file = File(path)
    family = family_of(file)
    config = config_of(file, family)
    vocabulary = Vocabulary(file)
    folder.mkdir(parents=True, exist_ok=True)
    marks = {
        "bos_token_id": vocabulary.mark("bos"),
        "eos_token_id": vocabulary.ends,
        "pad_token_id": vocabulary.mark("padding"),
    }
    (folder / "tokenizer.json").write_text(vocabulary.tokenizer().to_str(), "utf-8")
    _write(folder / "tokenizer_config.json", vocabulary.settings())
    _write(folder / "generation_config.json", marks)
    _write(folder / "config.json", config | marks)
    heads = config["num_attention_heads"], config["num_key_value_heads"]
    write_weights(file, family, heads, folder / "model.safetensors", report)


def _write(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False), "utf-8")
