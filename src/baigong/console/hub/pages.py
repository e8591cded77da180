"""The pages of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from baigong.console.hub import view
from baigong.console.hub.card import LONGEST, card_html
from baigong.console.hub.places import Place, searched
from baigong.console.hub.uses import uploading, uses_of
from baigong.console.render import actor_of, path_of, render, shown
from baigong.console.words import Say, language_of, speaker
from baigong.hub.about import CARD
from baigong.hub.hub import Hub
from baigong.hub.reader import At, Reader, asked, kind_of, page_of

_API = "/api"  # before a page's path: where its JSON is

Read = Callable[[Reader, At, Say], dict[str, Any]]


class HubPages:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        one = "/hub/{kind}/{owner}/{name}"
        return [
            Route("/hub", self.all, methods=["GET"]),
            Route("/hub/{kind}", self.all, methods=["GET"]),
            Route(one, self.card, methods=["GET"]),
            Route(f"{one}/files", self.files, methods=["GET"]),
            Route(f"{one}/file/{{path:path}}", self.file, methods=["GET"]),
            Route(f"{one}/history", self.history, methods=["GET"]),
            Route(f"{one}/like", self.like, methods=["POST"]),
            Route(f"{one}/unlike", self.unlike, methods=["POST"]),
        ]

    @shown
    async def all(self, request: Request) -> Response:
        """Repositories of a kind, searched, narrowed and sorted as the address says."""
        word = request.path_params.get("kind", "models")
        kind, wanted = kind_of(word), request.query_params
        reader, say = self._reader(request), speaker(language_of(request))
        query = asked(kind, wanted)
        found, total = await asyncio.to_thread(reader.page, query)
        common = await asyncio.to_thread(reader.common, kind)
        return render(
            request,
            "hub.html",
            twin=f"{_API}{searched(query)}",
            kind=kind,
            upload=uploading(kind, "OWNER/NAME", "FOLDER", _base_url(request)),
            rows=[view.row(one, say) for one in found],
            filters=view.filters(kind, wanted),
            sizes=view.SIZES if kind == "model" else (),
            sorts=view.SORTS,
            common=common,
            steps=view.steps(f"/hub/{word}", wanted, total),
        )

    @shown
    async def card(self, request: Request) -> Response:
        """What a repository says of itself, how to use it, and where it comes from."""
        base_url, has_key = _base_url(request), bool(request.state.principal.id)

        def read(reader: Reader, at: At, say: Say) -> dict[str, Any]:
            one, text, lineage = at.repository, reader.card(at), reader.lineage(at.repository)
            place = Place(one.kind, one.name, at.revision)
            return {
                "card": card_html(text, place) if text.strip() else "",
                "rest": place.bytes_of(CARD) if len(text) > LONGEST else "",
                "upload": uploading(one.kind, one.name, "README.md", base_url),
                "uses": uses_of(at, base_url, has_key=has_key),
                "facts": view.facts(one, say),
                "bases": view.links("model", lineage.bases),
                "datasets": view.links("dataset", lineage.datasets),
                "made": [view.row(each, say) for each in (*lineage.made, *lineage.recipes)],
                "all_made": view.all_made(one, lineage),
            }

        return await self._render(request, "repository.html", read)

    @shown
    async def files(self, request: Request) -> Response:
        """What lies in `?folder=`."""
        folder, base_url = request.query_params.get("folder", "").strip("/"), _base_url(request)

        def read(reader: Reader, at: At, say: Say) -> dict[str, Any]:
            one = at.repository
            place = Place(one.kind, one.name, at.revision)
            found, total = reader.folder(at, folder)
            return {
                "upload": uploading(one.kind, one.name, "FOLDER", base_url),
                "folder": folder.rpartition("/")[2],
                "crumbs": view.crumbs(place, folder),
                "rows": [view.file_row(each, place, say) for each in found],
                "total": total,
            }

        return await self._render(request, "files.html", read)

    @shown
    async def file(self, request: Request) -> Response:
        """A file: a text by its lines, weights by their tensors."""
        path = request.path_params["path"]

        def read(reader: Reader, at: At, say: Say) -> dict[str, Any]:
            place = Place(at.repository.kind, at.repository.name, at.revision)
            content = reader.file(at, path)
            weights = content.weights
            return {
                "file": path.rpartition("/")[2],
                "crumbs": view.crumbs(place, path),
                "content": content,
                "size": view.size(content.size),
                "download": place.bytes_of(path),
                "changed": content.commit and view.commit_row(content.commit, place, say),
                "tensors": view.tensors(content),
                "sums": "" if weights is None else view.dtypes(weights.dtypes),
            }

        return await self._render(request, "file.html", read)

    @shown
    async def history(self, request: Request) -> Response:
        """The commits that led to the revision."""

        def read(reader: Reader, at: At, say: Say) -> dict[str, Any]:
            place = Place(at.repository.kind, at.repository.name, at.revision)
            found, total = reader.history(at, page_of(request.query_params))
            return {
                "rows": [view.commit_row(one, place, say) for one in found],
                "steps": view.steps(f"{place.home}/history", request.query_params, total),
            }

        return await self._render(request, "history.html", read)

    @shown
    async def like(self, request: Request) -> Response:
        """Like a repository; then its page again."""
        return await self._like(request, likes_it=True)

    @shown
    async def unlike(self, request: Request) -> Response:
        """Like it no longer."""
        return await self._like(request, likes_it=False)

    async def _like(self, request: Request, *, likes_it: bool) -> Response:
        path, actor = request.path_params, actor_of(request)
        kind, name = kind_of(path["kind"]), f"{path['owner']}/{path['name']}"

        def change() -> str:
            one = self._hub.repositories.seen(kind, name, actor)
            self._hub.repositories.like(one, actor.user, likes_it=likes_it)
            return Place(kind, one.name).card

        return RedirectResponse(await asyncio.to_thread(change), 303)

    async def _render(self, request: Request, template: str, read: Read) -> Response:
        path, revision = request.path_params, request.query_params.get("revision", "")
        kind, name = kind_of(path["kind"]), f"{path['owner']}/{path['name']}"
        reader, say = self._reader(request), speaker(language_of(request))

        def find() -> dict[str, Any]:
            at = reader.at(kind, name, revision)
            head = view.head(at, reader.likes(at.repository), say)
            return {"head": head, "count": reader.count(at), **read(reader, at, say)}

        found = await asyncio.to_thread(find)
        query = f"?{request.url.query}" if request.url.query else ""
        return render(request, template, twin=f"{_API}{path_of(request)}{query}", **found)

    def _reader(self, request: Request) -> Reader:
        return Reader(self._hub, actor_of(request))


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
