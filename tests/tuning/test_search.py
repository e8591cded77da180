"""A small sweep: the usual settings first, the best kept, nothing lost by a stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from baigong.errors import InvalidInput
from baigong.tuning.plan import plan_tuning
from baigong.tuning.search import TRIED_FILE, Tried, search
from baigong.tuning.spec import TuneSpec
from baigong.types import Progress, Row

pytestmark = pytest.mark.anyio

SPEC = TuneSpec(epochs=2, batch_size=4, rank=8, threads=1, trials=3)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_the_best_of_some_trials_is_kept_and_a_stop_loses_none(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    usual = plan_tuning(rows, base, SPEC).settings
    second = asyncio.Event()

    def until_the_second(progress: Progress) -> None:
        assert progress.unit == "trials" and progress.total == 3
        if progress.done > 1:
            second.set()

    running = asyncio.create_task(search(rows, base, SPEC, tmp_path, until_the_second))
    await second.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    before = msgspec.json.decode((tmp_path / TRIED_FILE).read_bytes(), type=list[Tried])
    assert [tried.state for tried in before] == ["done", "running"]

    result, tried = await search(rows, base, SPEC, tmp_path)
    assert [t.choice for t in tried[:2]] == [t.choice for t in before]
    assert tried[0] == before[0]
    assert tried[0].choice == {"learning_rate": usual.learning_rate}
    assert len({t.choice["learning_rate"] for t in tried}) == 3
    done = [t for t in tried if t.state == "done"]
    best = max(done, key=lambda t: t.score or 0.0)
    assert result.settings.learning_rate == best.choice["learning_rate"]
    assert result.validation_accuracy == best.accuracy


async def test_without_validation_rows_there_is_nothing_to_choose_by(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    train = [row for row in rows if row.split == "train"]
    with pytest.raises(InvalidInput, match="no validation rows to choose by"):
        await search(train, base, SPEC, tmp_path)


async def test_what_is_given_leaves_nothing_to_choose(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(SPEC, learning_rate=1e-3)
    with pytest.raises(InvalidInput, match="rank, learning_rate and epochs are all given"):
        await search(rows, base, spec, tmp_path)
