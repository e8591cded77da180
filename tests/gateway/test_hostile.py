"""What a user of the hub may not do, see or break, whichever door is tried."""

import hashlib
from contextlib import ExitStack

import httpx2
import pytest

from baigong.gateway.keys import Keys
from baigong.hub.commits import Put, Words
from baigong.hub.repositories import Settings
from tests.ggufs import make_gguf
from tests.models import make_adapter, make_model
from tests.servers import MODEL, open_platform, serving

HI = [{"role": "user", "content": "hi"}]
SAID = Words("Begin", "bob")
HUGE = "9" * 30


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def platform(home):
    """Bob has a private model, an adapter and a preset on it that are public, and a gated model."""
    platform = open_platform(home)
    hub = platform.hub
    hub.add("model", "bob/secret", make_model(home / "secret", seed=3), {}, private=True)
    hub.add("model", "bob/gated", make_model(home / "gated", seed=4), {})
    gated = hub.repositories.find("model", "bob/gated")
    hub.repositories.change(gated, settings=Settings(gated="manual"))
    adapter = make_adapter(home / "adapter", home / "secret")
    hub.add("model", "bob/adapter", adapter, {"base": "bob/secret"})
    files = {
        "bob/preset": {"preset.json": b'{"base": "bob/secret"}'},
        "bob/deep": {"preset.json": b'{"sampling": ' + b"[" * 5000 + b"]" * 5000 + b"}"},
        "bob/broken": {"adapter_config.json": b"["},
    }
    for name, contents in files.items():
        puts = [Put(path, hub.keep(data)) for path, data in contents.items()]
        hub.repositories.create("model", name, puts, SAID)
        hub.refresh("model", name)
    return platform


@pytest.fixture(scope="module")
def clients(platform):
    keys = Keys(platform.database, platform.secret)
    found = {name: keys.create(name, name)[1] for name in ("alice", "bob")}
    headers = {name: {"authorization": f"Bearer {key}"} for name, key in found.items()}
    with ExitStack() as stack:
        url = stack.enter_context(serving(platform))
        yield {
            name: stack.enter_context(httpx2.Client(base_url=url, headers=headers.get(name)))
            for name in ("alice", "bob", "nobody")
        }


@pytest.fixture(scope="module")
def alice(clients):
    return clients["alice"]


@pytest.fixture(scope="module")
def bob(clients):
    return clients["bob"]


def sent(client, data):
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert client.post(f"/ollama/api/blobs/{digest}", content=data).status_code == 201
    return digest


def chat(client, model):
    body = {"model": model, "messages": HI, "max_tokens": 2}
    return client.post("/v1/chat/completions", json=body, timeout=60)


@pytest.mark.parametrize("model", ["bob/secret", "bob/adapter", "bob/preset"])
def test_what_stands_on_a_private_model_answers_its_owner_alone(alice, bob, model):
    assert chat(bob, model).status_code == 200
    refused = chat(alice, model)
    assert refused.status_code == 404 and "bob/secret@" not in refused.text
    assert alice.post("/ollama/api/show", json={"model": model}).status_code == 404


def test_a_gated_model_answers_nobody_who_is_not_admitted(alice, bob, platform):
    assert chat(bob, "bob/gated").status_code == 200
    assert chat(alice, "bob/gated").status_code == 403
    assert alice.post("/ollama/api/show", json={"model": "bob/gated"}).status_code == 403
    made = {"model": "mine", "from": "bob/gated", "system": "x"}
    assert alice.post("/ollama/api/create", json=made).status_code == 403
    one = platform.hub.repositories.find("model", "bob/gated")
    platform.hub.admissions.grant(one, "alice")
    assert chat(alice, "bob/gated").status_code == 200


def test_what_runs_is_told_to_those_alone_who_may_see_it(alice, bob):
    assert chat(bob, "bob/secret").status_code == 200
    assert "secret" in bob.get("/ollama/api/ps").text
    assert "secret" not in alice.get("/ollama/api/ps").text


def test_nobody_tunes_the_private_model_of_another(alice):
    def asked(model):
        body = {"model": model, "training_file": "file-none"}
        return alice.post("/v1/fine_tuning/jobs", json=body).json()["error"]

    secret, nothing = asked("bob/secret"), asked("bob/nothing")
    assert secret["code"] == "model_not_available"
    assert secret["message"].replace("secret", "nothing") == nothing["message"]


@pytest.mark.parametrize("name", ["alice/../../../out", "alice/a/../../../out", "alice/.."])
def test_a_model_that_is_made_writes_no_file_elsewhere(alice, home, name):
    data = make_gguf(home / "file.gguf", home / "tiny").read_bytes()
    body = {"model": name, "files": {"file.gguf": sent(alice, data)}}
    assert alice.post("/ollama/api/create", json=body).status_code == 400
    assert not list(home.parent.rglob("out.gguf"))


def test_a_name_that_has_moved_to_another_owner_is_no_way_in(alice, home, platform):
    there = platform.hub.repositories
    there.create("model", "alice/old", [], SAID)
    there.move(there.find("model", "alice/old"), "bob/new")
    head = there.find("model", "bob/new").head
    data = make_gguf(home / "file.gguf", home / "tiny").read_bytes()
    body = {"model": "alice/old", "files": {"file.gguf": sent(alice, data)}}
    assert alice.post("/ollama/api/create", json=body).status_code == 403
    assert there.find("model", "bob/new").head == head


def test_what_is_made_of_a_private_model_is_private(alice, bob):
    assert bob.post("/ollama/api/copy", json={"source": "bob/secret", "destination": "bob/copy"})
    bob.post("/ollama/api/create", json={"model": "derived", "from": "bob/secret", "system": "x"})
    for name in ("copy", "derived"):
        assert bob.get(f"/api/hub/models/bob/{name}").json()["private"]
        assert alice.get(f"/api/hub/models/bob/{name}").status_code == 404


@pytest.mark.parametrize(
    ("who", "status", "path"),
    [
        ("alice", 404, f"/hf/api/models/{MODEL}/discussions/{HUGE}"),
        ("alice", 400, f"/hf/api/models?num_parameters=min:{'9' * 400}"),
        ("alice", 200, f"/modelscope/api/v1/models/{MODEL}/revisions?EndTime=%C2%B2"),
        ("alice", 200, f"/modelscope/api/v1/models/{MODEL}/revisions?EndTime={'9' * 5000}"),
        ("nobody", 401, "/hf/lfs/name/resolve/main/file"),
        ("nobody", 401, "/hf/%6cfs/name/resolve/main/file"),
        ("nobody", 401, "/hf/xet/name/raw/main/file"),
    ],
)
def test_odd_addresses_are_answered(clients, who, status, path):
    assert clients[who].get(path).status_code == status


def test_odd_forms_and_branches_are_answered(alice):
    form = {"Name": (None, "x"), "Owner": (None, "alice"), "Visibility": (None, "²")}
    assert alice.post("/modelscope/api/v1/datasets", files=form).status_code == 400
    commit = f"/hf/api/models/{MODEL}/commit/refs%2Fpr%2F{HUGE}"
    assert alice.post(commit, content=b"").status_code == 403


@pytest.mark.parametrize("model", ["bob/deep", "bob/broken"])
def test_broken_files_of_a_model_are_told_as_such(alice, model):
    assert chat(alice, model).status_code in {400, 404}


def test_a_user_does_not_run_the_installation(alice, platform):
    job = platform.jobs.open("build", "support", "0" * 64, {"recipe": "x"})
    paths = [f"jobs/{job.id}/{verb}" for verb in ("pause", "cancel", "resume")]
    for path in ("releases/support@1/promote", "releases/support/rollback"):
        assert alice.post(f"/api/{path}").status_code == 403
    assert [alice.post(f"/api/{path}").status_code for path in paths] == [404] * 3
    assert alice.get(f"/api/jobs/{job.id}").status_code == 404
    assert job.id not in alice.get("/api/jobs").text + alice.get("/api/jobs/none").text


def test_a_fine_tuned_model_is_taken_back_by_whoever_made_it(alice, platform):
    adapter = platform.hub.get("model", "bob/adapter").ref
    name = "ft:bob/secret:us::1"
    platform.aliases.put(name, adapter=adapter)
    assert alice.delete(f"/v1/models/{name}").status_code == 403
    assert chat(alice, name).status_code == 404
    assert platform.aliases.find(name) is not None


def test_no_knowledge_is_indexed_with_the_private_model_of_another(alice):
    body = {"name": "spied", "embedder": "bob/secret"}
    assert alice.post("/api/knowledge", json=body).status_code == 404


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs", "/v1/vector_stores"])
def test_numbers_of_any_length_are_read(alice, path):
    assert alice.get(f"{path}?limit={'9' * 5000}").status_code in {200, 400}


def test_a_card_of_half_characters_is_looked_over_without_a_key(clients):
    body = {"content": '---\nlicense: "\\ud800"\nbase_model: "\\udfff"\n---\n'}
    assert clients["nobody"].post("/hf/api/validate-yaml", json=body).status_code == 400
