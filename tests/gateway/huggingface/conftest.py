"""A server with keys, and Hugging Face's own client in the hands of two users and an operator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from baigong.app import Platform
from baigong.config import Settings
from baigong.gateway.keys import Keys
from tests.servers import serving

_numbers = itertools.count()


class Served:
    """The server, and who may call it."""

    def __init__(self, platform: Platform, url: str) -> None:
        self.platform = platform
        self.url = url
        self.endpoint = f"{url}/hf"
        self.keys = Keys(platform.database, platform.secret)
        self.tokens = {name: self.keys.create("tests", name)[1] for name in ("alice", "bob")}
        self.tokens["operator"] = self.keys.create("tests")[1]

    def api(self, user: str) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=self.tokens[user])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("hub")
    platform = Platform.open(Settings(home=home, cache_mb=64, threads=1))
    with pytest.MonkeyPatch.context() as patch, serving(platform) as url:
        patch.setenv("HF_XET_CACHE", str(home / "xet"))  # what the client knows to be here
        yield Served(platform, url)


@pytest.fixture
def alice(served: Served) -> HfApi:
    return served.api("alice")


@pytest.fixture
def bob(served: Served) -> HfApi:
    return served.api("bob")


@pytest.fixture
def operator(served: Served) -> HfApi:
    return served.api("operator")


@pytest.fixture
def make(alice: HfApi) -> Callable[..., str]:
    """Makes a repository of alice's, with files of these contents; its name."""

    def make(files: dict[str, bytes] | None = None, kind: str = "model", **kwargs: bool) -> str:
        name = f"alice/{kind}-{next(_numbers)}"
        extra = {"space_sdk": "static"} if kind == "space" else {}
        alice.create_repo(name, repo_type=kind, **extra, **kwargs)
        for path, content in (files or {}).items():
            alice.upload_file(
                path_or_fileobj=content, path_in_repo=path, repo_id=name, repo_type=kind
            )
        return name

    return make
