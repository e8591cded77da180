"""A stand-in for the endpoints that models come from; it enters by the public door, an address."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio.lowlevel
import uvicorn
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

COMMIT = "c" * 40
FAT = 64 << 20  # bytes behind each header, which nobody is to ask for


@contextmanager
def served(*routes: Route) -> Iterator[str]:
    """The address of a server in a thread."""
    config = uvicorn.Config(Starlette(routes=list(routes)), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Endpoint:
    """Hugging Face's and ModelScope's protocols over a folder, with long weights behind its headers."""

    folder: Path
    knows_ranges: bool = True
    wrong_range: bool = False
    elsewhere: str = ""
    sent: int = 0
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def size(self, path: Path) -> int:
        return path.stat().st_size + FAT * path.name.endswith(".safetensors")

    @property
    def names(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    async def info(self, request: Request) -> Response:
        if request.path_params["name"] != "tiny":
            return JSONResponse({"error": "none"}, 404, {"X-Error-Code": "RepoNotFound"})
        siblings = [{"rfilename": f.name, "size": self.size(f)} for f in self.names]
        return JSONResponse({"id": "acme/tiny", "sha": COMMIT, "siblings": siblings})

    async def listing(self, request: Request) -> Response:
        if request.path_params["name"] != "tiny":
            return JSONResponse({"Code": 404}, 404)
        rows = [{"Path": f.name, "Type": "blob", "Size": self.size(f)} for f in self.names]
        return JSONResponse({"Code": 200, "Data": {"Files": rows}})

    async def file(self, request: Request) -> Response:
        name = request.path_params.get("path") or request.query_params["FilePath"]
        self.tokens.append(request.headers.get("authorization"))
        if self.elsewhere:
            return RedirectResponse(f"{self.elsewhere}/acme/tiny/resolve/{COMMIT}/{name}")
        self.asked.append(name)
        path = self.folder / name
        start, stop = 0, self.size(path)
        told = request.headers.get("range")
        if told and self.knows_ranges:
            first, _, last = told.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1, stop)
        headers = {"Content-Range": f"bytes {start + self.wrong_range}-{stop - 1}/*"}
        return StreamingResponse(
            self._bytes(path, start, stop), 206 if told and self.knows_ranges else 200, headers
        )

    async def _bytes(self, path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
        whole = await to_thread.run_sync(path.read_bytes)
        while start < stop:
            piece = whole[start : min(stop, start + (1 << 16))]
            piece = piece or bytes(min(stop - start, 1 << 16))
            start += len(piece)
            self.sent += len(piece)
            yield piece
            await anyio.lowlevel.checkpoint()  # the news that the other end hung up has to get in

    @contextmanager
    def open(self) -> Iterator[str]:
        with served(
            Route("/api/models/{owner}/{name}", self.info),
            Route("/api/models/acme/{name}/revision/{rev}", self.info),
            Route("/acme/tiny/resolve/{rev}/{path:path}", self.file),
            Route("/api/v1/models/acme/{name}/repo/files", self.listing),
            Route("/api/v1/models/acme/{name}/repo", self.file),
        ) as url:
            yield url
