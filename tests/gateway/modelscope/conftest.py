"""A server with two users' keys, and ModelScope's own client for each of them."""

import contextlib
import gc
import io
import warnings

import pytest
from modelscope_hub import HubApi

from baigong.app import Platform
from baigong.config import Settings
from baigong.gateway.keys import Keys
from tests.servers import serving


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    return Platform.open(Settings(home=tmp_path_factory.mktemp("modelscope")))


@pytest.fixture(scope="session")
def keys(platform):
    keys = Keys(platform.database, platform.secret)
    return {name: keys.create(name, name)[1] for name in ("alice", "bob")}


@pytest.fixture(scope="session")
def endpoint(platform, keys):
    with serving(platform) as url:
        yield f"{url}/modelscope"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELSCOPE_INTRA_CLOUD_ACCELERATION", "false")


@pytest.fixture
def client_of(endpoint, keys):
    """The client of a user; it tells of its progress in prints that no test reads."""
    clients = []

    def make(user):
        client = HubApi(endpoint=endpoint, token=keys[user])
        clients.append(client)
        return client

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield make
        for client in clients:
            client.openapi.close()
            client.legacy._session.close()
            client.legacy._read_session.close()


@pytest.fixture
def alice(client_of):
    return client_of("alice")


@pytest.fixture
def bob(client_of):
    return client_of("bob")


@pytest.fixture
def leaks():
    """For functions of the client that leave their connections to the collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
