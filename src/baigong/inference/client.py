"""An engine as the rest of the platform sees it: token ids in, token ids out, restarted when it dies."""

from __future__ import annotations

import array
import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from baigong.errors import BaigongError, EngineUnavailable, NotFound
from baigong.inference.engine.messages import (
    Abort,
    AddAdapter,
    Choose,
    Classify,
    Done,
    Embed,
    EngineConfig,
    Look,
    ModelFacts,
    RemoveAdapter,
    Rows,
    Submit,
    ToEngine,
    Token,
)
from baigong.inference.process import EngineProcess, Reply
from baigong.inference.restarts import MOST, WINDOW_S, Restarts
from baigong.types import Sampling, caller

__all__ = ["Engine", "EngineConfig", "EngineStats", "ModelFacts", "Token"]

_T = TypeVar("_T")


class EngineStats(msgspec.Struct, frozen=True):
    """How an engine is doing. `pid` is None while no process runs; `cached_tokens` are in use."""

    model: str
    facts: ModelFacts
    pid: int | None
    starts: int
    running: int
    waiting: int
    cached_tokens: int
    generated_tokens: int
    adapters: tuple[str, ...]


class Engine:
    """The engine of one base model. Belongs to the event loop that started it.

    When the process dies, what it held fails with EngineUnavailable, and the next request starts a
    fresh one and loads into it the adapter it needs.
    """

    def __init__(self, folder: Path, config: EngineConfig, process: EngineProcess) -> None:
        self.folder = folder
        self.config = config
        self._process = process
        self._starts = 1
        self._generated = 0  # by processes that have died
        self._restarts = Restarts()
        self._adapters: dict[str, Path] = {}
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()
        self._adding = asyncio.Lock()
        self._last_words = ""  # of a start that failed
        self._is_closed = False

    @classmethod
    async def start(cls, folder: Path, config: EngineConfig | None = None) -> Engine:
        """Start an engine on a Hugging Face model folder, and wait until it can answer.

        Raises:
            Unsupported: an architecture, a weight format or a setting that the engine cannot do.
            InvalidInput: the folder's files are wrong; the message says which and how.
            EngineUnavailable: the process died while loading; the hint holds the end of its log.
        """
        config = config or EngineConfig()
        return cls(folder, config, await EngineProcess.start(folder, config))

    @property
    def facts(self) -> ModelFacts:
        """What the model is; known even while the process is being restarted."""
        return self._process.facts

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that requests may use."""
        return tuple(self._adapters)

    async def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        stop_ids: Sequence[int] = (),
    ) -> AsyncGenerator[Token, None]:
        """Yield tokens as they are made; the last carries `finish_reason`.

        Closing the generator aborts the request, which frees its place within one step.
        `sampling.stop` is for text and ignored here; `max_tokens` is clipped to the context.

        Raises:
            ContextOverflow: the prompt leaves no room for an answer.
            InvalidInput: an id outside the vocabulary, no ids, or (`param` is "grammar") a grammar
                that cannot be used.
            BaigongError: code "not_finite", the model's numbers broke; nobody else is touched.
            NotFound: no adapter of this name was added.
            Overloaded: too many wait already.
            EngineUnavailable: the process died; the same call may be made again.
        """
        process = await self._running()
        await self._need(process, adapter)
        id = next(self._ids)
        box = process.ask(
            id, Submit(id, list(ids), sampling, list(stop_ids), adapter, caller.get())
        )
        is_over = False
        try:
            while not is_over:
                reply = await box.get()
                is_over = not isinstance(reply, Token) or reply.finish_reason is not None
                yield _expect(reply, Token)
        finally:
            process.forget(id)
            if not is_over:
                process.tell(Abort(id))

    async def embed(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector for each list of token ids: unit means, or what the model's folder says.

        Raises:
            ContextOverflow, InvalidInput, EngineUnavailable: as `generate`.
            Unsupported: the model makes no vectors.
        """
        return await self._rows(Embed(next(self._ids), [list(one) for one in ids]))

    async def choose(
        self, ids: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[list[float]]:
        """For each list of ids, how likely each of `tokens` is the next, were there no others.

        Raises:
            ContextOverflow, InvalidInput, EngineUnavailable: as `generate`.
            Unsupported: the model does not write.
        """
        return await self._rows(Choose(next(self._ids), [list(one) for one in ids], list(tokens)))

    async def classify(
        self, ids: Sequence[Sequence[int]], seconds: Sequence[int] = ()
    ) -> list[list[float]]:
        """For each list of ids, how likely each of `facts.labels` is.

        Args:
            ids: texts, or pairs of them.
            seconds: where in each pair the second text begins.

        Raises:
            ContextOverflow, InvalidInput, EngineUnavailable: as `generate`.
            Unsupported: the model knows no labels.
        """
        message = Classify(next(self._ids), [list(one) for one in ids], list(seconds))
        return await self._rows(message)

    async def look(self, images: Sequence[bytes]) -> list[list[float]]:
        """For each image, given as a file, how likely each of `facts.labels` is.

        Raises:
            InvalidInput: a file is not an image.
            Unsupported: the model does not see.
            EngineUnavailable: as `generate`.
        """
        return await self._rows(Look(next(self._ids), list(images)))

    async def add_adapter(self, name: str, folder: Path) -> None:
        """Load a PEFT adapter while the engine runs, or put another in place of `name`.

        Requests that run keep the weights they began with.

        Raises:
            Unsupported, InvalidInput: the adapter does not fit this base; the message says why.
            EngineUnavailable: the process died.
        """
        await self._load(await self._running(), name, folder)
        self._adapters[name] = folder

    async def remove_adapter(self, name: str) -> None:
        """Take no more requests for `name`; returns when the last running one has ended.

        Raises:
            NotFound: no adapter of this name was added.
        """
        if name not in self._adapters:
            raise NotFound.among("adapter", name, self.adapters)
        del self._adapters[name]
        process = self._process
        if process.adapters.pop(name, None) is None or not process.is_alive:
            return
        id = next(self._ids)
        _expect(await self._ask(process, id, RemoveAdapter(id, name)), Done)

    def stats(self) -> EngineStats:
        """Counters, as of the latest step."""
        process, load = self._process, self._process.load
        is_idle = load is None or not process.is_alive
        return EngineStats(
            model=self.folder.name,
            facts=process.facts,
            pid=process.pid if process.is_alive else None,
            starts=self._starts,
            running=0 if is_idle or load is None else load.running,
            waiting=0 if is_idle or load is None else load.waiting,
            cached_tokens=0 if is_idle or load is None else load.cached_tokens,
            generated_tokens=self._generated + process.tokens,
            adapters=self.adapters,
        )

    async def close(self) -> None:
        """End the process; what is open fails."""
        self._is_closed = True
        async with self._starting:
            await self._process.close()

    async def _running(self) -> EngineProcess:
        """The process, after a fresh start where it has died."""
        async with self._starting:
            if self._is_closed:
                raise EngineUnavailable(f"The engine for {self.folder.name} has been closed.")
            if not self._process.is_alive:
                await self._restart()
            return self._process

    async def _restart(self) -> None:
        await self._process.close()  # waits until the dead one is reaped
        if wait := self._restarts.wait_s():
            raise EngineUnavailable(
                f"The engine for {self.folder.name} was restarted {MOST} times within "
                f"{WINDOW_S:.0f} s and died again; the next try is in {wait:.0f} s.",
                hint=self._last_words or self._process.log_tail(),
            )
        self._restarts.note()
        try:
            process = await EngineProcess.start(self.folder, self.config)
        except EngineUnavailable as error:
            self._last_words = error.hint
            raise
        self._last_words = ""
        self._generated += self._process.tokens
        self._process = process
        self._starts += 1

    async def _need(self, process: EngineProcess, adapter: str | None) -> None:
        """See that this process has the adapter: a fresh one loads it on first use."""
        if adapter is None or process.adapters.get(adapter) is not None:
            return
        if adapter not in self._adapters:
            raise NotFound.among("adapter", adapter, self.adapters)
        await self._load(process, adapter, self._adapters[adapter])

    async def _load(self, process: EngineProcess, name: str, folder: Path) -> None:
        if process.adapters.get(name) == folder:
            return
        async with self._adding:
            if process.adapters.get(name) == folder:
                return
            id = next(self._ids)
            _expect(await self._ask(process, id, AddAdapter(id, name, str(folder))), Done)
            process.adapters[name] = folder

    async def _rows(self, message: Embed | Choose | Classify | Look) -> list[list[float]]:
        reply = await self._ask(await self._running(), message.id, message)
        rows = _expect(reply, Rows)
        flat, size = array.array("f", rows.data), rows.size
        return [flat[start : start + size].tolist() for start in range(0, len(flat), size)]

    async def _ask(self, process: EngineProcess, id: int, message: ToEngine) -> Reply:
        """Send a message that has exactly one reply."""
        box = process.ask(id, message)
        try:
            return await box.get()
        finally:
            process.forget(id)


def _expect(reply: Reply, kind: type[_T]) -> _T:
    if isinstance(reply, BaigongError):
        raise reply
    assert isinstance(reply, kind)
    return reply
