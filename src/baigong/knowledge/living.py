"""Knowledge that lives: documents that callers push, answerable a moment later.

What arrives for a knowledge base within a moment is written in one commit, and each caller is
answered when its own document can be found. One lane writes each base, in the order of arrival;
compaction goes on beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy import select

from baigong.errors import BaigongError, InvalidInput, NotFound, Overloaded, Problem
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.batch import Outcome, Pushed, PushedDocument, Work, write_batch
from baigong.knowledge.formats import format_of
from baigong.knowledge.parse import Document, Parser
from baigong.knowledge.write import Writer
from baigong.store.tables import documents
from baigong.types import Embed, Embedders

_GATHER_S = 0.05  # what arrives within it goes into one commit
_MOST = 256  # documents in a commit, so that the last of a flood does not wait for all of it
_IDLE_S = 60.0  # after which a lane lets go of its thread
_QUEUE = 1000  # documents of one base that may be on their way
_QUEUE_BYTES = 32 << 20
_TEND_S = 60.0  # between two compactions of one base that little is written to
_TEND_SOON_S = 10.0  # and where as many documents came as searches go through one by one
_TEND_DOCUMENTS = 2000
_TEND_TRIES = 2  # beside the writing, before it is made to wait
_SWEEP_S = 60.0  # how often expired documents are looked for
_PARSERS = 2

_log = logging.getLogger(__name__)


class Living:
    """Takes documents for all knowledge bases of an installation. Belongs to one event loop."""

    def __init__(self, bases: KnowledgeBases, embedders: Embedders) -> None:
        self._bases = bases
        self._embedders = embedders
        self._lanes: dict[str, _Lane] = {}
        self._parser = Parser()
        self._parsing = asyncio.Semaphore(_PARSERS)
        self._sweeping: asyncio.Task[None] | None = None

    async def push(
        self, name: str, document: PushedDocument, *, source: str = "push", is_patient: bool = False
    ) -> Pushed:
        """Put a document in place of what has its path; it can be found when this returns.

        Args:
            name: the knowledge base.
            document: what is pushed; its path is its name within `source`.
            source: whose document it is; only the same replaces it.
            is_patient: wait for room instead of being refused.

        Raises:
            InvalidInput: nothing can be made of the document.
            NotFound: there is no such knowledge base.
            Overloaded: too many are on their way.
        """
        _check(document)
        lane = self._lane(name)
        size = len(document.content.data)
        async with lane.place(document.path, size, is_patient=is_patient):
            row = format_of(document.file_name, data=document.content.data)
            parsed = await self._apart(document) if row is not None and row.isolated else None
            future = lane.put(Work(source, document.path, document, parsed))
        return await future

    async def remove(
        self, name: str, path: str, *, source: str = "push", is_patient: bool = False
    ) -> Pushed:
        """Take out what was pushed under a path; kept versions keep it.

        Raises:
            NotFound: there is no such knowledge base.
            Overloaded: too many are on their way.
        """
        lane = self._lane(name)
        async with lane.place(path, 0, is_patient=is_patient):
            future = lane.put(Work(source, path))
        return await future

    async def withdraw(self, name: str, document: str) -> int:
        """Take a document of any source out of all versions, as `KnowledgeBases.withdraw`."""
        work = partial(self._bases.withdraw, name, [document])
        lane = self._lanes.get(name)
        return await (asyncio.to_thread(work) if lane is None else lane.alone(work))

    def watch(self) -> None:
        """Begin to take out what has expired; stores are opened before anyone asks."""
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Write what is on its way, and end."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for lane in list(self._lanes.values()):
            await lane.close()
        self._parser.__exit__(None, None, None)

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(
                self._bases, name, self._embedders, lambda: self._lanes.pop(name)
            )
        return lane

    async def _apart(self, document: PushedDocument) -> Document | Problem:
        async with self._parsing:
            return await asyncio.to_thread(
                self._parser.parse, document.file_name, document.content.data
            )

    async def _sweep(self) -> None:
        await asyncio.to_thread(self._warm)
        while True:
            for name in await asyncio.to_thread(self._expired):
                try:
                    await asyncio.to_thread(_clean, self._bases, name)
                except BaigongError as error:
                    _log.warning("what expired in '%s' stays until later: %s", name, error)
            await asyncio.sleep(_SWEEP_S)

    def _warm(self) -> None:
        """Have what stores need in memory before the first request, where there are any."""
        for name in self._bases.names()[:1]:
            self._bases.chunks(self._bases.base(name))

    def _expired(self) -> Sequence[str]:
        column = documents.c
        query = select(column.knowledge).distinct().where(
            column.expires_at <= time.time(), column.born.is_not(None), column.died.is_(None)
        )  # fmt: skip
        with self._bases.database.read() as connection:
            return list(connection.execute(query).scalars())


@dataclass(slots=True)
class _Waiting:
    work: Work
    future: asyncio.Future[Pushed]


class _Lane:
    """The way into one knowledge base. All but the writing happens in the event loop."""

    def __init__(
        self,
        bases: KnowledgeBases,
        name: str,
        embedders: Embedders,
        on_idle: Callable[[], object],
    ) -> None:
        self._bases = bases
        self._name = name
        self._embedders = embedders
        self._embed: Embed | None = None
        self._on_idle = on_idle
        self._waiting: deque[_Waiting] = deque()
        self._tails: dict[str, asyncio.Future[None]] = {}
        self._count = self._bytes = 0
        self._woken, self._freed = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, f"push-{name}")
        self._tending: asyncio.Task[None] | None = None
        self._written = 0  # documents since it was compacted last
        self._tended_at = time.monotonic()
        self._running = asyncio.create_task(self._run())

    @contextlib.asynccontextmanager
    async def place(self, path: str, size: int, *, is_patient: bool) -> AsyncIterator[None]:
        """The turn of a document among those of its path, and room for it."""
        before = self._tails.get(path)
        mine = self._tails[path] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await asyncio.wait({before})
            await self._room(size, is_patient=is_patient)
            self._count += 1
            self._bytes += size
            try:
                yield
            except BaseException:
                self._leave(size)
                raise
        finally:
            mine.set_result(None)
            if self._tails[path] is mine:
                del self._tails[path]

    def put(self, work: Work) -> asyncio.Future[Pushed]:
        """Queue work that has its place; told when it is done."""
        future: asyncio.Future[Pushed] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, future))
        self._woken.set()
        return future

    async def alone(self, work: Callable[[], int]) -> int:
        """Do something else to the base between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        self._closing = True
        self._woken.set()
        await self._running

    async def _room(self, size: int, *, is_patient: bool) -> None:
        while self._count and (self._count >= _QUEUE or self._bytes + size > _QUEUE_BYTES):
            if not is_patient:
                raise Overloaded(
                    f"{self._count} documents are on their way into '{self._name}'.",
                    hint="Send this one again in a moment.",
                )
            self._freed.clear()
            await self._freed.wait()

    def _leave(self, size: int) -> None:
        self._count -= 1
        self._bytes -= size
        self._freed.set()

    async def _run(self) -> None:
        while await self._has_work():
            if len(self._waiting) < _MOST and not self._closing:
                await asyncio.sleep(_GATHER_S)
            batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
            if not await self._answer(batch) and not self._count:
                self._on_idle()
                break
            self._written += len(batch)
            if self._tending is None and self._is_worn():
                self._tending = asyncio.create_task(self._tend())
        if self._tending is not None:
            await self._tending
        if self._written and not self._closing:
            await self._tend()
        self._thread.shutdown(wait=False)

    async def _has_work(self) -> bool:
        """Wait for work; False when there has been none for long, or there will be none."""
        while not self._waiting:
            self._woken.clear()
            if self._closing:
                return False
            try:
                await asyncio.wait_for(self._woken.wait(), _IDLE_S)
            except TimeoutError:
                if not self._count:
                    self._on_idle()
                    return False
        return True

    async def _answer(self, batch: Sequence[_Waiting]) -> bool:
        """Write, and tell each caller; False where there is no such knowledge base."""
        writing = asyncio.ensure_future(self._write([one.work for one in batch]))
        await asyncio.wait({writing})
        error = writing.exception()
        if error is not None and not isinstance(error, BaigongError):
            _log.error("pushing into '%s' failed", self._name, exc_info=error)
        for at, one in enumerate(batch):
            self._leave(one.work.size)
            if not one.future.done():  # else its caller went away
                _settle(one.future, writing.result()[at] if error is None else error)
        return not isinstance(error, NotFound)

    async def _write(self, works: Sequence[Work]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        base = await loop.run_in_executor(self._thread, self._bases.base, self._name)
        embed = self._embedder(base.embedder)
        write = partial(write_batch, self._bases, self._name, embed, works)
        return await loop.run_in_executor(self._thread, write)

    def _is_worn(self) -> bool:
        wait = _TEND_S if self._written < _TEND_DOCUMENTS else _TEND_SOON_S
        return time.monotonic() >= self._tended_at + wait

    def _embedder(self, name: str | None) -> Embed | None:
        if name is None:
            return None
        if self._embed is None or self._embed.name != name:
            self._embed = self._embedders(name)
        return self._embed

    async def _tend(self) -> None:
        """Compact, without harm to anyone where that fails."""
        tending = asyncio.ensure_future(self._tended())
        await asyncio.wait({tending})
        if (error := tending.exception()) is not None:
            _log.error("'%s' could not be compacted, until later", self._name, exc_info=error)
        self._tending = None
        self._tended_at = time.monotonic()

    async def _tended(self) -> None:
        loop = asyncio.get_running_loop()
        self._written = 0
        writer = Writer(self._bases, self._name, None)
        await loop.run_in_executor(self._thread, writer.expire, time.time())
        for _ in range(_TEND_TRIES):
            if await asyncio.to_thread(writer.tend_aside):
                return
            await asyncio.sleep(_GATHER_S)
        await loop.run_in_executor(self._thread, writer.tend)


def _settle(future: asyncio.Future[Pushed], outcome: Pushed | BaseException) -> None:
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _clean(bases: KnowledgeBases, name: str) -> None:
    with Writer(bases, name, None) as writer:
        writer.expire(time.time())
        writer.tend()


def _check(document: PushedDocument) -> None:
    path = document.path
    if not path.strip() or len(path) > 1000 or not path.isprintable():
        raise InvalidInput(
            f"'{path[:80]}' cannot be a document's path.",
            hint="Use 1 to 1000 characters that can be printed.",
            param="path",
        )
    if format_of(document.file_name, data=document.content.data) is None:
        suffix = PurePosixPath(document.file_name).suffix
        raise InvalidInput(
            f"Documents of the kind '{suffix}' cannot be read.",
            hint="Send text, markdown or html, or a suffix such as .pdf beside its bytes.",
            param="suffix",
        )
