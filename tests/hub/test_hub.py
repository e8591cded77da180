from concurrent.futures import ThreadPoolExecutor

import pytest

from baigong.errors import InvalidInput, NotFound
from baigong.hub.access import Actor
from baigong.hub.commits import Words
from baigong.hub.hub import Hub


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    (made / "deep").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "deep" / "weights").write_bytes(b"\x00\x01")
    return made


def test_what_is_added_comes_back_byte_for_byte(hub, folder):
    kept = hub.add("model", "acme/tiny", folder, {"architecture": "X"})
    assert (kept.folder / "deep" / "weights").read_bytes() == b"\x00\x01"
    assert kept.facts == {"architecture": "X"}
    assert hub.get("model", "acme/tiny") == kept


def test_equal_folders_have_equal_revisions(hub, folder):
    one = hub.add("model", "acme/tiny", folder, {})
    assert hub.add("model", "acme/other", folder, {}).revision == one.revision
    assert hub.add("model", "acme/tiny", folder, {}).created_at == one.created_at


def test_an_older_revision_stays_reachable(hub, folder):
    old = hub.add("model", "acme/tiny", folder, {})
    (folder / "config.json").write_text('{"n": 2}')
    new = hub.add("model", "acme/tiny", folder, {})
    assert hub.get("model", "acme/tiny").revision == new.revision
    assert (hub.get("model", old.ref).folder / "config.json").read_text() == "{}"


def test_kinds_are_apart(hub, folder):
    hub.add("dataset", "acme/tiny", folder, {})
    with pytest.raises(NotFound):
        hub.get("model", "acme/tiny")


def test_an_unknown_name_suggests_near_ones(hub, folder):
    hub.add("model", "acme/tiny", folder, {})
    with pytest.raises(NotFound, match="acme/tiny"):
        hub.get("model", "acme/tinny")


@pytest.mark.parametrize(
    "name", ["tiny", "/tiny", "a/../b", "a/b/c", "a/.b", "中/文", "a/" + "b" * 97]
)
def test_names_that_could_leave_the_hub_are_refused(hub, folder, name):
    with pytest.raises(InvalidInput, match="owner/name"):
        hub.add("model", name, folder, {})


def test_links_out_of_the_folder_are_not_followed(hub, folder, tmp_path):
    (tmp_path / "secret").write_text("s")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert not (hub.add("model", "acme/tiny", folder, {}).folder / "link").exists()


def test_a_half_made_checkout_is_made_again(hub, folder, tmp_path):
    kept = hub.add("model", "acme/tiny", folder, {})
    partial = kept.folder.with_name(kept.folder.name + ".partial")
    kept.folder.rename(partial)
    (partial / "config.json").unlink()
    assert (hub.get("model", "acme/tiny").folder / "config.json").exists()


def test_what_a_release_stands_on_outlives_its_repository(hub, folder):
    kept = hub.add("model", "acme/tiny", folder, {"base": "acme/large"})
    hub.repositories.delete(hub.repositories.find("model", "acme/tiny"))
    found = hub.get("model", f"acme/tiny@{kept.revision}")
    assert (found.revision, found.facts) == (kept.revision, {"base": "acme/large"})
    with pytest.raises(NotFound):
        hub.get("model", "acme/tiny")
    with pytest.raises(NotFound):
        hub.get("model", f"acme/tiny@{kept.revision}", Actor("alice"))


def test_many_that_ask_at_once_get_all_files(hub, database, folder, tmp_path):
    for number in range(200):
        (folder / f"{number}.txt").write_text(str(number))
    hub.add("model", "acme/tiny", folder, {})
    for attempt in range(3):
        fresh = Hub(database, hub.blobs, tmp_path / f"cache-{attempt}")
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(fresh.get, ["model"] * 8, ["acme/tiny"] * 8))
        assert len(list(found[0].folder.iterdir())) == 202
        assert list(found[0].folder.parent.iterdir()) == [found[0].folder]


def test_a_repository_without_files_is_an_empty_folder(hub):
    hub.repositories.create("model", "acme/empty", [], Words("Begin", "acme"))
    assert list(hub.get("model", "acme/empty").folder.iterdir()) == []
