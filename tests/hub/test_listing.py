import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, update

from baigong.hub.about import About
from baigong.hub.access import PLATFORM, Actor
from baigong.hub.commits import Put, Words
from baigong.hub.hub import Hub
from baigong.hub.names import KINDS
from baigong.hub.search.listing import Listing, Query
from baigong.hub.search.shelf import tags_of, text_of
from baigong.hub.search.substrings import Substrings
from baigong.store.database import Database
from baigong.store.hub_tables import repositories

SAID = Words("Change", "alice")
TASKS, LIBRARIES = ("text-generation", "fill-mask", ""), ("transformers", "peft")
WORDS = ("Qwen2.5", "llama", "7B", "法律", "chat", "a", "bge-m3", "MiniCPM", "instruct", "GGUF")

pytestmark = pytest.mark.postgres


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


def create(hub, name, kind="model", private=False, **about):
    one = hub.repositories.create(kind, name, [], SAID, private=private)
    hub.repositories.describe(one, About(**about))
    return hub.repositories.find(kind, name)


def names(hub, actor=PLATFORM, kind="model", **query):
    found, total = hub.listing.page(Query(kind, **query), actor)
    assert total >= len(found)
    return [one.name for one in found]


def made_up(draw, database, count):
    """Rows as no caller would make them: everything at random, many alike."""
    rows = []
    for n in range(count):
        words = draw.sample(WORDS, draw.randint(0, 3))
        about = {
            "card": {"pretty_name": draw.choice(WORDS)} if draw.random() < 0.3 else {},
            "task": draw.choice(TASKS),
            "library": draw.choice(LIBRARIES),
            "license": draw.choice(("mit", "Apache-2.0")),
            "languages": draw.sample(("zh", "en", "fr"), draw.randint(0, 2)),
            "tags": draw.sample(WORDS, draw.randint(0, 3)),
            "bases": draw.sample(("Qwen/base", "o/Base"), draw.randint(0, 1)),
            "parameters": draw.choice((0, 10, 20, 30)),
        }
        owner = draw.choice(("alice", "Bob", "carol"))
        name = f"{owner}/{'-'.join([*words, f'{count}.{n}'])}"
        rows.append({
            "kind": draw.choice(KINDS[:2]),
            "name": name,
            "folded": name.lower(),
            "private": draw.random() < 0.3,
            "settings": {},
            "about": about,
            "head": "0" * 40,
            "downloads": draw.randint(0, 5),
            "likes": draw.randint(0, 2),
            "created_at": float(draw.randint(0, 50)),
            "modified_at": float(draw.randint(0, 50)),
            "changed_at": time.time(),
            "deleted_at": 1.0 if draw.random() < 0.1 else None,
        })
    with database.begin() as connection:
        connection.execute(repositories.insert(), rows)


def asked(draw):
    def maybe(*values):
        return draw.choice(values) if draw.random() < 0.25 else ""

    return Query(
        draw.choice(KINDS[:2]),
        search=" ".join(draw.sample((*WORDS, "7", "B/", "1", "wen2"), draw.randint(0, 2))),
        owner=maybe("ALICE", "bob", "nobody"),
        tags=tuple(draw.sample(("zh", "license:MIT", "peft", "chat"), draw.choice((0, 0, 1, 2)))),
        task=maybe(*TASKS),
        library=maybe(*LIBRARIES),
        language=maybe("zh", "en"),
        license=maybe("mit"),
        base=maybe("qwen/Base"),
        min_parameters=draw.choice((0, 0, 0, 10, 20)),
        max_parameters=draw.choice((0, 0, 0, 20)),
        sort=draw.choice(("modified", "created", "downloads", "likes", "name", "trending")),
        falling=draw.random() < 0.5,
        limit=draw.choice((1, 5, 1000)),
        offset=draw.choice((0, 0, 3, 100)),
    )


def scanned(all, query, actor):
    """The same answer, one repository after another."""

    def fits(one, tags, text):
        upper = query.max_parameters or float("inf")
        bounded = query.min_parameters or query.max_parameters
        return (
            one.kind == query.kind
            and one.is_for(actor)
            and query.all_tags() <= tags
            and not [word for word in query.search.lower().split() if word not in text]
            and (not bounded or max(1, query.min_parameters) <= one.about.parameters <= upper)
        )

    keys = {
        "modified": lambda one: (one.modified_at, one.id),
        "created": lambda one: (one.created_at, one.id),
        "likes": lambda one: (one.likes, one.id),
        "name": lambda one: one.name.lower(),
    }
    key = keys.get(query.sort, lambda one: (one.downloads, one.id))
    found = sorted((each[0] for each in all if fits(*each)), key=key, reverse=query.falling)
    return [one.name for one in found[query.offset :][: query.limit]], len(found)


@pytest.mark.parametrize("seed", range(3))
def test_lists_are_those_of_a_scan(hub, database, seed):
    draw, found = random.Random(seed), 0
    alice = Actor("Alice", ("carol",))
    for count in (1500, 40, 700):
        made_up(draw, database, count)
        with database.begin() as connection:
            some = repositories.c.id % 7 == draw.randint(0, 6)
            values = {"downloads": draw.randint(0, 9), "changed_at": time.time()}
            connection.execute(update(repositories).where(some).values(values))
        all = [
            (one, tags_of(one.name, one.about), text_of(one.name, one.about).lower())
            for one in hub.repositories.all()
        ]
        for _ in range(80):
            query, actor = asked(draw), draw.choice((PLATFORM, alice, Actor("dave")))
            page, total = hub.listing.page(query, actor)
            assert ([one.name for one in page], total) == scanned(all, query, actor), query
            found += len(page)
    assert found > 1000


@pytest.mark.parametrize("count", [10, 1024, 20_000])
def test_a_word_is_found_wherever_it_stands(count):
    draw = random.Random(count)
    texts = ["".join(draw.choices("abcA律 ", k=draw.randint(0, 9))) for _ in range(count)]
    found = Substrings()
    for text in texts:
        found.add(text)
    for _ in range(100):
        word = "".join(draw.choices("abc律", k=draw.randint(1, 5)))
        right = {n for n, text in enumerate(texts) if word in text.lower()}
        assert set(found.find(word).tolist()) == right


def test_what_happened_is_in_the_next_answer(hub):
    one, two = create(hub, "alice/one"), create(hub, "alice/two", task="fill-mask")
    assert names(hub, sort="name") == ["alice/two", "alice/one"]
    hub.repositories.move(one, "bob/one")
    assert names(hub, search="ONE") == ["bob/one"]
    hub.repositories.describe(one, About(tags=["Law"]))
    assert (names(hub, tags=("law",)), names(hub, search="law")) == (["bob/one"], ["bob/one"])
    hub.repositories.count_downloads({two.id: 3})
    assert hub.listing.page(Query("model", sort="downloads"), PLATFORM)[0][0].downloads == 3
    hub.repositories.like(one, "carol")
    assert names(hub, sort="likes") == ["bob/one", "alice/two"]
    hub.commits.commit(one.id, [Put("a", hub.keep(b"a"))], SAID)
    assert names(hub, limit=1) == ["bob/one"]
    hub.repositories.change(two, private=True)
    assert names(hub, Actor("bob")) == ["bob/one"]
    hub.repositories.delete(one)
    assert names(hub) == ["alice/two"]
    create(hub, "bob/one")
    assert names(hub, search="one", owner="Bob") == ["bob/one"]


def test_a_large_card_is_searched_and_left_out_of_pages(hub):
    card = {"pretty_name": "Labour law", "widget": ["x" * 10_000]}
    one = create(hub, "alice/large", card=card, license="mit")
    create(hub, "alice/small", card={"pretty_name": "Tax law"})
    for _ in range(3):
        hub.repositories.count_downloads({one.id: 1})
        found, _ = hub.listing.page(Query("model", search="law", sort="downloads"), PLATFORM)
    assert [(each.name, bool(each.about.card)) for each in found] == [
        ("alice/large", False),
        ("alice/small", True),
    ]
    assert (found[0].about.license, found[0].downloads, len(hub.listing._shelf)) == ("mit", 3, 2)


def test_each_writer_sees_its_own_while_others_write_and_ask(hub, database):
    made_up(random.Random(3), database, 300)

    def write(user):
        for n in range(8):
            one = create(hub, f"{user}/{n}", tags=[user])
            assert names(hub, search=f"{user}/{n}") == [one.name]
            assert len(names(hub, tags=(user,))) == n + 1
            hub.counting.count(one.id)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, [f"user{n}" for n in range(6)]))
    hub.counting.close()
    found, _ = hub.listing.page(Query("model", search="user", limit=100), PLATFORM)
    assert (len(found), sum(one.downloads for one in found)) == (48, 48)


def test_what_another_process_writes_is_seen_soon(hub, database):
    create(hub, "alice/one")
    assert names(hub) == ["alice/one"]
    other = Database(database.url)
    with other.begin() as connection:
        values = {"name": "alice/other", "folded": "alice/other", "changed_at": time.time()}
        connection.execute(update(repositories).values(values))
    other.close()
    until = time.monotonic() + 5
    while names(hub) != ["alice/other"] and time.monotonic() < until:
        time.sleep(0.05)
    assert names(hub) == ["alice/other"]


def test_a_row_that_was_collected_is_forgotten_after_a_pause(hub, database, monkeypatch):
    create(hub, "alice/one")
    create(hub, "alice/two")
    listing = Listing(database)
    assert listing.page(Query("model"), PLATFORM)[1] == 2
    with database.begin() as connection:
        connection.execute(delete(repositories).where(repositories.c.name == "alice/one"))
    monkeypatch.setattr("baigong.hub.search.listing._IDLE_S", 0.0)
    assert [one.name for one in listing.page(Query("model"), PLATFORM)[0]] == ["alice/two"]


def test_a_list_stays_right_and_small_when_everything_is_renamed_again_and_again(hub, database):
    made_up(random.Random(1), database, 700)
    table = repositories.c
    for _ in range(4):
        found, total = hub.listing.page(Query("model", limit=1000, sort="name"), PLATFORM)
        assert sorted(one.name for one in found) == sorted(
            one.name for one in hub.repositories.all("model")
        )
        assert total == len(found)
        values = {"name": table.name + "x", "folded": table.folded + "x", "changed_at": time.time()}
        with database.begin() as connection:
            connection.execute(update(repositories).values(values))
    assert len(hub.listing._shelf) < 2 * 700 + 1024 + 700


def test_a_card_does_not_say_whose_its_repository_is(hub):
    words = ["Owner:alice"]
    create(hub, "bob/kept", private=True, tags=words, languages=words, library=words[0], task="x")
    create(hub, "bob/many", tags=[f"a{n}" for n in range(300)])
    assert names(hub, Actor("alice")) == ["bob/many"]
    assert names(hub, owner="alice") == []
    assert set(names(hub, Actor("bob"), owner="bob")) == {"bob/kept", "bob/many"}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("README.md", '---\nlicense: "\\ud800"\ntags: ["a\\0b"]\n---\n'),
        ("README.md", f"---\nx: {10**20}\ny: 0x{'f' * 5000}\n0x{'f' * 5000}: z\n---\n"),
        ("config.json", '{"architectures": ["\\ud800"]}'),
        ("adapter_config.json", '{"base_model_name_or_path": "\\ud800"}'),
        ("model.safetensors.index.json", '{"weight_map": {"a": ["x"], "b": {}}}'),
    ],
)
def test_no_file_of_a_repository_breaks_the_list(hub, path, content):
    put = Put(path, hub.keep(content.encode()))
    hub.repositories.create("model", "alice/odd", [put], SAID)
    hub.refresh("model", "alice/odd")
    assert names(hub) == ["alice/odd"]
    assert names(hub, search="odd", sort="name") == ["alice/odd"]
