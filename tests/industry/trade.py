"""A tiny trade for tests: a recipe, its rows and a handbook, on a base with random weights."""

from __future__ import annotations

import json
from pathlib import Path

from baigong.app import Platform
from baigong.config import Settings
from baigong.hub.pull import pull
from tests.models import make_model

STEPS = [
    "plan", "prepare", "ground", "tune", "parity", "evaluate", "gate", "release", "promote",
]  # fmt: skip

RECIPE = """\
name: desk
base: local/tiny
task: classification
data:
  rows: rows.jsonl
  split: {validation: 0.1, test: 0.3}
tune: {epochs: 12, rank: 8, learning_rate: 0.01, batch_size: 8}
knowledge: {sources: [handbook], passages: 2}
evals: {metrics: [accuracy], max_rows: 20}
gate: {metric: accuracy, minimum: 0.8}
serve: {max_tokens: 4}
"""

# Easy enough for a model of 100,000 random weights to learn in seconds.
LABELS = {"a": "yes", "b": "no"}


def make_trade(folder: Path, recipe: str = RECIPE) -> Path:
    """Write the recipe with 120 rows and two documents; the recipe's path."""
    (folder / "handbook").mkdir(parents=True)
    (folder / "handbook" / "returns.md").write_text("# Returns\n\nKettles return in 30 days.\n")
    (folder / "handbook" / "保修.md").write_text("# 保修\n\n电饭煲保修两年。\n")
    rows = [
        {"text": f"{word * 3} {number}", "label": LABELS[word]}
        for number in range(60)
        for word in LABELS
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    return path


def open_platform(home: Path) -> Platform:
    """A platform in `home` whose hub holds `local/tiny`."""
    platform = Platform.open(Settings.load(home=home))
    if "local/tiny" not in platform.hub.names("model"):
        folder = make_model(home / "tiny", "qwen3")
        pull(platform.hub, str(folder), workdir=home / "pulls", report=lambda _: None)
    return platform


class Quiet:
    """Watches a job (jobs.Watch) and remembers which steps were done and which were kept."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.kept: list[str] = []

    def started(self, step):
        pass

    def progressed(self, step, progress):
        pass

    def finished(self, step, output, *, again):
        (self.kept if again else self.done).append(step)
