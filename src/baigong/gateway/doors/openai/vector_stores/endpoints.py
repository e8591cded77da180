"""The endpoints of `/v1/vector_stores`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.errors import NotFound
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.openai.vector_stores.attach import Attaching, chunking_of, path_of
from baigong.gateway.doors.openai.vector_stores.rows import Attached, VectorStore, VectorStores
from baigong.gateway.doors.openai.vector_stores.search import Searcher, result_object
from baigong.gateway.doors.openai.vector_stores.wire import (
    AddFile,
    AddFiles,
    ChangeFile,
    ChangeStore,
    CreateStore,
    SearchStore,
    batch_object,
    check_attributes,
    cut_of,
    file_object,
    list_object,
    state_of,
    store_object,
)
from baigong.gateway.endpoints import actor_of
from baigong.gateway.knowledge import check_unused
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import unless_gone
from baigong.industry.embedder import DEFAULT
from baigong.knowledge.chunk import DEFAULT_CHUNKING
from baigong.store.files import Files

_TOKENS = 250  # of a default chunk
_POLL = {"openai-poll-after-ms": "250"}  # the SDK would wait a second


class VectorStoreApi:
    """Vector stores, their files, and batches of these."""

    def __init__(self, platform: Platform, files: Files) -> None:
        self._releases = platform.releases
        self._bases = platform.knowledge
        self._embedders = platform.serving.embedders
        self._files = files
        self._stores = VectorStores(platform.database, platform.knowledge)
        self.attaching = Attaching(self._stores, files, platform.living)
        self.search_stores = Searcher(
            self._stores, platform.knowledge, self._embedders, platform.serving.rankers
        )

    def routes(self) -> list[Route]:
        stores, store = "/vector_stores", "/vector_stores/{store}"
        files, batches = f"{store}/files", f"{store}/file_batches"
        file, batch = f"{files}/{{file}}", f"{batches}/{{batch}}"
        return [
            Route(stores, self.create, methods=["POST"]),
            Route(stores, self.page, methods=["GET"]),
            Route(store, self.retrieve, methods=["GET"]),
            Route(store, self.update, methods=["POST"]),
            Route(store, self.delete, methods=["DELETE"]),
            Route(f"{store}/search", self.search, methods=["POST"]),
            Route(files, self.add, methods=["POST"]),
            Route(files, self.list_files, methods=["GET"]),
            Route(file, self.retrieve_file, methods=["GET"]),
            Route(file, self.update_file, methods=["POST"]),
            Route(file, self.delete_file, methods=["DELETE"]),
            Route(f"{file}/content", self.content, methods=["GET"]),
            Route(batches, self.add_batch, methods=["POST"]),
            Route(batch, self.retrieve_batch, methods=["GET"]),
            Route(f"{batch}/cancel", self.cancel_batch, methods=["POST"]),
            Route(f"{batch}/files", self.list_batch, methods=["GET"]),
        ]

    # --- stores -----------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        asked = convert(await read_object(request), CreateStore)
        tokens = None if asked.chunking_strategy is None else asked.chunking_strategy.tokens
        embed = self._embedders.wanted(DEFAULT)
        entries = [AddFile(file) for file in dict.fromkeys(asked.file_ids or ())]
        await self._check(request, entries)
        store = await asyncio.to_thread(
            self._seen(request).make,
            asked.name or "",
            embed,
            DEFAULT_CHUNKING if tokens is None else chunking_of(tokens),
            asked.metadata or {},
            None if asked.expires_after is None else asked.expires_after.days,
        )
        if entries:
            await self._attach(store, entries)
        return json_reply(await self._store(store))

    async def page(self, request: Request) -> Response:
        """To an operator every knowledge base is one, whatever made it."""
        stores, more = await asyncio.to_thread(self._seen(request).page, cut_of(request))
        return json_reply(list_object([await self._store(store) for store in stores], more))

    async def retrieve(self, request: Request) -> Response:
        return json_reply(await self._store(await self._of(request)), headers=_POLL)

    async def update(self, request: Request) -> Response:
        asked = convert(await read_object(request), ChangeStore)
        store = await self._of(request)
        values: dict[str, Any] = {}
        if asked.name is not None:
            values["label"] = asked.name
        if asked.metadata is not UNSET:
            values["metadata"] = asked.metadata or {}
        if asked.expires_after is not UNSET:
            after = asked.expires_after
            values["expires_days"] = None if after is None else after.days
            values["active_at"] = time.time()
        store = await asyncio.to_thread(lambda: self._stores.change(store.id, **values))
        return json_reply(await self._store(store))

    async def delete(self, request: Request) -> Response:
        """The knowledge base too; refused while a live release answers from it."""
        store = await self._of(request)
        await asyncio.to_thread(check_unused, self._releases, store.knowledge)
        await asyncio.to_thread(self._bases.delete, store.knowledge)
        return json_reply({"id": store.id, "object": "vector_store.deleted", "deleted": True})

    async def search(self, request: Request) -> Response:
        asked = convert(await read_object(request), SearchStore)
        found = await unless_gone(
            request,
            self.search_stores(
                actor_of(request).owner,
                [request.path_params["store"]],
                asked.queries,
                asked.max_num_results,
                asked.filters,
                asked.threshold,
                asked.ranker,
            ),
        )
        return json_reply({
            "object": "vector_store.search_results.page",
            "search_query": asked.queries,
            "data": [result_object(one) for one in found],
            "has_more": False,
            "next_page": None,
        })

    # --- files ------------------------------------------------------------------------------

    async def add(self, request: Request) -> Response:
        entry = convert(await read_object(request), AddFile)
        store = await self._usable(request)
        await self._check(request, [entry])
        (made,) = await self._attach(store, [entry])
        return json_reply(await self._file(store, made), headers=_POLL)

    async def list_files(self, request: Request) -> Response:
        at, state, store = cut_of(request), state_of(request), await self._of(request)
        found, more = await asyncio.to_thread(
            lambda: self._stores.files(at, store=store.id, state=state)
        )
        return json_reply(list_object([await self._file(store, one) for one in found], more))

    async def retrieve_file(self, request: Request) -> Response:
        store = await self._of(request)
        one = await asyncio.to_thread(self._stores.file, store.id, request.path_params["file"])
        return json_reply(await self._file(store, one), headers=_POLL)

    async def update_file(self, request: Request) -> Response:
        """Other attributes, by which it can be found when this returns."""
        asked = convert(await read_object(request), ChangeFile)
        attributes = check_attributes(asked.attributes)
        store, file = await self._usable(request), request.path_params["file"]
        one = await asyncio.to_thread(self._stores.file, store.id, file)
        await asyncio.to_thread(self._stores.describe, store.id, file, attributes)
        if one.state == "completed":
            await self.attaching.describe(store, file)
        one = await asyncio.to_thread(self._stores.file, store.id, file)
        return json_reply(await self._file(store, one))

    async def delete_file(self, request: Request) -> Response:
        """Out of the store; the upload stays."""
        store, file = await self._of(request), request.path_params["file"]
        await self.attaching.detach(store, file)
        return json_reply({"id": file, "object": "vector_store.file.deleted", "deleted": True})

    async def content(self, request: Request) -> Response:
        """The text that was read of it, in which passages stand."""
        store, file = await self._of(request), request.path_params["file"]

        def read() -> str:
            self._stores.file(store.id, file)
            return self._bases.text(store.knowledge, path_of(self._files.get(file)))

        return json_reply({
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": await asyncio.to_thread(read)}],
            "has_more": False,
            "next_page": None,
        })

    async def forget(self, file: str) -> None:
        """Take an upload out of every store that it is in."""
        for one in await asyncio.to_thread(self._stores.of_file, file):
            store = await asyncio.to_thread(self._stores.get, one.store)
            await self.attaching.detach(store, file)

    # --- batches ----------------------------------------------------------------------------

    async def add_batch(self, request: Request) -> Response:
        entries = convert(await read_object(request), AddFiles).each()
        store = await self._usable(request)
        await self._check(request, entries)
        batch = f"vsfb_{secrets.token_hex(12)}"
        await self._attach(store, entries, batch)
        return json_reply(await self._batch(store, batch), headers=_POLL)

    async def retrieve_batch(self, request: Request) -> Response:
        store = await self._of(request)
        return json_reply(await self._batch(store, request.path_params["batch"]), headers=_POLL)

    async def cancel_batch(self, request: Request) -> Response:
        """What is in the store already stays."""
        store, id = await self._of(request), request.path_params["batch"]
        batch = await asyncio.to_thread(self._stores.batch, store.id, id)
        await asyncio.to_thread(self._stores.cancel, batch)
        return json_reply(await self._batch(store, id))

    async def list_batch(self, request: Request) -> Response:
        at, state, store = cut_of(request), state_of(request), await self._of(request)
        batch = await asyncio.to_thread(self._stores.batch, store.id, request.path_params["batch"])
        found, more = await asyncio.to_thread(
            lambda: self._stores.files(at, batch=batch.id, state=state)
        )
        return json_reply(list_object([await self._file(store, one) for one in found], more))

    # --- shared -----------------------------------------------------------------------------

    def _seen(self, request: Request) -> VectorStores:
        return self._stores.of(actor_of(request).owner)

    async def _of(self, request: Request) -> VectorStore:
        return await asyncio.to_thread(self._seen(request).get, request.path_params["store"])

    async def _usable(self, request: Request) -> VectorStore:
        return await asyncio.to_thread(self._seen(request).usable, request.path_params["store"])

    async def _check(self, request: Request, entries: Sequence[AddFile]) -> None:
        """
        Raises:
            NotFound: one of the files does not exist, or is another's.
            InvalidInput: attributes are too long.
        """
        files = self._files.of(actor_of(request).owner)
        for entry in entries:
            check_attributes(entry.attributes)
            await asyncio.to_thread(files.get, entry.file_id)

    async def _attach(
        self, store: VectorStore, entries: Sequence[AddFile], batch: str | None = None
    ) -> list[Attached]:
        now = time.time()
        made = [
            Attached(
                store=store.id,
                file=entry.file_id,
                batch=batch,
                state="in_progress",
                error_code=None,
                error=None,
                attributes=dict(entry.attributes or {}),
                tokens=None if entry.chunking_strategy is None else entry.chunking_strategy.tokens,
                created_at=now + number * 1e-6,  # so that they are listed in the order sent
            )
            for number, entry in enumerate(entries)
        ]
        await asyncio.to_thread(lambda: self._stores.attach(made, is_batch=batch is not None))
        self.attaching.begin(made)
        return made

    async def _store(self, store: VectorStore) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            size = self._bases.get(store.knowledge).bytes
            return store_object(store, self._stores.counts(store.id), size)

        return await asyncio.to_thread(read)

    async def _file(self, store: VectorStore, one: Attached) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            default = self._bases.base(store.knowledge).chunking.characters
            tokens = round(default / DEFAULT_CHUNKING.characters * _TOKENS)
            try:
                size = self._files.get(one.file).size
            except NotFound:  # expired
                size = 0
            return file_object(one, size, tokens)

        return await asyncio.to_thread(read)

    async def _batch(self, store: VectorStore, id: str) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            batch = self._stores.batch(store.id, id)
            return batch_object(batch, self._stores.batch_counts(id))

        return await asyncio.to_thread(read)
