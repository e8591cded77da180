"""How a benchmark leaves its figures: bench/results/NAME.json."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def record(
    name: str, rows: list[dict[str, Any]], libraries: Sequence[str] = (), **facts: Any
) -> None:
    """Write `rows`, the versions of Baigong and of `libraries`, the date, and other `facts`."""
    versions = {name: importlib.metadata.version(name) for name in ("baigong", *libraries)}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    result = {**facts, "versions": versions, "date": date, "rows": rows}
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")
