import httpx2
import pytest

from baigong.gateway.keys import Keys
from baigong.hub.commits import Put, Ref, Words
from tests.servers import MODEL, add_release, open_platform, serving

SAID = Words("Begin", "alice")
CARD = """---
license: mit
language: [zh, en]
tags: [law]
datasets: [alice/rows]
base_model: tests/tiny
---
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    home = tmp_path_factory.mktemp("hub")
    platform = open_platform(home)
    hub = platform.hub
    (home / "rows").mkdir()
    (home / "rows" / "rows.jsonl").write_text("{}")
    rows = hub.add("dataset", "alice/rows", home / "rows", {}, private=True)
    for kind, name in (("model", "bob/tuned"), ("recipe", "bob/recipe")):
        hub.repositories.create(kind, name, [Put("README.md", hub.keep(CARD.encode()))], SAID)
        hub.refresh(kind, name)
    add_release(platform, home, lineage={"dataset": f"{rows.name}@{rows.revision}"})
    return platform


@pytest.fixture(scope="module")
def base(platform):
    full = {name: Keys(platform.database, platform.secret).create(name, name)[1] for name in USERS}
    with serving(platform) as url:
        yield {
            name: {"base_url": f"{url}/api/hub/", "headers": bearer(full[name])} for name in full
        }


USERS = ("alice", "carol")


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def ask(base):
    def send(path, who="alice", method="GET", **query):
        with httpx2.Client(**base[who]) as client:
            return client.request(method, path, params=query)

    return send


def names(reply):
    found = reply.json()
    return [one["name"] for one in found["data"]], found["total"]


def test_lists_take_the_words_of_a_query(ask):
    assert names(ask("models", sort="name", falling=False, limit=2)) == (
        ["bob/tuned", "tests/support"],
        3,
    )
    assert names(ask("models", search="LAW tuned")) == (["bob/tuned"], 1)
    assert names(ask("models", tags=["zh", "license:mit"])) == (["bob/tuned"], 1)
    assert names(ask("models", names=["tests/tiny", "bob/tuned"], offset=1, sort="name")) == (
        ["bob/tuned"],
        2,
    )
    assert names(ask("recipes", language="en")) == (["bob/recipe"], 1)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"sort": "size"}, "sort"),
        ({"min_parameters": "x"}, "min_parameters"),
    ],
)
def test_a_wrong_word_is_named(ask, query, param):
    reply = ask("models", **query)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_an_unknown_word_and_an_unknown_list_are_refused(ask):
    assert "colour" in ask("models", colour="red").json()["error"]["message"]
    assert ask("spaces").status_code == 404


def test_what_is_private_is_its_owners(ask):
    assert names(ask("datasets")) == (["alice/rows"], 1)
    assert names(ask("datasets", who="carol")) == ([], 0)
    assert ask("datasets/alice/rows").json()["private"]
    assert ask("datasets/alice/rows", who="carol").status_code == 404


def test_lineage_leads_up_and_down(ask, platform):
    tuned = ask("models/tests/support").json()["lineage"]
    assert tuned["bases"] and tuned["releases"] == ["support@1"]
    assert tuned["datasets"] == [f"alice/rows@{revision(platform)}"]
    tiny = ask(f"models/{MODEL}").json()["lineage"]
    assert (tiny["models"], tiny["recipes"]) == (["bob/tuned"], ["bob/recipe"])
    assert tiny["releases"] == ["support@1"]
    rows = ask("datasets/alice/rows").json()["lineage"]
    assert (rows["models"], rows["releases"]) == (["bob/tuned"], ["support@1"])


def revision(platform):
    return platform.hub.get("dataset", "alice/rows").revision


def test_one_is_shown_with_its_card_and_refs(ask, platform):
    tuned = platform.hub.repositories.find("model", "bob/tuned")
    platform.hub.commits.refer(tuned.id, Ref("tag", "v1", tuned.head))
    shown = ask("models/Bob/Tuned").json()
    assert shown["about"]["card"]["license"] == shown["license"] == "mit"
    assert [ref["name"] for ref in shown["refs"]] == ["main", "v1"]


def test_likes_are_counted_once_and_taken_back(ask):
    path = "models/bob/tuned/like"
    assert [ask(path, method="POST").json()["likes"] for _ in range(2)] == [1, 1]
    assert ask(path, who="carol", method="POST").json() == {"liked": True, "likes": 2}
    assert names(ask("models", sort="likes", limit=1)) == (["bob/tuned"], 3)
    assert ask(path, method="DELETE").json() == {"liked": False, "likes": 1}
    assert not ask("models/bob/tuned").json()["liked"]
    assert ask("models/bob/tuned", who="carol").json()["liked"]


def test_downloads_are_in_the_database_when_the_server_has_stopped(tmp_path):
    platform = open_platform(tmp_path)
    one = platform.hub.repositories.find("model", MODEL)
    with serving(platform):
        platform.hub.counting.count(one.id)
    assert platform.hub.repositories.find("model", MODEL).downloads == 1
