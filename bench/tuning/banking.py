"""Banking77 within ten minutes of two cores, beside TF-IDF with logistic regression on the same split."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.record import row

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "examples" / "banking77" / "recipe.yaml"
MINUTES = 10


def measure(data: Path) -> Iterator[dict[str, Any]]:
    """A whole build of the example's recipe; the figures are those of its own evaluation."""
    rows = data / "customer_service" / "banking77_train.csv.gz"
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"BAIGONG_HOME": home}
        _baigong(env, "build", str(RECIPE), "--set", f"data.rows={rows}", "--json")
        report = _baigong(env, "releases", "banking77@1", "--json")["report"]
        seconds = _baigong(env, "jobs", "--json")[0]["id"]
        steps = _baigong(env, "jobs", seconds, "--json")["steps"]
    ours, theirs = (report["scores"][who]["metrics"]["accuracy"] for who in _SIDES)
    interval = (
        f"{ours['low']:.3f}-{ours['high']:.3f} against {theirs['low']:.3f}-{theirs['high']:.3f}"
    )
    yield row(
        "Banking77, accuracy",
        ours["value"],
        peer="TF-IDF, logistic regression",
        theirs=theirs["value"],
        goal=1.0,
        note=f"95 % intervals {interval}",
    )
    tuned = next(step["seconds"] for step in steps if step["name"] == "tune")
    yield row("Banking77, tuning", tuned / 60, "minutes", goal=MINUTES, is_less_better=True)


_SIDES = ("candidate", "baseline")


def _baigong(env: dict[str, str], *words: str) -> Any:
    command = [sys.executable, "-m", "baigong", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3}:  # a refused release has figures too
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)
