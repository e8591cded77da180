"""Two users and an operator at one server: nobody's uploads, stores or jobs are another user's."""

import json
from contextlib import ExitStack

import httpx2
import openai
import pytest

from baigong.gateway.keys import Keys
from baigong.store.files import Files
from tests.gateway.scripted import Stage
from tests.knowledge.bases import keep
from tests.servers import serving

MODEL = "tests/qwen"
SECRET = b"The vault opens at seven."
ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
ROWS = (json.dumps(ROW) + "\n").encode() * 3  # too few to train on: a job that is over at once


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    home = tmp_path_factory.mktemp("owners")
    platform = Stage.open(home).platform
    (home / "hours.md").write_text("Open from nine to five.")
    keep(platform.knowledge, "handbook", [home / "hours.md"])
    return platform


@pytest.fixture(scope="module")
def clients(platform):
    keys = Keys(platform.database, platform.secret)
    users = {"alice": "Alice", "phone": "alice", "bob": "bob", "operator": None}
    with ExitStack() as stack:
        url = stack.enter_context(serving(platform))
        yield {
            name: stack.enter_context(
                openai.OpenAI(
                    base_url=f"{url}/v1",
                    api_key=keys.create(name, user)[1],
                    max_retries=0,
                    _strict_response_validation=True,
                )
            )
            for name, user in users.items()
        }


@pytest.fixture(scope="module")
def alice(clients):
    return clients["alice"]


@pytest.fixture(scope="module")
def bob(clients):
    return clients["bob"]


@pytest.fixture(scope="module")
def operator(clients):
    return clients["operator"]


@pytest.fixture
def file(alice):
    return upload(alice)


@pytest.fixture
def store(alice, file):
    """Alice's, with her file in it."""
    made = alice.vector_stores.create(name="Vault").id
    alice.vector_stores.files.create_and_poll(vector_store_id=made, file_id=file)
    return made


@pytest.fixture
def rows(alice):
    return upload(alice, ROWS, "fine-tune")


@pytest.fixture
def job(alice, rows):
    return alice.fine_tuning.jobs.create(model=MODEL, training_file=rows).id


def upload(client, content=SECRET, purpose="assistants"):
    return client.files.create(file=("vault.md", content), purpose=purpose).id


def ids(page):
    return [one.id for one in page]


def refusal(call):
    """What a 404 says, without the id that was asked for."""
    with pytest.raises(openai.NotFoundError) as found:
        call()
    body = found.value.body
    return body["code"], body["param"], body["message"].partition("'")[0]


def test_lists_hold_ones_own_whatever_key_and_page_they_are_asked_by(clients, file, store, job):
    for name, sees in (("alice", True), ("phone", True), ("bob", False), ("operator", True)):
        client = clients[name]
        assert (file in ids(client.files.list())) is sees
        assert (store in ids(client.vector_stores.list())) is sees
        assert (job in ids(client.fine_tuning.jobs.list())) is sees


def test_pages_are_full_though_anothers_rows_lie_between(alice, bob):
    mine = []
    for _ in range(5):
        upload(alice, b"x", "vision")
        mine.append(upload(bob, b"x", "vision"))
    first = bob.files.list(purpose="vision", limit=2)
    assert (ids(first.data), first.has_more) == (mine[:2:-1], True)
    assert ids(bob.files.list(purpose="vision", limit=2)) == mine[::-1]
    last = bob.files.list(purpose="vision", limit=1, after=mine[1])
    assert (ids(last.data), last.has_more) == (mine[:1], False)
    theirs = alice.files.list(purpose="vision").data[0].id
    with pytest.raises(openai.BadRequestError, match="no 'file-"):
        bob.files.list(after=theirs)


@pytest.mark.parametrize("verb", ["retrieve", "content", "delete"])
def test_anothers_file_is_as_if_it_were_not_there(alice, bob, file, verb):
    ask = getattr(bob.files, verb)
    assert refusal(lambda: ask(file)) == refusal(lambda: ask("file-" + "0" * 24))
    assert alice.files.content(file).read() == SECRET


@pytest.mark.parametrize(
    "ask",
    [
        lambda stores, one, file: stores.retrieve(one),
        lambda stores, one, file: stores.update(one, name="mine"),
        lambda stores, one, file: stores.delete(one),
        lambda stores, one, file: stores.search(one, query="vault"),
        lambda stores, one, file: stores.files.list(one),
        lambda stores, one, file: stores.files.retrieve(file, vector_store_id=one),
        lambda stores, one, file: stores.files.content(file, vector_store_id=one),
        lambda stores, one, file: stores.files.delete(file, vector_store_id=one),
        lambda stores, one, file: stores.files.update(file, vector_store_id=one, attributes={}),
        lambda stores, one, file: stores.files.create(one, file_id=file),
        lambda stores, one, file: stores.file_batches.create(one, file_ids=[file]),
    ],
)
def test_anothers_store_is_as_if_it_were_not_there(alice, bob, store, file, ask):
    stores, none = bob.vector_stores, "vs_" + "0" * 24
    assert refusal(lambda: ask(stores, store, file)) == refusal(lambda: ask(stores, none, file))
    (hit,) = alice.vector_stores.search(store, query="When does the vault open?").data
    assert hit.file_id == file
    assert alice.vector_stores.retrieve(store).name == "Vault"


def test_anothers_file_is_not_put_into_a_store(bob, file):
    stores, mine = bob.vector_stores, bob.vector_stores.create(name="Bob's").id
    none = "file-" + "0" * 24
    for ask in (
        lambda one: stores.files.create(mine, file_id=one),
        lambda one: stores.file_batches.create(mine, file_ids=[one]),
        lambda one: stores.create(file_ids=[one]),
    ):
        assert refusal(lambda ask=ask: ask(file)) == refusal(lambda ask=ask: ask(none))
    assert ids(stores.files.list(mine)) == []


def test_stores_of_one_name_are_two_and_a_knowledge_base_is_the_operators(alice, bob, operator):
    one, two = (client.vector_stores.create(name="twins").id for client in (alice, bob))
    assert bob.vector_stores.retrieve(two).name == "twins" and one != two
    for name in ("twins", "handbook"):  # as the knowledge base of the first is called
        refusal(lambda name=name: bob.vector_stores.retrieve(name))
    assert alice.vector_stores.retrieve("twins").id == one
    found = operator.vector_stores.search("handbook", query="When is it open?")
    assert [hit.filename for hit in found.data] == ["hours.md"]


def test_what_is_in_anothers_store_is_not_shown_as_knowledge(alice, bob, operator, file):
    name = "alices-knowledge"
    store = alice.vector_stores.create(name=name, file_ids=[file]).id
    alice.vector_stores.files.poll(file, vector_store_id=store)
    api, pages = (f"{str(bob.base_url).removesuffix('/v1/')}{at}" for at in ("/api", ""))
    paths = ["", "/versions", "/documents", f"/{file}/vault.md", "@1/versions", f"@1/{file}/a"]
    asked = [("GET", f"{at}/knowledge/{name}{path}", None) for at in (api, pages) for path in paths]
    asked += [
        ("POST", f"{api}/knowledge/{name}/search", {"question": "vault"}),
        ("POST", f"{api}/knowledge/{name}/documents", {"path": "a.md", "text": "a"}),
        ("DELETE", f"{api}/knowledge/{name}", None),
        ("DELETE", f"{api}/%6Bnowledge/{name}/documents/knowledge/handbook/x", None),
    ]
    for method, url, body in asked:
        key = {"authorization": f"Bearer {bob.api_key}"}
        assert httpx2.request(method, url, json=body, headers=key).status_code == 404, url
    for client, sees in ((alice, True), (bob, False), (operator, True)):
        key = {"authorization": f"Bearer {client.api_key}"}
        assert (name in httpx2.get(f"{api}/knowledge", headers=key).text) is sees
        assert (name in httpx2.get(f"{pages}/knowledge", headers=key).text) is sees
    one = httpx2.get(f"{api}/knowledge/{name}/{file}/vault.md", headers=key)
    assert one.json()["text"] == SECRET.decode()


def test_responses_search_ones_own_stores(alice, bob, store):
    def ask(client, one):
        tool = {"type": "file_search", "vector_store_ids": [one]}
        include = ["file_search_call.results"]
        return client.responses.create(
            model=MODEL, input="When does the vault open?", tools=[tool], include=include
        )

    assert ask(alice, store).output[0].results[0].text == SECRET.decode()
    refused = refusal(lambda: ask(bob, store))
    assert refused == refusal(lambda: ask(bob, "vs_" + "0" * 24))


def test_an_operator_takes_care_of_everybodys(alice, operator, store, file):
    shared = operator.vector_stores.create(name="shared").id
    operator.vector_stores.files.create_and_poll(vector_store_id=shared, file_id=file)
    assert operator.files.content(file).read() == SECRET
    assert alice.files.delete(file).deleted  # out of every store, whosoever it is
    assert ids(operator.vector_stores.files.list(shared)) == []
    assert operator.vector_stores.search(shared, query="vault").data == []
    assert operator.vector_stores.delete(store).deleted
    refusal(lambda: alice.vector_stores.retrieve(store))


@pytest.mark.parametrize("field", ["training_file", "validation_file"])
def test_anothers_file_is_not_learnt_from(bob, rows, field):
    mine = upload(bob, ROWS, "fine-tune")
    told = []
    for file in (rows, "file-" + "0" * 24):
        files = {"training_file": mine, field: file}
        with pytest.raises(openai.BadRequestError) as found:
            bob.fine_tuning.jobs.create(model=MODEL, **files)
        told.append((found.value.code, found.value.param))
    assert told == [("file_not_found", field)] * 2


@pytest.mark.parametrize("verb", ["retrieve", "cancel", "pause", "resume", "list_events"])
def test_anothers_job_is_as_if_it_were_not_there(alice, bob, job, verb):
    ask = getattr(bob.fine_tuning.jobs, verb)
    assert refusal(lambda: ask(job)) == refusal(lambda: ask("ftjob-" + "0" * 24))
    refusal(lambda: bob.fine_tuning.jobs.checkpoints.list(job))
    assert alice.fine_tuning.jobs.retrieve(job).status == "failed"


def test_what_was_there_before_there_were_users_is_the_operators(bob, operator, platform, tmp_path):
    (tmp_path / "old.txt").write_text("old")
    with (tmp_path / "old.txt").open("rb") as content:
        old = Files(platform.database, platform.blobs).add("old.txt", "assistants", content).id
    assert operator.files.retrieve(old).filename == "old.txt"
    refusal(lambda: bob.files.retrieve(old))
