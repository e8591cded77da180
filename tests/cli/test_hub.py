"""`baigong hub` and `baigong gc`, as a person and a program see them."""

import json
import pickle

import pytest

from baigong.app import Platform
from baigong.config import Settings
from baigong.gateway.commits import commit
from baigong.hub.access import PLATFORM
from baigong.hub.commits import Put, Words
from baigong.hub.safety.findings import Unsafe
from tests.models import make_model

SAID = Words("Change", "alice")


@pytest.fixture
def hub(tmp_path):
    platform = Platform.open(Settings.load())
    platform.hub.add("model", "acme/tiny", make_model(tmp_path / "m", "qwen3"), {})
    yield platform.hub
    platform.database.close()


@pytest.fixture
def run(hub, run):
    return run


def test_what_is_listed(hub, run):
    hub.repositories.create("dataset", "acme/rows", [], SAID, private=True)
    code, out, _ = run("hub", "list")
    assert code == 0
    assert "acme/tiny" in out
    assert "private" in out
    _, out, _ = run("hub", "list", "--kind", "model", "--json")
    assert [one["name"] for one in json.loads(out)] == ["acme/tiny"]


def test_what_is_shown_of_a_model(hub, run):
    one = hub.repositories.find("model", "acme/tiny")
    note = Put("notes.md", hub.keep(b"a\nhf_" + b"x" * 34))
    hub.commits.commit(one.id, [note], SAID)
    code, out, _ = run("hub", "show", "acme/tiny")
    assert code == 0
    for said in (
        "text-generation",
        "parameters",
        "model.embed_tokens.weight",
        "F32",
        "line 2 holds",
    ):
        assert said in out
    assert "x" * 34 not in out
    _, out, _ = run("hub", "show", "acme/tiny", "--json")
    found = {file["path"]: file for file in json.loads(out)["files"]}
    tensors = found["model.safetensors"]["tensors"]
    assert tensors["model.norm.weight"] == {"shape": [64], "dtype": "F32"}
    assert found["notes.md"]["found"][0]["what"] == "secret"


def test_code_is_let_into_a_repository_and_out_of_it(hub, run):
    def send(path):
        one = hub.repositories.find("model", "acme/tiny")
        content = Put(path, hub.keep(pickle.dumps({path: 1})))
        return commit(hub, PLATFORM, one, [content], SAID).warnings

    with pytest.raises(Unsafe, match=r"a\.bin is a pickle"):
        send("a.bin")
    _, out, _ = run("hub", "allow-code", "acme/tiny")
    assert "may hold" in out
    assert "a.bin is a pickle" in send("a.bin")[0]
    run("hub", "allow-code", "acme/tiny", "--no")
    with pytest.raises(Unsafe):
        send("b.bin")


def test_who_sees_a_repository(hub, run):
    run("hub", "private", "acme/tiny")
    assert hub.repositories.find("model", "acme/tiny").private
    run("hub", "public", "acme/tiny")
    assert not hub.repositories.find("model", "acme/tiny").private


def test_a_name_that_is_not_there(run):
    code, _, error = run("hub", "show", "acme/tinny")
    assert code == 1
    assert "acme/tiny" in error


def test_organisations_and_their_members(hub, run):
    hub.namespaces.ensure_user("alice")
    run("hub", "orgs", "create", "acme")
    run("hub", "orgs", "add", "acme", "alice")
    _, out, _ = run("hub", "orgs", "list", "--json")
    assert json.loads(out) == [{"name": "acme", "members": ["alice"]}]


def test_a_deleted_repository_leaves_the_disk(hub, run):
    before = sum(blob.size for blob in hub.blobs.all())
    run("hub", "delete", "acme/tiny")
    _, out, _ = run("gc", "--json")
    assert json.loads(out)["blobs"] == 0
    _, out, _ = run("gc", "--dry-run", "--older-than", "0")
    assert "would go" in out
    _, out, _ = run("gc", "--older-than", "0", "--json")
    assert json.loads(out)["bytes"] == before
    assert list(hub.blobs.all()) == []
