"""Hubs elsewhere: what they hold under a name, and where its bytes are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from baigong.errors import InvalidInput, NotFound
from baigong.hub.names import MAIN, Kind
from baigong.hub.remote import (
    HF,
    HF_TYPES,
    MODELSCOPE,
    RemoteFile,
    hugging_face_files,
    modelscope_client,
    modelscope_files,
    modelscope_url,
)


class Found(NamedTuple):
    """A repository elsewhere at a revision."""

    commit: str
    files: Sequence[RemoteFile]


class Source(Protocol):
    """A hub elsewhere; `name` is how a setting writes it."""

    @property
    def name(self) -> str: ...

    def ask(self, kind: Kind, name: str, revision: str) -> Found:
        """
        Raises:
            NotFound: there is no such repository or revision, or it is not public.
            Unreachable: nobody knows.
        """
        ...

    def address(self, kind: Kind, name: str, commit: str, path: str) -> tuple[str, dict[str, str]]:
        """The URL of a file and its query."""
        ...


class HuggingFace:
    """huggingface.co, or whatever speaks its protocol."""

    def __init__(self, endpoint: str = HF) -> None:
        self._endpoint = endpoint.rstrip("/")
        self.name = "hf" if endpoint == HF else f"hf+{self._endpoint}"

    def ask(self, kind: Kind, name: str, revision: str) -> Found:
        """See Source. Without a token: what is fetched is shown to every caller."""
        found = hugging_face_files(name, self._endpoint, revision, False, HF_TYPES[kind])
        return Found(*found)

    def address(self, kind: Kind, name: str, commit: str, path: str) -> tuple[str, dict[str, str]]:
        """See Source."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415  slow, and for mirrors alone

        kinds = {"repo_type": HF_TYPES[kind], "endpoint": self._endpoint}
        return hf_hub_url(name, path, revision=commit, **kinds), {}


class ModelScope:
    """modelscope.cn, or whatever speaks its protocol. Its models alone."""

    def __init__(self, endpoint: str = MODELSCOPE) -> None:
        self._endpoint = endpoint.rstrip("/")
        self.name = "modelscope" if endpoint == MODELSCOPE else f"modelscope+{self._endpoint}"

    def ask(self, kind: Kind, name: str, revision: str) -> Found:
        """See Source. There is no commit in its lists: one is made of what they say."""
        if kind != "model":
            raise NotFound(f"ModelScope is asked for models alone, not for the {kind} '{name}'.")
        url = modelscope_url(name, self._endpoint)
        with modelscope_client(self._endpoint, None) as client:
            files = modelscope_files(client, name, url, _here(revision))
        plain = "\n".join(sorted(f"{f.path} {f.sha256} {f.size}" for f in files))
        return Found(hashlib.sha256(plain.encode()).hexdigest()[:40], files)

    def address(self, kind: Kind, name: str, commit: str, path: str) -> tuple[str, dict[str, str]]:
        """See Source. Files are asked for by branch: its hub knows no commit of ours."""
        return modelscope_url(name, self._endpoint), {"Revision": "master", "FilePath": path}


def read_sources(given: Sequence[str]) -> list[Source]:
    """From a setting: `hf`, `modelscope`, or either with an endpoint: `hf+https://hub.example`.

    Raises:
        InvalidInput: it is neither.
    """
    kinds: dict[str, type[HuggingFace] | type[ModelScope]] = {
        "hf": HuggingFace,
        "modelscope": ModelScope,
    }
    found: list[Source] = []
    for each in given:
        scheme, mark, endpoint = each.partition("+")
        if scheme not in kinds or (mark and not endpoint.startswith(("http://", "https://"))):
            raise InvalidInput(
                f"BAIGONG_MIRRORS: '{each}' is not a hub that can be mirrored.",
                hint="Write hf, modelscope, hf+https://... or modelscope+https://...",
                param="mirrors",
            )
        found.append(kinds[scheme](endpoint) if mark else kinds[scheme]())
    return found


def _here(revision: str) -> str:
    return "master" if revision == MAIN else revision
