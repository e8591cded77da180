"""Which adapters an engine process has in memory: those used last, as far as its budget goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from baigong.inference.engine.messages import AddAdapter, Done, RemoveAdapter
from baigong.inference.process import EngineProcess, expect, new_id

_LOADS = 2  # adapters being read at once: each takes a fifth of a core from those that decode


class Registered(NamedTuple):
    """An adapter that has been seen to fit, and the bytes it takes in memory."""

    folder: Path
    size: int


@dataclass(slots=True, eq=False)
class _Held:
    """An adapter in memory, or on its way there; `users` are the open requests for it."""

    size: int
    loading: asyncio.Task[int]
    users: int = 0

    @property
    def is_idle(self) -> bool:
        return not self.users and self.loading.done()


class Adapters:
    """The adapters of one engine process, by their folders.

    When another does not fit, those that no request uses leave, the least recently used first; where
    all are in use, the request waits. One that is larger than the whole budget is held alone.

    What the process is told takes effect in the order in which it was told. So an adapter that is told
    to leave after the last word about its last request is free at once, and what is told to come after
    that finds the room.
    """

    def __init__(self, process: EngineProcess, room: float) -> None:
        """None yet in a fresh process; `room` is in bytes."""
        self._process = process
        self._room = room
        self._held: dict[Path, _Held] = {}  # the least recently used first
        self._turn = asyncio.Lock()
        self._reading = asyncio.Semaphore(_LOADS)
        self._freed = asyncio.Event()
        process.at_end(self._freed.set)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes of all that are held."""
        return sum(held.size for held in self._held.values())

    async def add(self, folder: Path) -> Registered:
        """Load an adapter that has not been seen before, at once: what it takes is not known yet.

        Raises:
            Unsupported, InvalidInput: it does not fit this base; the message says why.
            EngineUnavailable: the process died.
        """
        held = self._held.get(folder) or self._begin(folder, 0)
        with self._using(held):
            size = await asyncio.shield(held.loading)
        while len(self._held) > 1 and self.size > self._room and self._drop_oldest():
            pass
        return Registered(folder, size)

    @asynccontextmanager
    async def holding(self, adapter: Registered) -> AsyncIterator[str]:
        """Have an adapter in memory for the length of the block, by the name that the process knows.

        Raises:
            EngineUnavailable: the process died.
            InvalidInput: its files are no longer what they were.
        """
        # Nobody overtakes: one for which there is no room would wait for ever.
        async with self._turn:
            await self._make_room(adapter)
            held = self._held.pop(adapter.folder, None) or self._begin(*adapter)
            self._held[adapter.folder] = held  # now the last to leave
        with self._using(held):  # nothing comes between the two: releasing a lock does not wait
            await asyncio.shield(held.loading)
            yield str(adapter.folder)

    def drop(self, folder: Path) -> None:
        """Let an adapter go, unless it is in use: then it goes when its room is wanted."""
        held = self._held.get(folder)
        if held is not None and held.is_idle:
            del self._held[folder]
            self._process.tell(RemoveAdapter(new_id(), str(folder)))

    async def remove(self, folder: Path) -> None:
        """Let an adapter go when the last request that uses it has ended."""
        while (held := self._held.get(folder)) and not held.is_idle and self._process.is_alive:
            await self._wait()
        self.drop(folder)

    @contextmanager
    def _using(self, held: _Held) -> Iterator[None]:
        held.users += 1
        try:
            yield
        finally:
            held.users -= 1
            self._freed.set()

    async def _make_room(self, wanted: Registered) -> None:
        while (
            self._process.is_alive
            and self._held
            and wanted.folder not in self._held
            and self.size + wanted.size > self._room
        ):
            if not self._drop_oldest():
                await self._wait()

    async def _wait(self) -> None:
        self._freed.clear()
        await self._freed.wait()

    def _drop_oldest(self) -> bool:
        oldest = next((folder for folder, held in self._held.items() if held.is_idle), None)
        if oldest is not None:
            self.drop(oldest)
        return oldest is not None

    def _begin(self, folder: Path, size: int) -> _Held:
        loading = asyncio.create_task(self._load(folder))
        held = self._held[folder] = _Held(size, loading)

        def settle(task: asyncio.Task[int]) -> None:
            if not task.cancelled() and task.exception() is None:
                held.size = task.result()
            elif self._held.get(folder) is held:
                del self._held[folder]
            self._freed.set()

        loading.add_done_callback(settle)
        return held

    async def _load(self, folder: Path) -> int:
        async with self._reading:
            id = new_id()
            message = AddAdapter(id, str(folder), str(folder))
            return expect(await self._process.answer(id, message), Done).size
