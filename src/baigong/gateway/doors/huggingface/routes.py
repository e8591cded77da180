"""The addresses of the Hugging Face door: `HF_ENDPOINT=http://HOST/hf`."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Mount, Router

from baigong.app import Platform
from baigong.errors import BaigongError
from baigong.gateway.doors.huggingface import pages
from baigong.gateway.doors.huggingface.accounts import AccountsApi
from baigong.gateway.doors.huggingface.addresses import RawPath
from baigong.gateway.doors.huggingface.admissions import AdmissionsApi
from baigong.gateway.doors.huggingface.cards import CardsApi
from baigong.gateway.doors.huggingface.commits import CommitsApi
from baigong.gateway.doors.huggingface.discussions import DiscussionsApi
from baigong.gateway.doors.huggingface.info import InfoApi
from baigong.gateway.doors.huggingface.lfs import LfsApi
from baigong.gateway.doors.huggingface.likes import LikesApi
from baigong.gateway.doors.huggingface.lists import ListsApi
from baigong.gateway.doors.huggingface.refs import RefsApi
from baigong.gateway.doors.huggingface.repositories import RepositoriesApi
from baigong.gateway.doors.huggingface.resolve import ResolveApi
from baigong.gateway.doors.huggingface.tree import TreeApi
from baigong.gateway.doors.huggingface.wire import on_error, on_http_error
from baigong.gateway.doors.huggingface.xet import XetApi


class HuggingFaceDoor:
    """Everything under `/hf`."""

    def __init__(self, platform: Platform) -> None:
        hub = platform.hub
        info = InfoApi(hub)
        self._routes: list[BaseRoute] = [
            *AccountsApi(hub).routes(),
            *RepositoriesApi(hub).routes(),
            *LfsApi(platform).routes(),
            *XetApi(platform).routes(),
            *CommitsApi(hub).routes(),
            *TreeApi(hub).routes(),
            *RefsApi(hub).routes(),
            *DiscussionsApi(hub).routes(),
            *AdmissionsApi(hub).routes(),
            *LikesApi(hub).routes(),
            *ListsApi(hub).routes(),
            *info.routes(),
            *ResolveApi(hub).routes(),
            *CardsApi().routes(),
            *XetApi(platform).routes(),
            *LfsApi(platform).routes(),
            *info.rest(),
            *pages.routes(),
        ]

    def routes(self) -> Mount:
        handlers = {BaigongError: on_error, HTTPException: on_http_error}
        return Mount(
            "/hf",
            Router(self._routes, redirect_slashes=False),
            middleware=[Middleware(RawPath), Middleware(ExceptionMiddleware, handlers=handlers)],
        )
