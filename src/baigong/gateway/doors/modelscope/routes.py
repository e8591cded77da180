"""The addresses of the ModelScope door."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Mount

from baigong.app import Platform
from baigong.errors import BaigongError
from baigong.gateway.auth import Access
from baigong.gateway.doors.modelscope.accounts import AccountsApi
from baigong.gateway.doors.modelscope.changes import ChangesApi
from baigong.gateway.doors.modelscope.files import FilesApi
from baigong.gateway.doors.modelscope.listing import ListingApi
from baigong.gateway.doors.modelscope.repositories import RepositoriesApi
from baigong.gateway.doors.modelscope.revisions import RevisionsApi
from baigong.gateway.doors.modelscope.wire import on_error, on_http_error


class ModelScopeDoor:
    """Everything under `/modelscope`."""

    def __init__(self, platform: Platform, access: Access) -> None:
        hub = platform.hub
        self._apis = (
            AccountsApi(access),
            ListingApi(hub),
            FilesApi(hub),
            ChangesApi(hub),
            RevisionsApi(hub),
            RepositoriesApi(hub),
        )

    def routes(self) -> Mount:
        handlers = {BaigongError: on_error, HTTPException: on_http_error}
        return Mount(
            "/modelscope",
            routes=[route for api in self._apis for route in api.routes()],
            middleware=[Middleware(ExceptionMiddleware, handlers=handlers)],
        )
