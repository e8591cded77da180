"""What each store promises, beside a plain one that finds the same without any index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baigong.errors import InvalidInput, NotFound, Unsupported
from baigong.knowledge.stores import indexes
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.mirror import Mirrors
from baigong.knowledge.stores.port import ChunkRow, Chunks, Hit, Scope, Stores
from baigong.knowledge.stores.qdrant import QdrantStores
from baigong.knowledge.where import Both, Compare, Where
from tests.knowledge.stores.plain import PlainChunks

SIZE = 8
OpenStores = Callable[[Path], Stores]


@pytest.fixture(params=["lance", "lance in parts", "lance in memory", "qdrant"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stores]:
    if request.param != "qdrant":
        if request.param == "lance in parts":
            monkeypatch.setattr(indexes, "PARTITION_ROWS", 100)
        mirrors = Mirrors(beside=False) if request.param == "lance in memory" else Mirrors(0)
        folder = tmp_path / "store"
        yield LanceStores(folder, index_from=10, mirrors=mirrors)
        return
    stores = QdrantStores(tmp_path / "store", graph_from=10)
    yield stores
    stores.close()


def vector(seed: int, size: int = SIZE) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    return found / np.linalg.norm(found)


def row(document: int, start: int = 0, terms: str = "word", **fields: Any) -> ChunkRow:
    vectors, text = vector(document * 1000 + start), f"text {document} {start}"
    fields = {"vector": vectors, "text": text, **fields}
    return ChunkRow(
        document=document,
        path=f"d{document}.md",
        title="T",
        terms=terms,
        start=start,
        end=start + 9,
        **fields,
    )


def places(hits: Iterable[Hit]) -> set[tuple[int, int]]:
    return {(hit.document, hit.start) for hit in hits}


def test_a_hit_says_all_that_is_known_of_its_chunk(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    first = row(7, 5, "pump heat", page=3, published_at=12.5)
    chunks.replace([], [first, row(8, 0, "valve", vector=-first.vector)])
    [hit] = chunks.words(["pump"], 10)
    assert (hit.document, hit.path, hit.title, hit.text) == (7, "d7.md", "T", "text 7 5")
    assert (hit.start, hit.end, hit.page, hit.published_at) == (5, 14, 3, 12.5)
    assert hit.score > 0
    near = chunks.near(first.vector, 10)
    assert [(hit.document, round(hit.score, 4)) for hit in near] == [(7, 1.0), (8, -1.0)]
    assert near[1].page is None and near[1].published_at is None
    assert len(chunks.near(first.vector, 1)) == 1 and chunks.near(first.vector, 0) == []
    assert chunks.words([], 10) == [] and chunks.words(["absent"], 10) == []


def test_words_are_stemmed_ranked_and_taken_literally(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    code = "ab-1234/5" * 10  # longer than what indexes leave out unless told otherwise
    chunks.replace(
        [],
        [
            row(1, 0, "the pump stands"),
            row(2, 0, "pump pumps pumping overheats"),
            row(3, 0, f"水 泵 水泵 {code}"),
            row(4, 0, "and or not"),
            *(row(5, n, "filler of no use") for n in range(50)),
        ],
    )
    assert [hit.document for hit in chunks.words(["pumps", "overheat"], 5)] == [2, 1]
    assert places(chunks.words(["水泵"], 5)) == {(3, 0)}
    assert places(chunks.words([code], 5)) == {(3, 0)}
    assert places(chunks.words(["AND"], 5)) == {(4, 0)}
    assert chunks.words(['"', "*:*", "(", "a:b", "+"], 5) == []


def test_a_document_is_replaced_and_others_stay(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(1, 0, "old"), row(1, 1, "old"), row(2, 0, "old")])
    chunks.replace([1, 9], [row(1, 0, "new"), row(3, 0, "new")])
    assert places(chunks.words(["old"], 9)) == {(2, 0)}
    assert places(chunks.words(["new"], 9)) == {(1, 0), (3, 0)}
    assert chunks.counts([1, 2, 3, 4]) == {1: 1, 2: 1, 3: 1}
    assert places(chunks.near(vector(0), 9)) == {(1, 0), (2, 0), (3, 0)}
    chunks.replace([1, 2], [])
    chunks.replace([77], [])
    assert chunks.count() == 1 and chunks.counts([1, 2]) == {}
    assert chunks.words(["old"], 9) == []


def test_both_ways_at_once_find_what_each_finds(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(n, terms=f"word w{n % 3}", metadata={"n": n % 4}) for n in range(40)])
    asked = vector(5)
    for scope in (Scope(), Scope(where=Compare("eq", "n", 1.0)), Scope(without=(1, 5))):
        expected = chunks.words(["w1"], 9, scope), chunks.near(asked, 9, scope)
        by_words, by_nearness = chunks.both(["w1"], asked, 9, scope)
        assert by_nearness == expected[1] and len(by_nearness) == 9
        assert [hit.score for hit in by_words] == [hit.score for hit in expected[0]]
        assert chunks.both([], asked, 9, scope) == ([], by_nearness)
    assert chunks.both(["w1"], asked, 0) == ([], [])
    with pytest.raises(InvalidInput, match="size"):
        chunks.both(["w1"], vector(5, SIZE + 1), 9)


KEYS = ["year", "kind", "a.b[0]", 'O\'Brien "x"', "名", "Year"]
texts = st.sampled_from(["", "a", "b", "B", "it's", '"q"', "\\", "水", "é", "zz", "a\x00b", "\n"])
numbers = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.1, -0.0, 1e22, 5e-324, 2026.0]),
)
scalars = st.one_of(texts, numbers, st.booleans(), st.integers(-2, 2))
access = st.one_of(
    st.none(), st.lists(st.sampled_from(["a", "b", "*", "="]), max_size=2).map(tuple)
)
seconds = st.one_of(st.none(), st.integers(0, 5).map(float))


def compares() -> st.SearchStrategy[Where]:
    listed = st.lists(scalars, min_size=1, max_size=3).map(tuple)
    keys = st.sampled_from([*KEYS, "never seen"])
    return st.one_of(
        st.builds(Compare, st.sampled_from(["eq", "ne"]), keys, scalars),
        st.builds(
            Compare,
            st.sampled_from(["gt", "gte", "lt", "lte"]),
            keys,
            st.one_of(texts, numbers),
        ),
        st.builds(Compare, st.sampled_from(["in", "nin"]), keys, listed),
    )


wheres = st.recursive(
    compares(),
    lambda inner: st.builds(
        Both, st.lists(inner, min_size=1, max_size=3).map(tuple), either=st.booleans()
    ),
    max_leaves=6,
)
scopes = st.builds(
    Scope,
    where=st.one_of(st.none(), wheres),
    readers=st.one_of(
        st.none(), st.lists(st.sampled_from(["a", "b", "c", "*"]), max_size=2).map(tuple)
    ),
    now=seconds,
    as_of=seconds,
    without=st.lists(st.integers(0, 4), max_size=2).map(tuple),
)
documents = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(KEYS), scalars, max_size=4),
        access,
        seconds,
        seconds,
        st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=3).map(" ".join),
    ),
    min_size=1,
    max_size=25,
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rounds=st.lists(documents, min_size=2, max_size=3),
    asked=st.lists(scopes, min_size=8, max_size=16),
)
def test_both_searches_find_what_a_plain_loop_finds(
    stores: Stores, rounds: list[Any], asked: list[Scope]
) -> None:
    if isinstance(stores, LanceStores):
        stores.drop("any")
    chunks, plain = stores.open("any", SIZE), PlainChunks()
    chunks.replace(range(6), [])  # a shard with its indexes takes long to make, so it stays
    for at, some in enumerate(rounds):
        rows = [
            row(
                n % 6,
                100 * at + n,
                terms,
                metadata=metadata,
                access=readers,
                published_at=published,
                expires_at=expires,
            )
            for n, (metadata, readers, published, expires, terms) in enumerate(some)
        ]
        gone = {each.document for each in rows}
        for either in (chunks, plain):
            either.replace(gone, rows)
        if at == len(rounds) - 2:
            chunks.tend()
        for scope in asked:
            check(chunks, plain, scope)


def check(chunks: Chunks, plain: PlainChunks, scope: Scope) -> None:
    assert places(chunks.words(["x", "y"], 100, scope)) == plain.words(["x", "y"], scope)
    question = vector(99)
    found = [(hit.score, hit.document, hit.start) for hit in chunks.near(question, 100, scope)]
    expected = plain.cosines(question, scope)
    assert {each[1:] for each in found} == {each[1:] for each in expected}
    np.testing.assert_allclose(
        [each[0] for each in found], [each[0] for each in expected], atol=1e-5
    )


def test_a_filter_leaves_as_many_as_were_asked_for(stores: Stores) -> None:
    """Of a thousand chunks ten pass: a filter after the search would leave none or few."""
    chunks = stores.open("base", SIZE)
    rows = [row(n, 0, "word", metadata={"rare": n % 100 == 0}) for n in range(1000)]
    chunks.replace([], rows)
    scope = Scope(where=Compare("eq", "rare", True), readers=("me",), now=1.0)
    for _ in range(2):
        assert len(chunks.words(["word"], 10, scope)) == 10
        near = chunks.near(vector(1), 10, scope)
        assert places(near) == {(n, 0) for n in range(0, 1000, 100)}
        chunks.tend()


def test_neighbours_are_found_in_the_index_beside_it_and_after_deletions(stores: Stores) -> None:
    chunks, plain = stores.open("base", 32), PlainChunks()

    def replaced(gone: Iterable[int], new: Iterable[int]) -> None:
        rows = [row(n, 0, "w", vector=vector(n, 32), metadata={"part": float(n % 20)}) for n in new]
        for either in (chunks, plain):
            either.replace(list(gone), rows)

    replaced([], range(3000))
    assert chunks.tend()
    check_recall(chunks, plain)
    replaced([], range(3000, 3500))
    check_recall(chunks, plain)
    replaced(range(0, 3000, 3), [])
    check_recall(chunks, plain)
    replaced(range(1, 600, 3), range(4000, 4300))
    check_recall(chunks, plain)
    chunks.tend()
    assert not chunks.tend()  # nothing has changed since
    check_recall(chunks, plain)


def check_recall(chunks: Chunks, plain: PlainChunks) -> None:
    for where in (None, Compare("eq", "part", 7.0), Compare("lt", "part", 10.0)):
        scope, found, wanted = Scope(where=where), 0, 0
        for seed in range(20):
            question = vector(-seed % 7919, 32)
            best = {each[1:] for each in plain.cosines(question, scope)[:10]}
            found += len(best & places(chunks.near(question, 10, scope)))
            wanted += len(best)
        assert found / wanted >= 0.99, where


def test_a_pin_stays_as_it_was(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(n, 0, "old", metadata={"n": n}) for n in range(80)])
    chunks.tend()
    chunks.pin("v1")
    chunks.replace(range(70), [row(n, 0, "new", metadata={"n": n, "later": "x"}) for n in range(9)])
    chunks.pin("v1")  # the same name twice is one pin
    for n in range(5):
        chunks.replace([n], [row(n, 0, "newer")])
        chunks.tend()
    pinned = chunks.pinned("v1")
    low = Scope(where=Compare("lt", "n", 5.0))
    assert places(pinned.words(["old"], 99, low)) == {(n, 0) for n in range(5)}
    assert places(pinned.near(vector(1), 99, low)) == {(n, 0) for n in range(5)}
    assert pinned.words(["new", "newer"], 9) == []
    assert pinned.words(["old"], 9, Scope(where=Compare("eq", "later", "x"))) == []
    assert pinned.count() == 80 and pinned.counts([1, 500]) == {1: 1}
    assert chunks.count() == 19
    with pytest.raises(Unsupported, match="never changes"):
        pinned.replace([], [row(1)])
    chunks.pin("v2")
    chunks.unpin("v1")
    chunks.unpin("v1")
    with pytest.raises(NotFound, match="v2"):
        chunks.pinned("v1")
    assert chunks.pinned("v2").count() == 19


def test_what_was_closed_is_there_again(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(1, 0, "kept", metadata={"a": "b"})])
    chunks.pin("p")
    chunks.replace([1], [row(1, 0, "changed", metadata={"a": "b"})])
    again = reopened(stores)
    scope = Scope(where=Compare("eq", "a", "b"))
    assert len(again.open("base", SIZE).words(["changed"], 5, scope)) == 1
    assert len(again.open("base", SIZE).pinned("p").words(["kept"], 5, scope)) == 1
    if isinstance(again, QdrantStores):
        again.close()


def reopened(stores: Stores) -> Stores:
    if isinstance(stores, QdrantStores):
        stores.close()
        return QdrantStores(stores.folder)
    assert isinstance(stores, LanceStores)
    return LanceStores(stores.url)


def test_bases_are_apart_and_can_be_dropped(stores: Stores) -> None:
    first, second = stores.open("first", SIZE), stores.open("second", None)
    first.replace([], [row(1, 0, "one")])
    second.replace([], [row(1, 0, "two", vector=None)])
    first.pin("p")
    assert first.words(["two"], 5) == []
    stores.drop("first")
    stores.drop("first")
    assert stores.open("first", 3).count() == 0
    with pytest.raises(NotFound):
        stores.open("first", 3).pinned("p")
    assert len(second.words(["two"], 5)) == 1
    with pytest.raises(InvalidInput, match="size None"):
        second.near(vector(1), 5)
    second.tend()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 101, "ä", "a.b"])
def test_a_name_that_could_be_a_path_is_refused(stores: Stores, name: str) -> None:
    with pytest.raises(InvalidInput, match="letters"):
        stores.open(name, SIZE)
    with pytest.raises(InvalidInput, match="letters"):
        stores.open("base", SIZE).pin(name)


def test_what_does_not_fit_is_refused_and_changes_nothing(stores: Stores) -> None:
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(1)])
    wrong = [
        row(1, vector=None),
        row(1, vector=vector(1, 5)),
        row(1, metadata={"x": float("nan")}),
        row(1, metadata={"": 1}),
        row(1, metadata={"k" * 101: 1}),
        row(1, metadata={f"k{n}": 1 for n in range(65)}),
    ]
    for each in wrong:
        with pytest.raises(InvalidInput):
            chunks.replace([1], [row(2), each])
    with pytest.raises(InvalidInput, match="shape"):
        chunks.near(vector(1, 5), 5)
    with pytest.raises(InvalidInput, match="finite"):
        chunks.words(["word"], 5, Scope(where=Compare("gt", "x", float("inf"))))
    with pytest.raises(InvalidInput, match="size 8, not 4"):
        stores.open("base", 4)
    assert chunks.counts([1, 2]) == {1: 1}


def test_many_threads_search_while_one_writes(stores: Stores) -> None:
    """Every search sees each document: the old chunks, the new ones, but never neither."""
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(n, 0, "word r0") for n in range(40)])
    stop, wrong = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            for hits in (chunks.words(["word"], 500), chunks.near(vector(1), 500)):
                if {hit.document for hit in hits} != set(range(40)):
                    wrong.append(len(hits))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(1, 16):
        chunks.replace([turn, turn + 1], [row(n, turn, f"word r{turn}") for n in (turn, turn + 1)])
        if turn % 5 == 0:
            chunks.tend()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert chunks.count() == 40
