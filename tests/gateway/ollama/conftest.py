"""A server with a release, two users' keys and an operator's, and Ollama's own client for each."""

import ollama
import pytest

from baigong.gateway.keys import Keys
from tests.servers import add_release, open_platform, serving


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    home = tmp_path_factory.mktemp("ollama")
    platform = open_platform(home)
    add_release(platform, home, persona="Be kind.")
    return platform


@pytest.fixture(scope="session")
def keys(platform):
    keys = Keys(platform.database, platform.secret)
    return {name: keys.create(name, name)[1] for name in ("alice", "bob")}


@pytest.fixture(scope="session")
def base_url(platform, keys):
    with serving(platform) as url:
        yield url


@pytest.fixture(scope="session")
def alice(base_url, keys):
    headers = {"authorization": f"Bearer {keys['alice']}"}
    with ollama.Client(host=f"{base_url}/ollama", headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
def bob(base_url, keys):
    headers = {"authorization": f"Bearer {keys['bob']}"}
    with ollama.Client(host=f"{base_url}/ollama", headers=headers) as client:
        yield client
