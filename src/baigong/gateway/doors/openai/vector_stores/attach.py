"""Uploads brought into knowledge bases in the background, and gone on with after a kill."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from baigong.errors import BaigongError, InvalidInput, NotFound
from baigong.gateway.doors.openai.vector_stores.rows import Attached, VectorStore, VectorStores
from baigong.knowledge.batch import PushedDocument
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.formats import format_of
from baigong.knowledge.living import Living
from baigong.store.files import Files, StoredFile

SOURCE = "files"
_AT_ONCE = 8  # files in memory
_MOST_BYTES = 256 << 20
_SWEEP_S = 600.0
# Characters for a token, as the default chunks have them: 1200 or, of Chinese, 360 for 250 tokens.
_CHARACTERS = 4.8
_UNSPACED_CHARACTERS = 1.44

_log = logging.getLogger(__name__)


def chunking_of(tokens: int) -> Chunking:
    """Chunks of about so many tokens."""
    return Chunking(round(tokens * _CHARACTERS), round(tokens * _UNSPACED_CHARACTERS))


def path_of(file: StoredFile) -> str:
    """The document that a file becomes: a name to read, and the only one."""
    return f"{file.id}/{file.filename}"


class Attaching:
    """Belongs to one event loop."""

    def __init__(self, stores: VectorStores, files: Files, living: Living) -> None:
        self._stores = stores
        self._files = files
        self._living = living
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """Go on with what a server that ended has left behind, and clear out what expires."""
        self.begin(await asyncio.to_thread(self._stores.unfinished))
        self._run(self._sweep())

    def begin(self, made: Sequence[Attached]) -> None:
        """Index files in the background."""
        for one in made:
            self._run(self._index(one.store, one.file))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def describe(self, store: VectorStore, file: str) -> None:
        """Index a file under the attributes that it has now, and wait for it."""
        await self._push(store, await asyncio.to_thread(self._stores.file, store.id, file))

    async def detach(self, store: VectorStore, file: str) -> None:
        """Take a file out of a store, its document too; the upload stays.

        Raises:
            NotFound: it is not in there, or there is no such upload any more.
        """
        await asyncio.to_thread(self._stores.detach, store.id, file)
        await self.remove(store, await asyncio.to_thread(self._files.get, file))

    async def remove(self, store: VectorStore, file: StoredFile) -> None:
        """Take a file's document out."""
        await self._living.remove(store.knowledge, path_of(file), source=SOURCE, is_patient=True)

    async def close(self) -> None:
        """Leave what is not finished to the next start."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _index(self, store: str, file: str) -> None:
        async with self._turns:
            try:
                found = await asyncio.to_thread(self._stores.get, store)
                one = await asyncio.to_thread(self._stores.file, store, file)
                if one.state != "in_progress":  # cancelled while it waited
                    return
                await self._push(found, one)
            except NotFound:  # deleted while it waited
                return
            except BaigongError as error:
                code = _code(error)
                await asyncio.to_thread(self._stores.end, store, file, "failed", code, str(error))
                return
            if not await asyncio.to_thread(self._stores.end, store, file, "completed"):
                await self._undo(found, file)

    async def _push(self, store: VectorStore, one: Attached) -> None:
        file = await asyncio.to_thread(self._files.get, one.file)
        if file.size > _MOST_BYTES:
            raise InvalidInput(f"The file is larger than {_MOST_BYTES >> 20} MB.", param="file_id")
        data = await asyncio.to_thread(self._files.read, file)
        content = Content(data, suffix=_suffix(file, data), metadata=one.attributes)
        chunking = None if one.tokens is None else chunking_of(one.tokens)
        document = PushedDocument(path_of(file), content, chunking)
        await self._living.push(store.knowledge, document, source=SOURCE, is_patient=True)

    async def _sweep(self) -> None:
        """Empty the stores that have expired: their rows stay, and say so."""
        while True:
            for one in await asyncio.to_thread(self._stores.expired):
                try:
                    store = await asyncio.to_thread(self._stores.get, one.store)
                    await self.detach(store, one.file)
                except BaigongError as error:
                    _log.warning("'%s' stays in '%s' for now: %s", one.file, one.store, error)
            await asyncio.sleep(_SWEEP_S)

    async def _undo(self, store: VectorStore, file: str) -> None:
        """It was cancelled or taken out while it was being written."""
        try:
            await self.remove(store, await asyncio.to_thread(self._files.get, file))
        except NotFound:
            return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("work on vector stores ended until the next start", exc_info=error)


def _suffix(file: StoredFile, data: bytes) -> str | None:
    """Text of an unknown kind, such as a program's, is read as text."""
    if format_of(file.filename, data=data) is not None:
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return ".txt"


def _code(error: BaigongError) -> str:
    if not isinstance(error, InvalidInput):
        return "server_error"
    return "unsupported_file" if error.param == "suffix" else "invalid_file"
