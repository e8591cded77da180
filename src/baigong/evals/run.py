"""Asks a model every row, several at a time, and keeps each answer the moment it is there."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from baigong.errors import EngineUnavailable
from baigong.types import Delta, FinishReason, Progress, Report, Row, Sampling


class Ask(Protocol):
    """Has a model answer a row, piece by piece."""

    def __call__(self, row: Row, sampling: Sampling, /) -> AsyncIterator[Delta]: ...


class Prediction(msgspec.Struct, frozen=True):
    """A model's answer to a row. `asked` is a hash of what it was asked, and how."""

    row: str
    asked: str
    text: str
    finish_reason: FinishReason = "stop"
    tokens: int = 0
    seconds: float = 0.0


async def predict(
    rows: Sequence[Row],
    ask: Ask,
    sampling: Sampling,
    *,
    concurrency: int,
    done: Path,
    report: Report,
) -> list[Prediction]:
    """Predictions for the rows, in their order.

    Each is appended to `done` (JSONL) at once, so that the same call after a kill asks only what is
    still missing. An answer counts only if its row, prompt and sampling are unchanged.

    Raises:
        EngineUnavailable: an answer was broken off.
        Exception: whatever `ask` raises, unchanged; the answers until then are kept.
    """
    asked = {_asked(row, sampling): row for row in rows}
    with _Log(done) as log:
        missing = [key for key in asked if key not in log.known]
        queue = iter(missing)
        started, before = time.monotonic(), len(log.known)

        def tell() -> None:
            new = len(log.known) - before
            rate = new / max(time.monotonic() - started, 1e-6)
            report(Progress(len(asked) - len(missing) + new, len(asked), "rows", rate))

        async def work() -> None:
            for key in queue:  # one iterator for all workers: whoever is free takes the next row
                log.append(await _ask(asked[key], key, ask, sampling))
                tell()

        tell()
        await _together([work() for _ in range(min(max(concurrency, 1), len(missing)))])
        return [log.known[_asked(row, sampling)] for row in rows]


async def _together(workers: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs all; the first error stops the others and is raised as it is, not inside a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _ask(row: Row, key: str, ask: Ask, sampling: Sampling) -> Prediction:
    started = time.monotonic()
    pieces: list[str] = []
    tokens = 0
    reason: FinishReason | None = None
    async for delta in ask(row, sampling):
        pieces.append(delta.text)
        tokens += delta.tokens
        reason = delta.finish_reason or reason
    if reason is None or reason == "abort":
        # Half an answer would be scored as a wrong one.
        raise EngineUnavailable(
            f"The answer to row {row.id} ({row.source}) was broken off.",
            hint="Run the same command again; the answers until here are kept.",
        )
    seconds = round(time.monotonic() - started, 3)
    return Prediction(row.id, key, "".join(pieces), reason, tokens, seconds)


def _asked(row: Row, sampling: Sampling) -> str:
    """What identifies a question: the row, the exact messages and the sampling."""
    content = msgspec.json.encode([row.id, row.messages, sampling])
    return hashlib.sha256(content).hexdigest()[:32]


class _Log:
    """The predictions on disk. Opening cuts off what a kill left half written at the end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, Prediction] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        whole = 0
        for line in self._file:  # in a binary file only "\n" ends a line
            prediction = _read(line)
            if prediction is None:
                break  # what follows a damaged line is asked again
            self.known[prediction.asked] = prediction
            whole += len(line)
        self._file.truncate(whole)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, prediction: Prediction) -> None:
        """Keeps a prediction; after a flush it survives the death of this process."""
        self._file.write(msgspec.json.encode(prediction) + b"\n")
        self._file.flush()
        self.known[prediction.asked] = prediction


def _read(line: bytes) -> Prediction | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=Prediction)
    except msgspec.DecodeError:
        return None
