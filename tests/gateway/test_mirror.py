"""Names that are not here, through this hub from another one."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError
from starlette.responses import RedirectResponse
from starlette.routing import Route

from baigong.app import Platform
from baigong.config import Settings
from baigong.errors import Unreachable
from baigong.gateway.keys import Keys
from baigong.hub.access import PLATFORM
from baigong.hub.commits import Put, Words
from baigong.hub.mirror import mirror as mirroring
from tests.hub.endpoint import served
from tests.servers import serving

WEIGHTS = bytes(range(256)) * 12_000
SAID = Words("First", "acme")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A hub with one model, and its address."""
    platform = Platform.open(Settings(home=tmp_path_factory.mktemp("elsewhere")))
    hub = platform.hub
    puts = [
        Put("config.json", hub.keep(b'{"architectures": ["TinyForCausalLM"]}')),
        Put("deep/weights.bin", hub.keep(WEIGHTS)),
    ]
    for name in ("acme/tiny", "acme/moves"):
        hub.repositories.create("model", name, puts, SAID)
    with serving(platform) as url:
        yield hub, url


@pytest.fixture(params=["hf", "modelscope"])
def source(request, elsewhere):
    return f"{request.param}+{elsewhere[1]}/{request.param}"


@pytest.fixture
def here(tmp_path, source):
    platform = Platform.open(Settings(home=tmp_path / "here", mirrors=(source,)))
    with serving(platform) as url:
        yield platform, f"{url}/hf"


def test_a_model_of_another_hub_is_downloaded_through_this_one_and_stays(here, tmp_path, source):
    platform, endpoint = here
    folder = snapshot_download("acme/tiny", endpoint=endpoint, cache_dir=tmp_path / "cache")
    assert Path(folder, "deep", "weights.bin").read_bytes() == WEIGHTS
    one = platform.hub.repositories.find("model", "acme/tiny")
    assert one.settings.mirror == source and one.about.architecture == "TinyForCausalLM"
    platform.hub.mirror.complete(one, lambda _progress: None)
    assert platform.hub.blobs.get(hashlib.sha256(WEIGHTS).hexdigest()) == WEIGHTS


def test_a_commit_has_the_id_that_it_has_there(tmp_path, elsewhere):
    hub, url = elsewhere
    platform = Platform.open(Settings(home=tmp_path / "here", mirrors=(f"hf+{url}/hf",)))
    with serving(platform) as mine:
        info = HfApi(endpoint=f"{mine}/hf").model_info("acme/tiny")
    assert info.sha == hub.repositories.find("model", "acme/tiny").head


def test_large_files_come_when_they_are_asked_for(here, tmp_path):
    platform, endpoint = here
    hf_hub_download("acme/tiny", "config.json", endpoint=endpoint, cache_dir=tmp_path / "cache")
    assert not platform.hub.blobs.has(hashlib.sha256(WEIGHTS).hexdigest())


def test_small_files_are_not_fetched_where_a_redirect_leads_without_encryption(tmp_path, elsewhere):
    def lead(request):
        return RedirectResponse(f"{elsewhere[1]}{request.url.path}?{request.url.query}")

    with served(Route("/{path:path}", lead)) as between:
        settings = Settings(home=tmp_path / "here", mirrors=(f"hf+{between}/hf",))
        with pytest.raises(Unreachable, match="without encryption"):
            Platform.open(settings).hub.mirror.seen("model", "acme/tiny", PLATFORM)


def test_what_changes_there_changes_here(here, elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(mirroring, "FRESH_S", 0.0)
    hub, (_, endpoint) = elsewhere[0], here
    places = {"endpoint": endpoint, "cache_dir": tmp_path / "cache"}
    hf_hub_download("acme/moves", "config.json", **places)
    one = hub.repositories.find("model", "acme/moves")
    hub.commits.commit(one.id, [Put("new.txt", hub.keep(tmp_path.name.encode()))], SAID)
    found = hf_hub_download("acme/moves", "new.txt", **places)
    assert Path(found).read_text() == tmp_path.name


def test_what_is_nowhere_is_not_here(here, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("acme/nothing", endpoint=here[1], cache_dir=tmp_path / "cache")


def test_what_is_here_stays_when_the_other_hub_is_gone(tmp_path, elsewhere):
    home, places = tmp_path / "here", {"cache_dir": tmp_path / "cache"}
    platform = Platform.open(Settings(home=home, mirrors=(f"hf+{elsewhere[1]}/hf",)))
    with serving(platform) as url:
        HfApi(endpoint=f"{url}/hf").model_info("acme/tiny")
        one = platform.hub.repositories.find("model", "acme/tiny")
        platform.hub.mirror.complete(one, lambda _progress: None)
    platform = Platform.open(Settings(home=home, mirrors=("hf+http://127.0.0.1:9",)))
    with serving(platform) as url:
        folder = snapshot_download("acme/tiny", endpoint=f"{url}/hf", **places)
        assert Path(folder, "deep", "weights.bin").read_bytes() == WEIGHTS
        assert platform.hub.repositories.find("model", "acme/tiny").settings.pinned


@pytest.mark.parametrize("name", ["acme/tiny", "acme/nowhere"])
def test_a_private_name_stays_private_whatever_is_elsewhere(here, name):
    platform, endpoint = here
    keys = Keys(platform.database, platform.secret)
    token = keys.create("tests", "bob")[1]
    platform.hub.repositories.create("model", name, [], SAID, private=True)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=endpoint, token=token).model_info(name)
