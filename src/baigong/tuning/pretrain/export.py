"""The model folder that stock transformers loads: weights, configuration, tokenizer, card."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig
from transformers.utils.logging import disable_progress_bar

from baigong.tuning.pretrain.tokenizer import save_tokenizer


def export_model(
    model: Any, tokenizer: Tokenizer, folder: Path, facts: dict[str, Any], card: str
) -> None:
    """Built beside the folder and moved into its place, so that a reader never sees half of it."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config = model.config
    exported = copy.deepcopy(model).to(device="cpu", dtype=torch.bfloat16)
    exported.config.use_cache = True
    exported.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_new_tokens=256,
    )
    disable_progress_bar()
    exported.save_pretrained(partial)
    (partial / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, partial, config.max_position_embeddings)
    text = json.dumps(facts, ensure_ascii=False, indent=1)
    (partial / "training.json").write_text(text + "\n", encoding="utf-8")
    (partial / "README.md").write_text(card, encoding="utf-8")
    former = folder.with_name(folder.name + ".former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.rename(former)
    partial.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
