"""Files of a revision: listed, and downloaded whole or in ranges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput, NotFound
from baigong.gateway.blobs import blob_reply
from baigong.gateway.doors.modelscope.wire import (
    data_reply,
    number_of,
    repository_of,
    revision_of,
)
from baigong.gateway.endpoints import actor_of, answering
from baigong.hub.commits import Commit
from baigong.hub.counting import is_download
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry, Files, folders_of
from baigong.hub.repositories import Repository

_MOST_OF_A_PAGE = 3000


class FilesApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        one = "/api/v1/{kinds}/{owner}/{name}/repo"
        return [
            Route(one, answering(self.download), methods=["GET"]),
            Route(f"{one}/files", answering(self.page), methods=["GET"]),
            Route(f"{one}/tree", answering(self.page), methods=["GET"]),
        ]

    def page(self, request: Request) -> Response:
        """Files and folders below `Root`; all of them, unless a page is asked for.

        The client takes 3,000 for a listing that was cut, and asks again folder by folder; it
        keeps what it has seen, so nothing is ever missing.
        """
        one, query = repository_of(self._hub, request), request.query_params
        files = self._files(one, query.get("Revision"))
        is_deep = query.get("Recursive", "").lower() == "true"
        paths = _below(files, query.get("Root", "").strip("/"), is_deep=is_deep)
        total = len(paths)
        if "PageNumber" in query:
            size = number_of(request, "PageSize", 100, _MOST_OF_A_PAGE)
            start = (number_of(request, "PageNumber", 1, 1 << 30) - 1) * size
            paths = paths[start : start + size]
        known = self._hub.commits.of(one.id, {files[p].commit for p in paths if p in files})
        listed = [_file(p, files[p], known) if p in files else _folder(p) for p in paths]
        return data_reply(request, {"Files": listed, "TotalCount": total}, TotalCount=total)

    def download(self, request: Request) -> Response:
        """The bytes of `FilePath`, with the sha256 that the client checks them against."""
        one = repository_of(self._hub, request)
        self._hub.admissions.check(one, actor_of(request))
        path = request.query_params.get("FilePath", "")
        if not path:
            raise InvalidInput("FilePath says which file, and is missing.", param="FilePath")
        commit = self._commit(one, request.query_params.get("Revision"))
        files = self._hub.commits.files(commit)
        if (entry := files.get(path)) is None:
            raise NotFound(f"There is no file '{path[:200]}' in this revision.", param="FilePath")
        name = quote(path.rpartition("/")[2])
        headers = {
            "etag": f'"{entry.digest}"',
            "x-linked-etag": f'"{entry.digest}"',
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
        }
        begins = request.headers.get("range", "bytes=0-").startswith("bytes=0-")
        if begins and request.method == "GET" and is_download(files, path):
            self._hub.counting.count(one.id)
        pieces = partial(self._hub.mirror.pieces, one, commit, path)
        return blob_reply(request, pieces, entry.size, headers)

    def _files(self, one: Repository, revision: str | None) -> Files:
        return self._hub.commits.files(self._commit(one, revision))

    def _commit(self, one: Repository, revision: str | None) -> Commit:
        return self._hub.commits.resolve(one.id, revision_of(revision))


def _below(files: Files, root: str, *, is_deep: bool) -> list[str]:
    start = f"{root}/" if root else ""
    found = [p for p in (*files, *folders_of(files)) if p.startswith(start)]
    return sorted(found if is_deep else [p for p in found if "/" not in p[len(start) :]])


def _file(path: str, entry: Entry, known: Mapping[str, Commit]) -> dict[str, Any]:
    commit = known[entry.commit]
    return {
        "Path": path,
        "Name": path.rpartition("/")[2],
        "Type": "blob",
        "Size": entry.size,
        "Sha256": entry.digest,
        "IsLFS": entry.is_large,
        "Mode": "100644",
        "Revision": commit.id,
        "CommitMessage": commit.title,
        "CommitterName": commit.author,
        "CommittedDate": int(commit.created_at),
    }


def _folder(path: str) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    return {"Path": path, "Name": name, "Type": "tree", "Size": 0, "Sha256": "", "Mode": "40000"}
