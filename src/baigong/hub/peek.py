"""A model that is elsewhere, by its headers: config.json and the first bytes of its weights' files.

The weights stay where they are. Names, endpoints and tokens are those of `pull`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2

from baigong.errors import Unreachable, Unsupported
from baigong.hub.pull import address, is_wanted
from baigong.hub.remote import (
    HF,
    RemoteFile,
    hugging_face_files,
    modelscope_client,
    modelscope_files,
    modelscope_url,
    unreachable,
)
from baigong.model.headers import Headers

_PIECE = 1 << 14


@dataclass(frozen=True, slots=True)
class Peek:
    """What a model elsewhere is, and how many bytes `pull` would bring."""

    headers: Headers
    download_bytes: int


def peek(
    source: str,
    *,
    endpoint: str | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Peek:
    """Ask for the headers of `owner/name`, `hf://owner/name` or `modelscope://owner/name`.

    Raises:
        NotFound: the model does not exist there, or needs a token.
        InvalidInput: the name is none, or a file of the model is missing or broken.
        Unsupported: a GGUF file is meant.
        Unreachable: the endpoint could not be asked.
    """
    scheme, name, gguf = address(source)
    if gguf:
        raise Unsupported(
            f"{gguf} is GGUF, and is not looked into from afar.",
            hint="Bring it here with `baigong pull`, and ask again.",
        )
    ask = _ask_modelscope if scheme == "modelscope" else _ask_hugging_face
    return ask(name, endpoint, revision, token)


def _ask_hugging_face(
    name: str, endpoint: str | None, revision: str | None, token: str | None
) -> Peek:
    from huggingface_hub import hf_hub_url  # noqa: PLC0415  slow, and needed for this verb alone
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
        build_hf_headers,
    )

    commit, files = hugging_face_files(name, endpoint, revision, token)

    def where(path: str) -> tuple[str, dict[str, str]]:
        return hf_hub_url(name, path, revision=commit, endpoint=endpoint), {}

    headers = build_hf_headers(token=token)
    try:
        with httpx2.Client(headers=headers, timeout=60, follow_redirects=True) as client:
            return _peek(name, files, client, where)
    except httpx2.HTTPError as error:
        raise unreachable(endpoint or HF, error) from error


def _ask_modelscope(
    name: str, endpoint: str | None, revision: str | None, token: str | None
) -> Peek:
    url, revision = modelscope_url(name, endpoint), revision or "master"
    with modelscope_client(endpoint, token) as client:
        files = modelscope_files(client, name, url, revision)
        return _peek(
            name, files, client, lambda path: (url, {"Revision": revision, "FilePath": path})
        )


Where = Callable[[str], tuple[str, dict[str, str]]]
"""From a file's path to its address and query."""


def _peek(name: str, files: list[RemoteFile], client: httpx2.Client, where: Where) -> Peek:
    sizes = {file.path: file.size for file in files if is_wanted(file.path)}
    headers = Headers.read(_Elsewhere(name, sizes, client, where))
    return Peek(headers, sum(sizes.values()))


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """See headers.Source."""

    name: str
    files: Mapping[str, int]
    client: httpx2.Client
    where: Where

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Hangs up once it has those bytes: a server that knows no ranges would send the whole file."""
        url, query = self.where(path)
        asked = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        found = bytearray()
        with self.client.stream("GET", url, params=query, headers=asked) as response:
            response.raise_for_status()
            at = 0
            if response.status_code == 206:
                at = start
                told = response.headers.get("Content-Range", "")
                if not told.startswith(f"bytes {start}-"):
                    raise Unreachable(
                        f"{path}: bytes from {start} on were asked for, and {told!r} came."
                    )
            for piece in response.iter_raw(_PIECE):
                found += piece
                if at + len(found) >= stop:
                    break
        return bytes(found[start - at : stop - at])
