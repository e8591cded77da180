"""`/v1/files`: uploads, for whatever purpose they say."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.background import BackgroundTask
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Message

from baigong.app import Platform
from baigong.errors import InvalidInput
from baigong.gateway.bodies import shown
from baigong.gateway.doors.openai.vector_stores.wire import cut_of, list_object
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import TooLarge, WrongType, json_reply
from baigong.store.files import Files, StoredFile

MOST_BYTES = 512 << 20  # as at OpenAI
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_FIELDS = 16  # of a form


class FilesApi:
    """The endpoints; `forget` takes a file out of where it is used."""

    def __init__(
        self, platform: Platform, files: Files, forget: Callable[[str], Awaitable[None]]
    ) -> None:
        self._files = files
        self._forget = forget
        self._downloads = platform.settings.cache_folder / "downloads"

    def routes(self) -> list[Route]:
        return [
            Route("/files", self.create, methods=["POST"]),
            Route("/files", self.page, methods=["GET"]),
            Route("/files/{file}", self.retrieve, methods=["GET"]),
            Route("/files/{file}", self.delete, methods=["DELETE"]),
            Route("/files/{file}/content", self.content, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """A form with `file` and `purpose`; what is large goes to disk as it comes."""
        async with _bounded(request).form(max_files=1, max_fields=_FIELDS) as form:
            upload, purpose = form.get("file"), form.get("purpose")
            if not isinstance(upload, UploadFile):
                raise InvalidInput("The field 'file' is missing.", param="file")
            if purpose not in PURPOSES:
                raise InvalidInput(
                    f"purpose: expected one of {', '.join(PURPOSES)}, got {shown(str(purpose))}.",
                    param="purpose",
                )
            made = await asyncio.to_thread(
                self._seen(request).add,
                upload.filename or "file",
                str(purpose),
                upload.file,
                _expiry(form),
            )
        return json_reply(file_object(made))

    async def page(self, request: Request) -> Response:
        at, purpose = cut_of(request), request.query_params.get("purpose")
        found, more = await asyncio.to_thread(self._seen(request).page, at, purpose)
        return json_reply(list_object([file_object(file) for file in found], more))

    async def retrieve(self, request: Request) -> Response:
        return json_reply(file_object(await self._of(request)))

    async def delete(self, request: Request) -> Response:
        """The file, and what was made of it in vector stores."""
        file = await self._of(request)
        await self._forget(file.id)
        await asyncio.to_thread(self._files.delete, file.id)
        return json_reply({"id": file.id, "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        """The bytes as they were sent; never as a page of ours."""
        file = await self._of(request)
        copy = self._downloads / secrets.token_hex(12)
        await asyncio.to_thread(self._files.fetch, file, copy)
        return FileResponse(
            copy,
            media_type="application/octet-stream",
            filename=file.filename,
            headers={"x-content-type-options": "nosniff"},
            background=BackgroundTask(copy.unlink),
        )

    def _seen(self, request: Request) -> Files:
        return self._files.of(actor_of(request).owner)

    async def _of(self, request: Request) -> StoredFile:
        return await asyncio.to_thread(self._seen(request).get, request.path_params["file"])


def file_object(file: StoredFile) -> dict[str, Any]:
    found = {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
    return found if file.expires_at is None else {**found, "expires_at": int(file.expires_at)}


def _bounded(request: Request) -> Request:
    """The request, refused as soon as it is seen to be no form or too long."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise WrongType(
            f"The body has content type '{kind[:80]}'.", hint="Send a form: multipart/form-data."
        )
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > MOST_BYTES:
            raise TooLarge(f"The file is longer than {MOST_BYTES} bytes.", hint="Split it.")
        return message

    return Request(request.scope, receive)


def _expiry(form: FormData) -> int | None:
    """Seconds from now, of `expires_after[seconds]`."""
    given = form.get("expires_after[seconds]")
    if given is None:
        return None
    if not str(given).isdecimal() or not 3600 <= int(str(given)) <= 2_592_000:
        raise InvalidInput(
            f"expires_after.seconds: expected 3600 to 2592000, got {shown(str(given))}.",
            param="expires_after",
        )
    return int(str(given))
