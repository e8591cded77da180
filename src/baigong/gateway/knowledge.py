"""`/api/knowledge`: knowledge bases made, filled, searched and emptied."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.endpoints import Endpoint, actor_of
from baigong.gateway.pushing import LineReplies, Sent, Time, seconds
from baigong.gateway.replies import json_reply
from baigong.gateway.sources import Ingests, allowed
from baigong.gateway.streams import unless_gone
from baigong.industry.embedder import DEFAULT, sentence_vectors
from baigong.industry.releases import Releases
from baigong.knowledge.bases import check_seen
from baigong.knowledge.batch import Pushed
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking
from baigong.knowledge.quote import best_quote
from baigong.knowledge.records import KnowledgeVersion
from baigong.knowledge.retrieve import Retriever, Search
from baigong.knowledge.where import read_where
from baigong.types import Passage

_PAGE = 100
_LINES = "application/x-ndjson"


class NewBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`embedder`: none, or a model of the hub."""

    name: str
    embedder: str = DEFAULT
    chunking: Chunking = DEFAULT_CHUNKING


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`filters` as at OpenAI's vector stores; the others as `retrieve.Search` has them."""

    question: str
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    filters: dict[str, Any] | None = None
    readers: tuple[str, ...] | None = None
    as_of: Time | None = None
    fresh_days: Annotated[float, Meta(ge=0, le=36500)] = 0.0

    def search(self) -> Search:
        return Search(
            where=None if self.filters is None else read_where(self.filters),
            readers=self.readers,
            as_of=seconds(self.as_of, "as_of"),
            fresh_days=self.fresh_days,
        )


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be read in; with `only`, what came from other sources goes."""

    sources: Annotated[list[str], Meta(min_length=1, max_length=100)]
    only: bool = False


class KnowledgeApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._releases = platform.releases
        self._bases = platform.knowledge
        self._living = platform.living
        self._embedders = platform.serving.embedders
        self._places = platform.settings.source_places
        self.ingests = Ingests(platform)

    def routes(self) -> list[Route]:
        base, documents = "/knowledge/{name}", "/knowledge/{name}/documents"
        seen = self._seen
        return [
            Route("/knowledge", self.all, methods=["GET"]),
            Route("/knowledge", self.make, methods=["POST"]),
            Route(base, seen(self.one), methods=["GET"]),
            Route(base, seen(self.delete), methods=["DELETE"]),
            Route(f"{base}/versions", seen(self.versions), methods=["GET"]),
            Route(f"{base}/versions", seen(self.pin), methods=["POST"]),
            Route(f"{base}/search", seen(self.search), methods=["POST"]),
            Route(f"{base}/sources", seen(self.read), methods=["POST"]),
            Route(documents, seen(self.documents), methods=["GET"]),
            Route(documents, seen(self.push), methods=["POST"]),
            Route(f"{documents}/{{path:path}}", seen(self.withdraw), methods=["DELETE"]),
            Route("/knowledge/{rest:path}", self.text, methods=["GET"]),
        ]

    def _seen(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint of a knowledge base that the caller may know of."""

        async def answer(request: Request) -> Response:
            await self._check_seen(request, request.path_params["name"])
            return await endpoint(request)

        return answer

    async def _check_seen(self, request: Request, knowledge: str) -> None:
        await asyncio.to_thread(check_seen, self._bases, knowledge, actor_of(request).owner)

    async def all(self, request: Request) -> Response:
        """What each holds now."""

        def read() -> list[dict[str, Any]]:
            names = self._bases.names(actor_of(request).owner)
            return [self._described(name) for name in names]

        return json_reply({"data": await asyncio.to_thread(read)})

    async def make(self, request: Request) -> Response:
        """A knowledge base; the same wish again changes nothing."""
        asked = convert(await read_object(request), NewBase)
        embed = self._embedders.wanted(asked.embedder)
        chunking = _checked(asked.chunking)

        def make() -> dict[str, Any]:
            # With its chunks open, its first document need not wait for a library of 150 MB.
            base = self._bases.ensure(asked.name, embed, chunking)
            check_seen(self._bases, base.name, actor_of(request).owner)
            self._bases.chunks(base)
            return self._described(asked.name)

        return json_reply(await asyncio.to_thread(make), 201)

    async def one(self, request: Request) -> Response:
        """One of them, as `name` or `name@number`."""
        return json_reply(await asyncio.to_thread(self._described, request.path_params["name"]))

    async def delete(self, request: Request) -> Response:
        """`name` whole, or the kept version `name@number`."""
        name = request.path_params["name"]
        await asyncio.to_thread(check_unused, self._releases, name)
        await asyncio.to_thread(self._bases.delete, name)
        return json_reply({"name": name, "deleted": True})

    async def versions(self, request: Request) -> Response:
        """What it holds now, and the versions that are kept."""
        name = request.path_params["name"]
        if "@" in name:
            return await self.text(request)

        def read() -> list[KnowledgeVersion]:
            self._bases.base(name)
            return self._bases.versions(name)

        found = await asyncio.to_thread(read)
        return json_reply({"data": [_version(version) for version in found]})

    async def pin(self, request: Request) -> Response:
        """Keep what it holds now for ever unchanged."""
        kept = await asyncio.to_thread(self._bases.pin, request.path_params["name"])
        return json_reply(_version(kept), 201)

    async def documents(self, request: Request) -> Response:
        """What it holds, by path, a page at a time."""
        name, query = request.path_params["name"], request.query_params
        if "@" in name:  # `name@3/documents` is a document of that name
            return await self.text(request)
        limit = query.get("limit", str(_PAGE))
        if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= 1000:
            raise InvalidInput(
                f"limit is '{limit[:20]}'.", hint="Send a number from 1 to 1000.", param="limit"
            )
        version = query.get("version")
        found = await asyncio.to_thread(
            self._bases.documents,
            f"{name}@{version}" if version else name,
            after=query.get("after", ""),
            limit=int(limit) + 1,
        )
        page = found[: int(limit)]
        return json_reply({"data": page, "next": page[-1].path if len(found) > len(page) else None})

    async def push(self, request: Request) -> Response:
        """One document, answered when it can be found; or a stream of them, each line answered."""
        name = request.path_params["name"]
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _LINES:
            await asyncio.to_thread(self._bases.base, name)

            async def work(sent: Sent) -> dict[str, Any]:
                done = await self._push(name, sent, is_patient=True)
                return msgspec.structs.asdict(done)

            return LineReplies(request, work)
        sent = convert(await read_object(request), Sent)
        return json_reply(await self._push(name, sent, is_patient=False))

    async def withdraw(self, request: Request) -> Response:
        """A document out of all versions, whatever it came from."""
        name, path = request.path_params["name"], request.path_params["path"]
        await self._living.withdraw(name, path)
        return json_reply({"document": path, "deleted": True})

    async def search(self, request: Request) -> Response:
        """The passages that answer a question, best first."""
        asked = convert(await read_object(request), Question)
        knowledge = request.path_params["name"]
        retrieve = Retriever(self._bases, knowledge, self._embedders, search=asked.search())
        found = await unless_gone(request, retrieve(asked.question, asked.limit))

        def told() -> list[dict[str, Any]]:
            return [passage_object(asked.question, knowledge, passage) for passage in found]

        return json_reply({"knowledge": knowledge, "data": await asyncio.to_thread(told)})

    async def read(self, request: Request) -> Response:
        """Sources brought over by a job in the background, to be watched at `/api/jobs`."""
        asked = convert(await read_object(request), Reading)
        name = request.path_params["name"]
        texts = [allowed(text, self._places) for text in asked.sources]
        base = await asyncio.to_thread(self._bases.base, name)
        embed = None if base.embedder is None else self._embedders(base.embedder)
        owner = actor_of(request).owner
        job = await self.ingests.start(name, texts, embed, is_only=asked.only, owner=owner)
        return json_reply({"job": job.id, "state": job.state}, 202)

    async def text(self, request: Request) -> Response:
        """The whole text of a document, in which citations' spans count bytes."""
        knowledge, document = split_document(request)
        await self._check_seen(request, knowledge)
        text = await asyncio.to_thread(self._bases.text, knowledge, document)
        return json_reply({"knowledge": knowledge, "document": document, "text": text})

    async def _push(self, name: str, sent: Sent, *, is_patient: bool) -> Pushed:
        if sent.delete:
            return await self._living.remove(name, sent.path, is_patient=is_patient)
        return await self._living.push(name, sent.document(), is_patient=is_patient)

    def _described(self, knowledge: str) -> dict[str, Any]:
        version, base = self._bases.get(knowledge), self._bases.base(knowledge.partition("@")[0])
        return {
            **_version(version),
            "chunking": base.chunking,
            "changed_at": base.changed_at,
        }


def check_unused(releases: Releases, knowledge: str) -> None:
    """
    Raises:
        Conflict: a live release answers from this knowledge base, or from this version of it.
    """
    name, _, number = knowledge.partition("@")
    for live, which in releases.live().items():
        content = releases.get(f"{live}@{which}").content
        if content.knowledge == name and number in {"", content.knowledge_version}:
            raise Conflict(
                f"The live release {live}@{which} answers from '{knowledge}'.",
                hint="Make another release of it live first.",
            )


def split_document(request: Request) -> tuple[str, str]:
    """(knowledge base, document) of `.../knowledge/{knowledge}/{document}`.

    The raw path is read, so that a `%2F` in a name does not split it.
    """
    raw = request.scope["raw_path"].decode("ascii", "replace")
    knowledge, _, document = raw.partition("/knowledge/")[2].partition("/")
    if not document:
        raise NotFound("The address names no document.", hint="/knowledge/NAME@VERSION/DOCUMENT")
    return unquote(knowledge), unquote(document)


def passage_object(question: str, knowledge: str, passage: Passage) -> dict[str, Any]:
    """A passage, the sentences of it that answer best, and the page that opens there.

    A present version is gone with the next change, so that the page is the one under the name that
    was asked for.
    """
    quoted = best_quote(question, passage, sentence_vectors)
    place = f"{quote(knowledge, safe='@')}/{quote(passage.document)}"
    return {
        **msgspec.structs.asdict(passage),
        "quote": quoted.text,
        "quote_start": quoted.start,
        "quote_end": quoted.end,
        "table": quoted.table,
        "page_url": f"/knowledge/{place}?span={quoted.start}-{quoted.end}#passage",
    }


def _version(version: KnowledgeVersion) -> dict[str, Any]:
    return {"ref": version.ref, **msgspec.structs.asdict(version)}


def _checked(chunking: Chunking) -> Chunking:
    for field, size in msgspec.structs.asdict(chunking).items():
        if not 50 <= size <= 20_000:
            raise InvalidInput(
                f"chunking.{field} is {size}.",
                hint="Use 50 to 20000 characters.",
                param=f"chunking.{field}",
            )
    return chunking
