"""The pages: what is live and why, a box to ask it, knowledge bases and their documents, a key form."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from baigong.app import Platform
from baigong.console.hub.pages import HubPages
from baigong.console.jobs.pages import JobPages
from baigong.console.knowledge import HITS, BaseRow, HitView, base_row, document_rows, hits
from baigong.console.render import actor_of, path_of, render, shown
from baigong.console.view import ModelView, cards_of, model_view
from baigong.console.words import Language, language_of
from baigong.errors import NotFound
from baigong.industry.releases import Release
from baigong.knowledge.bases import check_seen
from baigong.knowledge.retrieve import Retriever

_MOST_OTHERS = 30


def routes(platform: Platform) -> list[BaseRoute]:
    """The pages of one installation, for the gateway to put behind its doors."""
    pages = Pages(platform)
    return [
        Route("/", pages.home, methods=["GET"]),
        Route("/knowledge", pages.knowledge, methods=["GET"]),
        Route("/knowledge/{name}", pages.base, methods=["GET"]),
        Route("/knowledge/{rest:path}", pages.document, methods=["GET"]),
        *HubPages(platform.hub).routes(),
        *JobPages(platform).routes(),
        Route("/login", pages.login, methods=["GET"]),
        Mount("/static", StaticFiles(packages=[("baigong.console", "static")])),
        Route("/{rest:path}", pages.missing, methods=["GET"]),
    ]


class Pages:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    @shown
    async def home(self, request: Request) -> Response:
        """What is live, and the chosen release whole: the first live one unless named."""
        language = language_of(request)
        chosen = request.query_params.get("release")
        base_url = f"{request.url.scheme}://{request.url.netloc}"
        found = await asyncio.to_thread(self._home, chosen, language, base_url)
        return render(request, "home.html", **found)

    @shown
    async def knowledge(self, request: Request) -> Response:
        """All knowledge bases."""
        bases = self._platform.knowledge

        def read() -> list[BaseRow]:
            return [
                base_row(bases.get(name), name) for name in bases.names(actor_of(request).owner)
            ]

        rows = await asyncio.to_thread(read)
        return render(request, "knowledge.html", twin="/api/knowledge", bases=rows)

    @shown
    async def base(self, request: Request) -> Response:
        """A knowledge base, what it finds for `?q=`, and its documents behind `?after=`."""
        name, query = request.path_params["name"], request.query_params
        question, bases = query.get("q", "").strip()[:2000], self._platform.knowledge
        await asyncio.to_thread(check_seen, bases, name, actor_of(request).owner)
        version = await asyncio.to_thread(bases.get, name)
        rows, behind = await asyncio.to_thread(document_rows, bases, name, query.get("after", ""))
        found: list[HitView] = []
        if question:
            retrieve = Retriever(bases, name, self._platform.serving.embedders)
            passages = await retrieve(question, HITS)
            found = await asyncio.to_thread(hits, question, name, passages)
        return render(
            request,
            "base.html",
            twin=f"/api/knowledge/{quote(name, safe='@')}",
            base=base_row(version, name),
            question=question,
            hits=found,
            documents=rows,
            next=behind,
        )

    @shown
    async def document(self, request: Request) -> Response:
        """A document of a knowledge base, the bytes `?span=from-to` marked."""
        knowledge, name = _document_of(request)
        bases = self._platform.knowledge
        await asyncio.to_thread(check_seen, bases, knowledge, actor_of(request).owner)
        text = await asyncio.to_thread(bases.text, knowledge, name)
        before, passage, after = split(text, request.query_params.get("span", ""))
        return render(
            request,
            "document.html",
            twin=f"/api/knowledge/{quote(knowledge, safe='@')}/{quote(name)}",
            knowledge=knowledge,
            document=name,
            title=_title_of(text, name),
            before=before,
            passage=passage,
            after=after,
        )

    async def login(self, request: Request) -> Response:
        """The form that asks for a key; the gateway takes what it sends."""
        wanted, wrong = request.query_params.get("next", "/"), "wrong" in request.query_params
        return render(request, "login.html", 401 if wrong else 200, wanted=wanted, wrong=wrong)

    async def missing(self, request: Request) -> Response:
        """A page for a person who mistyped; a program gets the gateway's 404."""
        if "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404)
        return render(request, "problem.html", 404, message="")

    def _home(self, chosen: str | None, language: Language, base_url: str) -> dict[str, Any]:
        releases = self._platform.releases
        live, history = releases.live(), releases.history()
        live_ones = [r for r in history if live.get(r.name) == r.number]
        release = self._chosen(chosen, live_ones)
        model: ModelView | None = None
        if release is not None:
            is_live = live.get(release.name) == release.number
            model = model_view(release, language, base_url, is_live=is_live)
        shown_refs = {r.ref for r in live_ones}
        others = [c for c in cards_of(history, live, language) if c.ref not in shown_refs]
        bases = [] if model else [m.name for m in self._platform.serving.models()]
        return {
            "twin": f"/api/releases/{quote(release.ref)}" if release else "/api/releases",
            "cards": cards_of(live_ones, live, language),
            "model": model,
            "others": others[:_MOST_OTHERS],
            "bases": bases,
        }

    def _chosen(self, ref: str | None, live_ones: list[Release]) -> Release | None:
        if ref is not None:
            return self._platform.releases.get(ref)
        return live_ones[0] if live_ones else None


def split(text: str, span: str) -> tuple[str, str, str]:
    """What stands before, in and after the bytes `from-to` of a text; all before where they are
    not a part of it. A character that the span cuts belongs to neither side's half of it."""
    start, _, end = span.partition("-")
    data = text.encode()
    if not (_is_number(start) and _is_number(end) and int(start) < int(end) <= len(data)):
        return text, "", ""
    parts = (data[: int(start)], data[int(start) : int(end)], data[int(end) :])
    before, passage, after = (part.decode("utf-8", "ignore") for part in parts)
    return before, passage, after


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def _document_of(request: Request) -> tuple[str, str]:
    """(knowledge base, document), each decoded by itself: a `%2F` in a name does not split it."""
    knowledge, _, document = path_of(request).partition("/knowledge/")[2].partition("/")
    if not document:
        raise NotFound("The address names no document.", hint="/knowledge/NAME@VERSION/DOCUMENT")
    return unquote(knowledge), unquote(document)


def _title_of(text: str, name: str) -> str:
    """The first heading, else the file's name."""
    first = text.lstrip().partition("\n")[0].strip()
    return first.lstrip("#").strip() if first.startswith("#") else name.rpartition("/")[2]
