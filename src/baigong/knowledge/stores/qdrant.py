"""Chunks in Qdrant Edge: Qdrant's engine inside this process, which alone may open the folder.

A shard for each knowledge base, in `KEY/now`, and a copy of it for each pinned state, in
`KEY/pins/NAME`. What is being made or deleted has a name with a dot, and is cleared away by the
next opening.
"""

from __future__ import annotations

import json
import operator
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from baigong.errors import Conflict, NotFound, StorageFull, Unsupported
from baigong.knowledge.stores.port import EVERYTHING, ChunkRow, Chunks, Hit, Scope, Stores
from baigong.knowledge.stores.rows import (
    SHOWN,
    THE_CHUNKS,
    Kind,
    access_marks,
    by_column,
    check_keys,
    check_query,
    check_size,
    check_vectors,
    checked_name,
    kind_of_column,
    metadata_columns,
    reader_marks,
)
from baigong.knowledge.where import Both, Compare, Scalar, Where
from baigong.store.room import room_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAPH_FROM_ROWS = 20_000

_VECTOR = "v"
# The engine writes through maps of memory, in steps of 32 MB, and where the disk has no room for one
# the system ends the whole process (SIGBUS). So nothing is begun with less than this.
_RESERVE = 256 << 20
_POINTS = 1000  # of one write to its log
# How far the graph is searched, and how dense it is. With the engine's own 128, 16 and 100 it found all
# of the ten nearest of 24,000 vectors in groups, but 67 % of as many random projections of TF-IDF,
# where nothing is near.
_EF = 1024
_EDGES = 32
_EF_CONSTRUCT = 150
_beside = ThreadPoolExecutor(16, "near")  # searches by vectors, while those by words go on
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class QdrantStores(Stores):
    """All knowledge bases below a folder. Threads may share it, processes may not."""

    def __init__(self, folder: str | Path, *, graph_from: int = GRAPH_FROM_ROWS) -> None:
        self.folder = Path(folder)
        self._graph_from = graph_from
        self._open: dict[str, QdrantChunks] = {}
        self._mutex = threading.Lock()

    @override
    def open(self, key: str, vector_size: int | None) -> QdrantChunks:
        """As the port says.

        Raises:
            Conflict: another process has it open.
        """
        checked_name(key, "key")
        with self._mutex, room_for(THE_CHUNKS):
            chunks = self._open.get(key)
            if chunks is None:
                chunks = self._open[key] = self._opened(self.folder / key, vector_size)
        check_size(chunks.vector_size, vector_size, key)
        return chunks

    @override
    def drop(self, key: str) -> None:
        checked_name(key, "key")
        with self._mutex:
            chunks = self._open.pop(key, None)
            if chunks is not None:
                chunks.close()
            _remove(self.folder / key)

    def close(self) -> None:
        """Let another process have them."""
        with self._mutex:
            for chunks in self._open.values():
                chunks.close()
            self._open.clear()

    def _opened(self, folder: Path, vector_size: int | None) -> QdrantChunks:
        (folder / "pins").mkdir(parents=True, exist_ok=True)
        _check_room(folder)
        for leftover in (*folder.glob(".*"), *folder.glob("pins/.*")):
            shutil.rmtree(leftover, ignore_errors=True)
        if not (folder / "now").exists():
            _make(folder / "now", vector_size, self._graph_from)
        return QdrantChunks(folder / "now", folder / "pins")


class QdrantChunks(Chunks):
    """The chunks of one shard; of a pinned one where it has no folder of pins."""

    def __init__(self, folder: Path, pins: Path | None = None) -> None:
        self._folder = folder
        self._pins = pins
        self._pinned: dict[str, QdrantChunks] = {}
        self._writing = threading.Lock()
        self._mutex = threading.Lock()
        self._shard = _load(folder)
        self._columns = set(self._shard.info().payload_schema)
        vectors = json.loads((folder / "edge_config.json").read_text("utf-8"))["vectors"]
        self.vector_size: int | None = vectors[_VECTOR]["size"] if vectors else None

    @override
    def replace(self, documents: Collection[int], rows: Sequence[ChunkRow]) -> None:
        """As the port says; searches meanwhile may see both the old and the new chunks."""
        import qdrant_edge as qdrant

        check_vectors(rows, self.vector_size)
        metadata = metadata_columns(rows)
        self._own_pins()
        with self._writing, room_for(THE_CHUNKS):
            if rows:
                _check_room(self._folder, rows)
            self._index(metadata)
            batch = secrets.randbits(62)
            this = qdrant.FieldCondition("batch", match=qdrant.MatchValue(batch))
            try:
                points = _points(rows, metadata, batch)
                for at in range(0, len(points), _POINTS):
                    some = points[at : at + _POINTS]
                    self._shard.update(qdrant.UpdateOperation.upsert_points(some))
            except Exception:
                self._delete(qdrant.Filter(must=[this]))
                raise
            if documents:
                old = _among("document", [int(number) for number in documents])
                self._delete(qdrant.Filter(must=[old], must_not=[this]))

    @override
    def words(self, terms: Sequence[str], limit: int, scope: Scope = EVERYTHING) -> list[Hit]:
        import qdrant_edge as qdrant

        text = " ".join(terms)
        return self._search(qdrant.TextQuery("terms", text), limit, scope) if text else []

    @property
    @override
    def is_in_memory(self) -> bool:
        return False

    @override
    def near(self, vector: NDArray[np.float32], limit: int, scope: Scope = EVERYTHING) -> list[Hit]:
        import qdrant_edge as qdrant

        check_query(vector, self.vector_size)
        return self._search(qdrant.Query.Nearest(vector.tolist(), using=_VECTOR), limit, scope)

    @override
    def both(
        self,
        terms: Sequence[str],
        vector: NDArray[np.float32],
        limit: int,
        scope: Scope = EVERYTHING,
    ) -> tuple[list[Hit], list[Hit]]:
        by_nearness = _beside.submit(self.near, vector, limit, scope)
        return self.words(terms, limit, scope), by_nearness.result()

    @override
    def counts(self, documents: Collection[int]) -> dict[int, int]:
        import qdrant_edge as qdrant

        if not documents:
            return {}
        some = qdrant.Filter(must=[_among("document", [int(number) for number in documents])])
        request = qdrant.FacetRequest("document", len(documents), exact=True, filter=some)
        return {int(hit.value): hit.count for hit in self._shard.facet(request).hits}

    @override
    def count(self) -> int:
        import qdrant_edge as qdrant

        return int(self._shard.count(qdrant.CountRequest()))

    @override
    def tend(self) -> bool:
        self._own_pins()
        with self._writing, room_for(THE_CHUNKS):
            _check_room(self._folder)
            self._shard.flush()
            return bool(self._shard.optimize())

    @override
    def pin(self, name: str) -> None:
        checked_name(name, "pin")
        pins = self._own_pins()
        with self._writing, room_for(THE_CHUNKS):
            if (pins / name).exists():
                return
            self._shard.flush()
            half = pins / f".{name}"
            try:
                shutil.copytree(self._folder, half)
                half.rename(pins / name)
            except BaseException:
                shutil.rmtree(half, ignore_errors=True)
                raise

    @override
    def unpin(self, name: str) -> None:
        checked_name(name, "pin")
        pins = self._own_pins()
        with self._mutex:
            chunks = self._pinned.pop(name, None)
            if chunks is not None:
                chunks.close()
            _remove(pins / name)

    @override
    def pinned(self, name: str) -> QdrantChunks:
        checked_name(name, "pin")
        pins = self._own_pins()
        with self._mutex:
            if not (pins / name).exists():
                names = [each.name for each in pins.iterdir()]
                raise NotFound.among("pin", name, names, param="pin")
            if name not in self._pinned:
                self._pinned[name] = QdrantChunks(pins / name)
            return self._pinned[name]

    def close(self) -> None:
        for chunks in self._pinned.values():
            chunks.close()
        self._shard.close()

    def _own_pins(self) -> Path:
        if self._pins is None:
            raise Unsupported(f"The pinned state '{self._folder.name}' never changes.")
        return self._pins

    def _index(self, names: Iterable[str]) -> None:
        """An index for each column that was not there before."""
        import qdrant_edge as qdrant

        new = sorted(set(names) - self._columns)
        check_keys(new, self._columns)
        for name in new:
            schema = _schema(kind_of_column(name))
            self._shard.update(qdrant.UpdateOperation.create_field_index(name, schema))
            self._columns.add(name)

    def _delete(self, which: Any) -> None:
        import qdrant_edge as qdrant

        self._shard.update(qdrant.UpdateOperation.delete_points_by_filter(which))

    def _search(self, query: Any, limit: int, scope: Scope) -> list[Hit]:
        import qdrant_edge as qdrant

        if limit < 1:
            return []
        request = qdrant.QueryRequest(
            limit,
            query=query,
            filter=self._filter(scope),
            params=qdrant.SearchParams(hnsw_ef=max(_EF, 2 * limit)),
            with_payload=list(SHOWN),
        )
        points = self._shard.query(request)
        return [Hit(**_hit(point.payload), score=point.score) for point in points]

    def _filter(self, scope: Scope) -> Any:
        import qdrant_edge as qdrant

        must: list[Any] = []
        must_not: list[Any] = []
        if scope.readers is not None:
            must.append(_among("access", reader_marks(scope.readers)))
        if scope.where is not None:
            must.append(self._where(scope.where))
        if scope.now is not None:
            gone = qdrant.RangeFloat(lte=float(scope.now))
            must_not.append(qdrant.FieldCondition("expires_at", range=gone))
        if scope.as_of is not None:
            later = qdrant.RangeFloat(gt=float(scope.as_of))
            must_not.append(qdrant.FieldCondition("published_at", range=later))
        if scope.without:
            must_not.append(_among("document", [int(number) for number in scope.without]))
        return qdrant.Filter(must=must, must_not=must_not) if must or must_not else None

    def _where(self, where: Where) -> Any:
        import qdrant_edge as qdrant

        if isinstance(where, Both):
            parts = [self._where(part) for part in where.parts]
            return qdrant.Filter(should=parts) if where.either else qdrant.Filter(must=parts)
        held = {name: v for name, v in by_column(where).items() if name in self._columns}
        if where.op in _ORDER:
            conditions = [self._ordered(where, name, values[0]) for name, values in held.items()]
        else:
            conditions = [each for name, v in held.items() for each in _equal(name, v)]
        if where.op in {"ne", "nin"}:
            return qdrant.Filter(must_not=conditions)
        return qdrant.Filter(should=conditions or [qdrant.HasIdCondition(set())])

    def _ordered(self, where: Compare, name: str, value: Scalar) -> Any:
        """Texts have no ranges here, so all that there are of a key are compared, each once."""
        import qdrant_edge as qdrant

        if not isinstance(value, str):
            return qdrant.FieldCondition(name, range=qdrant.RangeFloat(**{where.op: value}))
        request = qdrant.FacetRequest(name, self.count() + 1, exact=True)
        texts = [hit.value for hit in self._shard.facet(request).hits]
        passing = [text for text in texts if _ORDER[where.op](text, value)]
        return _among(name, passing) if passing else qdrant.HasIdCondition(set())


def _make(folder: Path, vector_size: int | None, graph_from: int) -> None:
    """A new shard, whole or not there at all."""
    import qdrant_edge as qdrant

    half = folder.with_name(f".{folder.name}")
    half.mkdir()
    dense, sparse = None, None
    if vector_size is None:  # a shard has to have vectors of some kind
        sparse = {"none": qdrant.EdgeSparseVectorParams()}
    else:
        dense = {_VECTOR: qdrant.EdgeVectorParams(vector_size, qdrant.Distance.Cosine)}
    kilobytes = max(1, graph_from * 4 * (vector_size or 1) // 1024)
    optimizers = qdrant.EdgeOptimizersConfig(indexing_threshold=kilobytes)
    graph = qdrant.HnswIndexConfig(_EDGES, _EF_CONSTRUCT, full_scan_threshold=10_000)  # kilobytes
    config = qdrant.EdgeConfig(
        vectors=dense, sparse_vectors=sparse, optimizers=optimizers, hnsw_config=graph
    )
    shard = qdrant.EdgeShard.create(str(half), config)
    words = qdrant.TextIndexParams(
        tokenizer=qdrant.TokenizerType.Whitespace,
        min_token_len=1,
        lowercase=True,
        ascii_folding=True,
        stemmer=qdrant.SnowballParams(qdrant.SnowballLanguage.English),
        scoring=True,
    )
    fields: dict[str, Any] = {
        "terms": words,
        "document": qdrant.PayloadSchemaType.Integer,
        "access": qdrant.PayloadSchemaType.Keyword,
        "published_at": qdrant.PayloadSchemaType.Float,
        "expires_at": qdrant.PayloadSchemaType.Float,
    }
    for name, schema in fields.items():
        shard.update(qdrant.UpdateOperation.create_field_index(name, schema))
    shard.flush()
    shard.close()
    half.rename(folder)


def _check_room(folder: Path, rows: Sequence[ChunkRow] = ()) -> None:
    """Whether the disk has room for these rows twice: in the log and in place.

    Raises:
        StorageFull: it has not.
    """
    texts = sum(len((row.text + row.terms).encode()) for row in rows)
    vectors = sum(row.vector.nbytes for row in rows if row.vector is not None)
    needed = _RESERVE + 2 * (texts + vectors)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageFull(
            f"There is no room left to store {THE_CHUNKS}: {free >> 20} MB are free, "
            f"{needed >> 20} are needed.",
            hint="Free some space and run the same command again; nothing finished is lost.",
        )


def _load(folder: Path) -> Any:
    import qdrant_edge as qdrant

    try:
        return qdrant.EdgeShard.load(str(folder))
    except Exception as error:
        if "WouldBlock" not in str(error):
            raise
        raise Conflict(
            f"The knowledge bases in '{folder.parent.parent}' are open in another process.",
            hint="Stop it, or keep them in LanceDB, which several processes may share.",
        ) from error


def _remove(folder: Path) -> None:
    """Gone at once under its name; a kill leaves something to clear away, never half of it."""
    gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def _schema(kind: Kind | None) -> Any:
    from qdrant_edge import PayloadSchemaType

    types: dict[str, Any] = {
        "text": PayloadSchemaType.Keyword,
        "number": PayloadSchemaType.Float,
        "flag": PayloadSchemaType.Keyword,
    }
    return types[str(kind)]


def _points(rows: Sequence[ChunkRow], metadata: dict[str, Any], batch: int) -> list[Any]:
    from qdrant_edge import Point

    first = secrets.randbits(63)
    points = []
    for at, row in enumerate(rows):
        payload = {name: getattr(row, name) for name in (*SHOWN, "terms", "expires_at")}
        payload |= {n: _payload(held[at]) for n, held in metadata.items() if held[at] is not None}
        payload |= {"batch": batch, "access": access_marks(row.access)}
        vector = {} if row.vector is None else {_VECTOR: row.vector.tolist()}
        points.append(Point(first + at, vector, payload))
    return points


def _hit(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: payload.get(name) for name in SHOWN} | {"lead": payload.get("lead") or ""}


def _among(name: str, values: list[str] | list[int]) -> Any:
    import qdrant_edge as qdrant

    return qdrant.FieldCondition(name, match=qdrant.MatchAny(values))


def _equal(name: str, values: Sequence[Scalar]) -> list[Any]:
    """Conditions any of which a value that equals one of these meets."""
    import qdrant_edge as qdrant

    if isinstance(values[0], str | bool):
        return [_among(name, [str(_payload(value)) for value in values])]
    ranges = (qdrant.RangeFloat(float(value), lte=float(value)) for value in values)
    return [qdrant.FieldCondition(name, range=each) for each in ranges]


def _payload(value: Scalar) -> str | float:
    """As it is kept. A flag is a word: the engine's Python takes True for the number 1."""
    return str(value) if isinstance(value, bool) else value
