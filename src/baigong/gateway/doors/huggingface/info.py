"""What is said of a repository: `model_info` and its siblings, and the same in lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput, NotFound
from baigong.gateway.doors.huggingface.entries import sibling
from baigong.gateway.doors.huggingface.tree import is_true
from baigong.gateway.doors.huggingface.wire import owned, repository_of
from baigong.gateway.endpoints import actor_of, answering, when
from baigong.hub.commits import Commit
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN, Kind
from baigong.hub.repositories import Repository

# What `expand` may name, as the client's own types list it. Of some nothing is known here.
_ALL = (
    "author cardData createdAt disabled lastModified likes private resourceGroup sha siblings tags"
    " trendingScore usedStorage"
)
_DATA = f"{_ALL} downloads downloadsAllTime gated"
PROPERTIES: Mapping[Kind, frozenset[str]] = {
    "model": frozenset(
        f"{_DATA} baseModels childrenModelCount config evalResults gguf inference"
        " inferenceProviderMapping library_name mask_token model-index pipeline_tag safetensors"
        " spaces transformersInfo widgetData".split()
    ),
    "dataset": frozenset(f"{_DATA} citation description mainSize paperswithcode_id".split()),
    "recipe": frozenset(f"{_ALL} datasets models region runtime sdk subdomain".split()),
}
_INFO = (
    "author cardData config createdAt disabled downloads gated lastModified library_name likes"
    " model-index pipeline_tag private safetensors sha siblings tags usedStorage sdk"
).split()
LISTED = (
    "author createdAt downloads gated lastModified library_name likes pipeline_tag private sha tags"
).split()


class InfoApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}"
        return [
            Route(f"{root}/revision/{{revision:rest}}", answering(self.info)),
            Route(f"{root}/auth-check", answering(self.check_reads)),
            Route(f"{root}/auth-check/write", answering(self.check_writes)),
            Route(root, answering(self.info)),
        ]

    def rest(self) -> list[Route]:
        """What no other route answers: whether for want of the repository, or of what is asked."""
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        root = "/api/{kind:kind}"
        return [
            Route(
                f"{root}/{{owner:part}}/{{name:part}}/{{rest:rest}}",
                answering(self.nothing),
                methods=every,
            ),
            Route(f"{root}/{{rest:rest}}", answering(no_owner), methods=every),
            Route("/{name:part}/resolve/{rest:rest}", answering(no_owner)),
            Route("/{kind:kind}/{name:part}/resolve/{rest:rest}", answering(no_owner)),
            Route("/api/{rest:rest}", unknown, methods=every),
        ]

    def info(self, request: Request) -> dict[str, Any]:
        """At a revision; `expand` says which properties, else the usual ones."""
        one, query = repository_of(self._hub, request), request.query_params
        commit = self._hub.commits.resolve(one.id, request.path_params.get("revision", MAIN))
        names = expanded(one.kind, query) or _INFO
        return describe(self._hub, one, commit, names, blobs=is_true(query.get("blobs")))

    def nothing(self, request: Request) -> None:
        repository_of(self._hub, request)
        raise HTTPException(404)

    def check_reads(self, request: Request) -> dict[str, Any]:
        self._hub.admissions.check(repository_of(self._hub, request), actor_of(request))
        return {}

    def check_writes(self, request: Request) -> dict[str, Any]:
        owned(self._hub, request)
        return {}


async def unknown(_request: Request) -> Response:
    """No such address."""
    raise HTTPException(404)


def no_owner(request: Request) -> None:
    """Every repository has one.

    Raises:
        NotFound: always.
    """
    error = NotFound(f"There is no repository without an owner: {request.url.path}.")
    error.code = "model_not_found"
    raise error


def expanded(kind: Kind, query: QueryParams) -> list[str]:
    """The properties that a query asks for.

    Raises:
        InvalidInput: one that there is not.
    """
    names = [*query.getlist("expand"), *query.getlist("expand[]")]
    for name in names:
        if name not in PROPERTIES[kind]:
            known = "|".join(f'"{each}"' for each in sorted(PROPERTIES[kind]))
            raise InvalidInput(f"Invalid option: expected one of {known}", param="expand")
    return names


def describe(
    hub: Hub, one: Repository, commit: Commit, names: Sequence[str], *, blobs: bool = False
) -> dict[str, Any]:
    """A repository at a commit: its id, and the properties of these names. Blocks."""
    told = {"_id": f"{one.id:024x}", "id": one.name}
    if one.kind == "model":
        told["modelId"] = one.name
    known = _known(one)
    known["sha"] = lambda: commit.id
    known["siblings"] = lambda: [
        sibling(path, entry, is_full=blobs) for path, entry in hub.commits.files(commit).items()
    ]
    if commit.id != one.head:
        known["lastModified"] = lambda: when(commit.created_at)
    told.update({name: known[name]() for name in names if name in known})
    return told


def listed(one: Repository, names: Sequence[str]) -> dict[str, Any]:
    """A repository in a list, which costs no look at its files."""
    told = {"_id": f"{one.id:024x}", "id": one.name}
    if one.kind == "model":
        told["modelId"] = one.name
    known = _known(one)
    known["sha"] = lambda: one.head
    told.update({name: known[name]() for name in names if name in known})
    return told


def tags_of(one: Repository) -> list[str]:
    """What a list can be filtered by."""
    about, data = one.about, one.kind == "dataset"
    found = [
        *([] if data else [about.library, about.task]),
        *about.tags,
        *(f"language:{code}" if data else code for code in about.languages),
        *([f"task_categories:{about.task}"] if data and about.task else []),
        *(f"base_model:{name}" for name in about.bases),
        *(f"dataset:{name}" for name in about.datasets),
        *([f"license:{about.license}"] if about.license else []),
    ]
    return list(dict.fromkeys(tag for tag in found if tag))


def _known(one: Repository) -> dict[str, Callable[[], Any]]:
    about = one.about
    known: dict[str, Callable[[], Any]] = {
        "author": lambda: one.owner,
        "cardData": lambda: about.card or None,
        "createdAt": lambda: when(one.created_at),
        "disabled": lambda: False,
        "lastModified": lambda: when(one.modified_at),
        "likes": lambda: one.likes,
        "private": lambda: one.private,
        "tags": lambda: tags_of(one),
        "trendingScore": lambda: 0,
        "usedStorage": lambda: about.size,
        "downloads": lambda: one.downloads,
        "downloadsAllTime": lambda: one.downloads,
        "gated": lambda: one.settings.gated or False,
    }
    if one.kind == "model":
        known |= {
            "baseModels": lambda: {"models": [{"id": name} for name in about.bases]},
            "config": lambda: {"architectures": [about.architecture]} if about.architecture else {},
            "library_name": lambda: about.library or None,
            "model-index": lambda: about.card.get("model-index"),
            "pipeline_tag": lambda: about.task or None,
            "safetensors": lambda: (
                {"parameters": about.dtypes, "total": about.parameters} if about.dtypes else None
            ),
        }
    if one.kind == "recipe":
        known |= {"sdk": lambda: "static"}
    return known
