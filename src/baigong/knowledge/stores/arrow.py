"""A chunk as a row of an Arrow table, and a hit as what such a row shows."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from baigong.knowledge.stores.port import ChunkRow, Hit
from baigong.knowledge.stores.rows import SHOWN, access_marks, kind_of_column

_shown_of = attrgetter(*SHOWN)
_SHOWN_AGAIN = msgspec.msgpack.Decoder(Hit)  # what an older row lacks, the last, has a default


def schema_of(vector_size: int | None) -> Any:
    """`batch` is a number that all rows of one `replace` share and no others.

    `shown` is all that a hit says, in one column: to read eight took 1.5 ms more of each search.
    """
    import pyarrow as pa  # noqa: PLC0415

    text, number, seconds = pa.string(), pa.int64(), pa.float64()
    fields = [
        ("document", number),
        ("batch", number),
        ("shown", pa.binary()),
        ("terms", text),
        ("access", pa.list_(text)),
        ("published_at", seconds),
        ("expires_at", seconds),
    ]
    if vector_size is not None:
        fields += [("vector", pa.list_(pa.float32(), vector_size))]
    return pa.schema(fields)


def metadata_field(name: str) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    types = {"text": pa.string(), "number": pa.float64(), "flag": pa.bool_()}
    return pa.field(name, types[str(kind_of_column(name))])


def table_of(rows: Sequence[ChunkRow], metadata: dict[str, Any], schema: Any) -> Any:
    """The rows as a table. Vectors go through one array, never through lists of floats."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    batch = secrets.randbits(62)

    def column(field: Any) -> Any:
        if field.name == "vector":
            values = pa.array(np.concatenate([row.vector for row in rows]), pa.float32())
            return pa.FixedSizeListArray.from_arrays(values, field.type.list_size)
        if field.name == "batch":
            return pa.array(np.full(len(rows), batch))
        if field.name == "access":
            return pa.array([access_marks(row.access) for row in rows], field.type)
        if kind_of_column(field.name):
            held = metadata.get(field.name)
            return pa.nulls(len(rows), field.type) if held is None else pa.array(held, field.type)
        if field.name == "shown":
            return pa.array([_shown(row) for row in rows], field.type)
        if field.name == "published_at":
            seconds = (row.published_at for row in rows)
            return pa.array([-math.inf if at is None else at for at in seconds])
        if field.name == "expires_at":
            seconds = (row.expires_at for row in rows)
            return pa.array([math.inf if at is None else at for at in seconds])
        return pa.array([getattr(row, field.name) for row in rows], field.type)

    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)


def _shown(row: ChunkRow) -> bytes:
    return msgspec.msgpack.encode(_shown_of(row))


def hits_of(shown: Iterable[bytes], scores: Iterable[float]) -> list[Hit]:
    hits = [_SHOWN_AGAIN.decode(each) for each in shown]
    for hit, score in zip(hits, scores, strict=True):
        msgspec.structs.force_setattr(hit, "score", score)  # nobody has seen it yet
    return hits
