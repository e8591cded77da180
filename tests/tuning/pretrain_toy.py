"""A toy recipe and its text: small enough to train in seconds, shaped like the real one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_HAN = (
    "春眠不觉晓处闻啼鸟夜来风雨声花落知多少床前明月光疑是地上霜举头望低思故乡白日依山尽黄河入海流"
)


def english(chance: random.Random, count: int = 9) -> str:
    words = [
        "".join(chance.choices("abcdefghilmnoprstu", k=chance.randint(3, 8))) for _ in range(count)
    ]
    return " ".join(words).capitalize() + "."


def chinese(chance: random.Random, count: int = 16) -> str:
    characters = chance.choices(_HAN, k=count)
    return "".join(characters[:7]) + "，" + "".join(characters[7:]) + "。"


def write_data(folder: Path) -> Path:
    chance = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make, joint in (("en", english, " "), ("zh", chinese, "")):
        rows = []
        for number in range(60):
            lines = [joint.join(make(chance) for _ in range(4)) for _ in range(4)]
            rows.append({"title": f"{make(chance)[:12]}{number}", "text": "\n".join(lines)})
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text(text + "\n", encoding="utf-8")
    pairs = [f"{english(chance, 4)}\t{chinese(chance, 9)}" for _ in range(240)]
    (folder / "pairs.txt").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    return folder


def toy_recipe(**changes: Any) -> dict[str, Any]:
    def documents(name: str) -> dict[str, Any]:
        return {
            "name": name, "path": f"{name}.jsonl", "kind": "documents", "language": name,
            "title_field": "title", "licence": "CC0-1.0", "credit": "made up",
            "label": {"en": f"topic {name}", "zh": f"主题{name}"},
        }  # fmt: skip

    pairs = {
        "name": "pairs", "path": "pairs.txt", "kind": "pairs", "languages": ["en", "zh"],
        "translate": True, "licence": "CC BY-SA 4.0", "credit": "made up",
    }  # fmt: skip
    return {
        "name": "toy",
        "licence": "cc-by-sa-4.0",
        "seed": 3,
        "threads": 1,
        "compile": False,
        "sources": [documents("en"), documents("zh"), pairs],
        "tokenizer": {"vocabulary": 700},
        "shape": {
            "hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16,
            "intermediate": 64, "context": 512,
        },
        "mix": {"held_back": 0.15},
        "schedule": {
            "sequence": 256, "long_sequence": 512, "batch_tokens": 1024, "micro_tokens": 512,
            "warmup_steps": 2,
        },
        "budget": {
            "minutes": None, "steps": 8, "checkpoint_s": 0.0, "evaluate_steps": 4,
            "evaluate_tokens": 1024, "exam_tasks": 0,
        },
        **changes,
    }  # fmt: skip


def write_recipe(path: Path, recipe: dict[str, Any]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(recipe, file)
    return path
