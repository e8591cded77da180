"""Who has no key, where the hub is public."""

from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from baigong.app import Platform
from baigong.config import Settings
from baigong.gateway.keys import Keys
from baigong.hub.commits import Put, Words
from tests.servers import serving


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    platform = Platform.open(Settings(home=tmp_path_factory.mktemp("public"), public_hub=True))
    Keys(platform.database, platform.secret).create("laptop", "alice")
    hub = platform.hub
    for name, private in (("alice/open", False), ("alice/closed", True)):
        puts = [Put("config.json", hub.keep(b"{}"))]
        hub.repositories.create("model", name, puts, Words("First", "alice"), private=private)
    with serving(platform) as url:
        yield f"{url}/hf"


def test_what_is_public_is_listed_and_read(door, tmp_path):
    api = HfApi(endpoint=door, token=False)
    assert [each.id for each in api.list_models()] == ["alice/open"]
    assert [each.path for each in api.get_paths_info("alice/open", ["config.json"])]
    folder = snapshot_download("alice/open", endpoint=door, token=False, cache_dir=tmp_path)
    assert Path(folder, "config.json").read_text() == "{}"


def test_what_is_private_is_not_there(door, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("alice/closed", endpoint=door, token=False, cache_dir=tmp_path)


def test_nothing_is_written_and_no_other_door_is_open(door):
    api = HfApi(endpoint=door, token=False)
    with pytest.raises(HfHubHTTPError):
        api.create_tag("alice/open", tag="v1")
    url = door.removesuffix("/hf")
    for path in ("/v1/models", "/api/hub/models", "/hf/api/whoami-v2", "/ollama/api/tags"):
        assert httpx2.get(url + path).status_code == 401
    wrong = httpx2.get(f"{door}/api/models", headers={"Authorization": "Bearer bg-no-key"})
    assert wrong.status_code == 401
