"""What endpoints elsewhere say of a repository: Hugging Face's and ModelScope's protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import httpx2

from baigong.errors import InvalidInput, NotFound, Unreachable
from baigong.hub.names import Kind

# What Hugging Face's clients call each kind of repository.
HF_TYPES: Mapping[Kind, str] = {"model": "model", "dataset": "dataset", "recipe": "space"}
HF = "https://huggingface.co"
MODELSCOPE = "https://www.modelscope.cn"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file an endpoint offers. `sha256`, and git's `oid`, are empty where it does not say."""

    path: str
    size: int
    sha256: str = ""
    oid: str = ""


def hugging_face_files(
    name: str,
    endpoint: str | None,
    revision: str | None,
    token: str | bool | None,
    kind: str = "model",
) -> tuple[str, list[RemoteFile]]:
    """The commit of a revision, and its files.

    Raises:
        NotFound: there is no such repository or revision, or it needs a token.
        Unreachable: the endpoint could not be asked.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415

    with hugging_face_errors(name, endpoint):
        info = HfApi(endpoint=endpoint, token=token).repo_info(
            name, revision=revision, repo_type=kind, files_metadata=True
        )
    files = [
        RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "", s.blob_id or "")
        for s in getattr(info, "siblings", None) or []
    ]
    return info.sha or "main", files


@contextmanager
def hugging_face_errors(name: str, endpoint: str | None) -> Iterator[None]:
    """The client's errors as ours.

    Raises:
        NotFound, Unreachable: as `hugging_face_files`.
    """
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"'{name}' does not exist there, or needs a token.",
            hint="Check the name; a gated model needs --token.",
        ) from error
    except RevisionNotFoundError as error:
        raise NotFound(f"'{name}' has no such revision there.") from error
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise unreachable(endpoint or HF, error) from error


def modelscope_url(name: str, endpoint: str | None) -> str:
    """Where a model's files are asked for."""
    return f"{(endpoint or MODELSCOPE).rstrip('/')}/api/v1/models/{name}/repo"


@contextmanager
def modelscope_client(endpoint: str | None, token: str | None) -> Iterator[httpx2.Client]:
    """What talks to the endpoint; its errors become Unreachable."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx2.Client(headers=headers, timeout=60, follow_redirects=True) as client:
            yield client
    except httpx2.HTTPError as error:
        raise unreachable(endpoint or MODELSCOPE, error) from error


def modelscope_files(client: httpx2.Client, name: str, url: str, revision: str) -> list[RemoteFile]:
    """The files of a revision.

    Raises:
        NotFound: there is no such model, or no such revision of it.
    """
    query = {"Revision": revision, "Recursive": "True"}
    listing = client.get(f"{url}/files", params=query)
    if listing.status_code == 404:
        raise NotFound(f"The model '{name}' has no revision '{revision}' there, or needs a token.")
    return _modelscope_files(listing.raise_for_status().json())


def _modelscope_files(listing: dict[str, Any]) -> list[RemoteFile]:
    found = [
        RemoteFile(str(f["Path"]), int(f["Size"]), str(f.get("Sha256") or ""))
        for f in (listing.get("Data") or {}).get("Files", [])
        if f.get("Type") != "tree"
    ]
    for file in found:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts:
            raise InvalidInput(f"The endpoint offers a file outside its folder: {file.path!r}.")
    return found


def unreachable(endpoint: str, error: Exception) -> Unreachable:
    return Unreachable(
        f"{endpoint} could not be asked: {error}",
        hint="Check the address and the network and run the same command again; "
        "what has arrived is kept.",
    )
