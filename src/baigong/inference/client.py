"""An engine as the rest of the platform sees it: token ids in, token ids out, restarted when it dies."""

from __future__ import annotations

import array
import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path

import msgspec

from baigong.errors import EngineUnavailable, NotFound
from baigong.inference.adapters import Adapters, Registered
from baigong.inference.engine.messages import (
    Abort,
    Choose,
    Classify,
    Embed,
    EngineConfig,
    Look,
    ModelFacts,
    Rows,
    Submit,
    Token,
)
from baigong.inference.process import EngineProcess, expect, new_id
from baigong.inference.restarts import MOST, WINDOW_S, Restarts
from baigong.types import Sampling, caller

__all__ = ["Engine", "EngineConfig", "EngineStats", "ModelFacts", "Token"]

# Around the start of a process: entered when there is memory for it.
Admit = Callable[["Engine"], AbstractAsyncContextManager[None]]


class EngineStats(msgspec.Struct, frozen=True):
    """How an engine is doing.

    `pid` is None while no process runs, `cached_tokens` are in use, `adapters` are registered, and
    `loaded_adapters` of them are in memory with `adapter_bytes`.
    """

    model: str
    facts: ModelFacts
    pid: int | None
    starts: int
    running: int
    waiting: int
    cached_tokens: int
    generated_tokens: int
    adapters: tuple[str, ...]
    loaded_adapters: int
    adapter_bytes: int


class Engine:
    """The engine of one base model. Belongs to the event loop that started it.

    When the process dies, what it held fails with EngineUnavailable, and the next request starts a
    fresh one and loads into it the adapter it needs. The same after `unload`, where nothing fails.
    """

    def __init__(self, folder: Path, config: EngineConfig, admit: Admit | None = None) -> None:
        self.folder = folder
        self.config = config
        self._admit = admit or (lambda _: nullcontext())
        self._life: tuple[EngineProcess, Adapters] | None = None
        self._facts: ModelFacts | None = None
        self._starts = 0
        self._generated = 0  # by processes that are gone
        self._restarts = Restarts()
        self._registered: dict[str, Registered] = {}
        self._starting = asyncio.Lock()
        self._open = 0
        self._used_at = time.monotonic()
        self._last_words = ""  # of a start that failed
        self._is_closed = False

    @classmethod
    async def start(
        cls, folder: Path, config: EngineConfig | None = None, admit: Admit | None = None
    ) -> Engine:
        """Start an engine on a Hugging Face model folder, and wait until it can answer.

        Raises:
            Unsupported: an architecture, a weight format or a setting that the engine cannot do.
            InvalidInput: the folder's files are wrong; the message says which and how.
            EngineUnavailable: the process died while loading; the hint holds the end of its log.
        """
        self = cls(folder, config or EngineConfig(), admit)
        with self._in_use():
            await self._running()
        return self

    @property
    def facts(self) -> ModelFacts:
        """What the model is; known even while no process runs."""
        assert self._facts is not None
        return self._facts

    @property
    def pid(self) -> int | None:
        """Of the process; None while none runs."""
        return self._life[0].pid if self._life and self._life[0].is_alive else None

    @property
    def idle_s(self) -> float:
        """Seconds for which nobody has used it; 0 while somebody does."""
        return 0.0 if self._open else time.monotonic() - self._used_at

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that requests may use."""
        return tuple(self._registered)

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
        wanted = None if adapter is None else self._find(adapter)
        with self._in_use():
            process, adapters = await self._running()
            async with adapters.holding(wanted) if wanted else nullcontext() as name:
                id = new_id()
                box = process.ask(
                    id, Submit(id, list(ids), sampling, list(stop_ids), name, caller.get())
                )
                is_over = False
                try:
                    while not is_over:
                        reply = await box.get()
                        is_over = not isinstance(reply, Token) or reply.finish_reason is not None
                        yield expect(reply, Token)
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
        return await self._rows(Embed(new_id(), [list(one) for one in ids]))

    async def choose(
        self, ids: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[list[float]]:
        """For each list of ids, how likely each of `tokens` is the next, were there no others.

        Raises:
            ContextOverflow, InvalidInput, EngineUnavailable: as `generate`.
            Unsupported: the model does not write.
        """
        return await self._rows(Choose(new_id(), [list(one) for one in ids], list(tokens)))

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
        message = Classify(new_id(), [list(one) for one in ids], list(seconds))
        return await self._rows(message)

    async def look(self, images: Sequence[bytes]) -> list[list[float]]:
        """For each image, given as a file, how likely each of `facts.labels` is.

        Raises:
            InvalidInput: a file is not an image.
            Unsupported: the model does not see.
            EngineUnavailable: as `generate`.
        """
        return await self._rows(Look(new_id(), list(images)))

    async def add_adapter(self, name: str, folder: Path) -> None:
        """Register a PEFT adapter while the engine runs, or put another in place of `name`.

        It is loaded once to see that it fits; from then on it is in memory when it is wanted, as far
        as `adapter_mb` goes. Requests that run keep the weights they began with.

        Raises:
            Unsupported, InvalidInput: the adapter does not fit this base; the message says why.
            EngineUnavailable: the process died.
        """
        before = self._registered.get(name)
        if before is not None and before.folder == folder:
            return
        with self._in_use():
            _, adapters = await self._running()
            self._registered[name] = await adapters.add(folder)
            if before is not None and not self._is_registered(before.folder):
                adapters.drop(before.folder)

    async def remove_adapter(self, name: str) -> None:
        """Take no more requests for `name`; returns when the last open one has ended.

        Raises:
            NotFound: no adapter of this name was added.
        """
        folder = self._find(name).folder
        del self._registered[name]
        if self._life and not self._is_registered(folder):
            await self._life[1].remove(folder)

    def stats(self) -> EngineStats:
        """Counters, as of the latest step."""
        process, adapters = self._life or (None, None)
        is_alive = process is not None and process.is_alive
        load = process.load if process and is_alive else None
        held = adapters if is_alive else None
        return EngineStats(
            model=self.folder.name,
            facts=self.facts,
            pid=self.pid,
            starts=self._starts,
            running=load.running if load else 0,
            waiting=load.waiting if load else 0,
            cached_tokens=load.cached_tokens if load else 0,
            generated_tokens=self._generated + (process.tokens if process else 0),
            adapters=self.adapters,
            loaded_adapters=0 if held is None else len(held),
            adapter_bytes=0 if held is None else held.size,
        )

    async def unload(self) -> None:
        """End the process to free its memory, unless it is in use; the next request starts another."""
        async with self._starting:
            if self._open or self._life is None:
                return
            process, _ = self._life
            await process.close()
            self._generated += process.tokens
            self._life = None

    async def close(self) -> None:
        """End the process; what is open fails."""
        self._is_closed = True
        async with self._starting:
            if self._life is not None:
                await self._life[0].close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._used_at = time.monotonic()

    async def _running(self) -> tuple[EngineProcess, Adapters]:
        """The process and what it holds, after a fresh start where there is none."""
        async with self._starting:
            if self._is_closed:
                raise EngineUnavailable(f"The engine for {self.folder.name} has been closed.")
            if self._life is None or not self._life[0].is_alive:
                self._life = await self._begin(self._life[0] if self._life else None)
            return self._life

    async def _begin(self, dead: EngineProcess | None) -> tuple[EngineProcess, Adapters]:
        if dead is not None:
            await dead.close()  # waits until it is reaped
            self._check_restarts(dead)
        async with self._admit(self):
            if dead is not None:
                self._restarts.note()
            try:
                process = await EngineProcess.start(self.folder, self.config)
            except EngineUnavailable as error:
                self._last_words = error.hint
                raise
        self._last_words = ""
        self._generated += dead.tokens if dead else 0
        self._facts = process.facts
        self._starts += 1
        return process, Adapters(process, self.config.adapter_mb * 2**20)

    def _check_restarts(self, dead: EngineProcess) -> None:
        if wait := self._restarts.wait_s():
            raise EngineUnavailable(
                f"The engine for {self.folder.name} was restarted {MOST} times within "
                f"{WINDOW_S:.0f} s and died again; the next try is in {wait:.0f} s.",
                hint=self._last_words or dead.log_tail(),
            )

    def _find(self, adapter: str) -> Registered:
        if adapter not in self._registered:
            raise NotFound.among("adapter", adapter, self.adapters)
        return self._registered[adapter]

    def _is_registered(self, folder: Path) -> bool:
        return any(one.folder == folder for one in self._registered.values())

    async def _rows(self, message: Embed | Choose | Classify | Look) -> list[list[float]]:
        with self._in_use():
            process, _ = await self._running()
            reply = await process.answer(message.id, message)
        rows = expect(reply, Rows)
        flat, size = array.array("f", rows.data), rows.size
        return [flat[start : start + size].tolist() for start in range(0, len(flat), size)]
