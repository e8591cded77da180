"""A server that takes what Hugging Face's client sends and keeps nothing: `python -m bench.hub.sink`.

What an upload to it takes is the client's own time. It prints its port, and ends with its standard
input.
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from baigong.gateway.run import listen


async def _create(request: Request) -> Response:
    return JSONResponse({"url": f"{request.base_url}hf/local/bench", "name": "local/bench"})


async def _preupload(request: Request) -> Response:
    files = (await request.json())["files"]
    answers = [{"path": f["path"], "uploadMode": "lfs", "shouldIgnore": False} for f in files]
    return JSONResponse({"files": answers})


async def _token(request: Request) -> Response:
    url = f"{request.base_url}hf/xet"
    return JSONResponse({"casUrl": url, "exp": 1 << 32, "accessToken": "none"})


async def _take(request: Request) -> Response:
    async for _ in request.stream():
        pass
    if request.url.path.endswith("/v2/shards"):
        return Response(b'{"type":"result"}\n')
    return JSONResponse({"was_inserted": True})


async def _commit(request: Request) -> Response:
    await request.body()
    url = f"{request.base_url}hf/local/bench/commit/{'0' * 40}"
    told = {"success": True, "commitOid": "0" * 40, "commitUrl": url, "hookOutput": ""}
    return JSONResponse(told)


def main() -> None:
    below = "/hf/api/models/local/bench"
    app = Starlette(
        routes=[
            Route("/hf/api/repos/create", _create, methods=["POST"]),
            Route(f"{below}/preupload/main", _preupload, methods=["POST"]),
            Route(f"{below}/xet-write-token/main", _token, methods=["GET"]),
            Route(f"{below}/commit/main", _commit, methods=["POST"]),
            Route("/hf/xet/v1/xorbs/default/{hash}", _take, methods=["POST"]),
            Route("/hf/xet/v2/shards", _take, methods=["POST"]),
        ]
    )
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", http="httptools"))
    print(listener.getsockname()[1], flush=True)

    async def run() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving

    asyncio.run(run())


if __name__ == "__main__":
    main()
