"""LanceDB, held at arm's length: schemas, indexes, its errors as ours, its traps in one place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from baigong.store.room import room_for

Row = dict[str, Any]

THE_INDEX = "the knowledge base"  # what there is no room for, in errors

# Below this a scan of all vectors is exact and takes some 15 ms; above, a graph is worth building.
_GRAPH_FROM_ROWS = 20_000


def connect(url: str) -> Any:
    """A LanceDB connection to a folder (made if need be) or a bucket."""
    # It reports each new table as a warning on standard error; only set where nobody has.
    os.environ.setdefault("LANCEDB_LOG", "error")
    import lancedb  # here, for it takes seconds and 150 MB

    if "://" not in url:
        Path(url).mkdir(parents=True, exist_ok=True)
    with room_for(THE_INDEX):
        return lancedb.connect(url)


def table_names(database: Any) -> list[str]:
    """All of them, half-made ones included."""
    names: list[str] = []
    token = None
    while True:
        page = database.list_tables(page_token=token, limit=1000)
        names.extend(page.tables)
        token = page.page_token
        if not token:
            return names


def catalog_schema() -> Any:
    """One row for each finished version; `record` is a KnowledgeVersion as JSON."""
    import pyarrow as pa  # noqa: PLC0415

    text = pa.string()
    return pa.schema([
        ("name", text),
        ("version", text),
        ("built_at", pa.float64()),
        ("record", text),
    ])


def documents_schema() -> Any:
    """Whole texts. Never compacted: compaction would rewrite all of them in memory."""
    import pyarrow as pa  # noqa: PLC0415

    text, number = pa.string(), pa.int64()
    return pa.schema([
        ("path", text),
        ("title", text),
        ("text", pa.large_string()),
        ("bytes", number),
        ("chunks", number),
    ])


def chunks_schema(vector_size: int | None) -> Any:
    """`terms` is what full text searches: the index terms of title and text, between blanks."""
    import pyarrow as pa  # noqa: PLC0415

    text, number = pa.string(), pa.int64()
    fields = [
        ("document", text),
        ("title", text),
        ("text", text),
        ("terms", text),
        ("start", number),
        ("end", number),
        ("page", number),
    ]
    if vector_size is not None:
        fields += [("vector", pa.list_(pa.float32(), vector_size))]
    return pa.schema(fields)


def append(table: Any, rows: Sequence[Row]) -> None:
    """One commit and one fragment, so never row by row."""
    import pyarrow as pa  # noqa: PLC0415

    if rows:
        table.add(pa.Table.from_pylist(rows, schema=table.schema))


def index_chunks(table: Any, *, has_vectors: bool, graph_from_rows: int = _GRAPH_FROM_ROWS) -> None:
    """Build what searches need. The table is complete and will not change again."""
    from lancedb.index import FTS, HnswSq

    table.optimize()  # nothing compacts by itself; searches slow down with each fragment
    # `terms` are words already. Stemming is worth 0.02 of nDCG@10 on SciFact; stop words stay,
    # since dropping them measured no better and loses questions such as "IT" or "AND".
    # Positions are off: they are not needed, and crashed compaction in some releases.
    words = FTS(
        base_tokenizer="whitespace", stem=True, remove_stop_words=False, with_position=False
    )
    table.create_index("terms", config=words)
    if has_vectors and table.count_rows() >= graph_from_rows:
        # One partition: with more, a search that probes some of them loses recall.
        table.create_index("vector", config=HnswSq(distance_type="cosine", num_partitions=1))
    # Nobody else knows of this table yet, so what was compacted away can go at once.
    table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)


def quoted(text: str) -> str:
    """A string literal of a filter."""
    return "'" + text.replace("'", "''") + "'"


_REFINE = 3  # times the rows wanted are compared again with their exact vectors
_CHUNK_COLUMNS = ["document", "title", "text", "start", "end", "page"]


def find_words(table: Any, words: Iterable[str], limit: int) -> list[Row]:
    """The chunks with any of these terms, best BM25 first, the score under `_score`."""
    from lancedb.query import MatchQuery

    # A MatchQuery has no operators, so nothing that a person types can be a syntax error.
    query = table.search(MatchQuery(" ".join(words), "terms"))
    rows: list[Row] = query.select([*_CHUNK_COLUMNS, "_score"]).limit(limit).to_list()
    return rows


def find_near(table: Any, vector: Sequence[float], limit: int) -> list[Row]:
    """The chunks whose vectors are nearest, nearest first, the cosine distance under `_distance`."""
    query = table.search(list(vector), vector_column_name="vector").distance_type("cosine")
    # Only the graph heeds these two: they bring its recall from 0.98 to 1.00. It fetches
    # limit x refine rows, and refuses an `ef` below that.
    query = query.ef(max(100, 2 * _REFINE * limit)).refine_factor(_REFINE)
    rows: list[Row] = query.select([*_CHUNK_COLUMNS, "_distance"]).limit(limit).to_list()
    return rows
