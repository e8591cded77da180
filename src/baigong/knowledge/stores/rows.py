"""What every store does alike: how metadata is laid out in columns, and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from baigong.errors import InvalidInput
from baigong.knowledge.stores.port import ChunkRow, Hit
from baigong.knowledge.where import Compare, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["text", "number", "flag"]

MAX_KEYS = 64  # metadata keys of one knowledge base; each may be a column and an index
MAX_KEY_BYTES = 100  # of one key in UTF-8; twice as many letters of a column's name
THE_CHUNKS = "the chunks of a knowledge base"  # what there is no room for, in errors

SHOWN = Hit.__struct_fields__[:-1]  # of a chunk in what is found; the last is its score

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_EVERYBODY = "*"


def checked_name(name: str, param: str) -> str:
    """`name`, where a file, a table and a branch may be called by it.

    Raises:
        InvalidInput: it may not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"'{name[:100]}' cannot be a {param}.",
            hint="Use 1 to 100 letters, digits, `-` and `_`.",
            param=param,
        )
    return name


def kind_of(value: Scalar) -> Kind:
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def column(key: str, kind: Kind) -> str:
    """Where the values of a key are kept that are of this kind.

    Hexadecimal, so that no key can be mistaken for another, for a column of ours or for syntax.
    """
    return f"{kind}_{key.encode().hex()}"


def kind_of_column(name: str) -> Kind | None:
    """The kind of the values in a column; None for one that holds no metadata."""
    kind, _, rest = name.partition("_")
    return next((known for known in get_args(Kind) if known == kind and rest), None)


def plain(value: Scalar) -> Scalar:
    """As it is kept and compared: 2026 is 2026.0, and there is one zero.

    Raises:
        InvalidInput: a number that is none, or infinite.
    """
    if isinstance(value, str | bool):
        return value
    if not math.isfinite(value):
        raise InvalidInput(
            f"{value} is no number to compare with.", hint="Use a finite number.", param="metadata"
        )
    return value + 0.0


def by_column(compare: Compare) -> dict[str, list[Scalar]]:
    """The values of a comparison by the column that could hold them."""
    values = compare.value if isinstance(compare.value, tuple) else (compare.value,)
    found: dict[str, list[Scalar]] = {}
    for value in values:
        found.setdefault(column(compare.key, kind_of(value)), []).append(plain(value))
    return found


def metadata_columns(rows: Sequence[ChunkRow]) -> dict[str, list[Scalar | None]]:
    """The metadata of all rows, a list for each column, None where a row has nothing there."""
    found: dict[str, list[Scalar | None]] = {}
    names: dict[tuple[str, Kind], str] = {}
    for at, row in enumerate(rows):
        for key, value in row.metadata.items():
            kind = kind_of(value)
            name = names.get((key, kind))
            if name is None:
                name = names[key, kind] = column(key, kind)
                found[name] = [None] * len(rows)
            found[name][at] = plain(value)
    return found


def check_keys(new: Iterable[str], known: Iterable[str]) -> None:
    """Whether these columns may come to the known ones.

    Raises:
        InvalidInput: a key is too long, or there would be too many.
    """
    keys = {name.partition("_")[2] for name in known if kind_of_column(name)}
    fresh = {name.partition("_")[2] for name in new} - keys
    for key in fresh:
        if not 0 < len(key) // 2 <= MAX_KEY_BYTES:
            text = bytes.fromhex(key).decode()
            raise InvalidInput(
                f"'{text[:40]}' cannot be a metadata key.",
                hint=f"Use 1 to {MAX_KEY_BYTES} bytes.",
                param="metadata",
            )
    if len(keys) + len(fresh) > MAX_KEYS:
        names = ", ".join(sorted(bytes.fromhex(key).decode() for key in fresh)[:5])
        raise InvalidInput(
            f"The metadata keys {names} are more than the {MAX_KEYS} of a knowledge base.",
            hint="Use the same keys for all documents.",
            param="metadata",
        )


def check_vectors(rows: Sequence[ChunkRow], size: int | None) -> None:
    """Whether each row has a vector of that size, or none has one.

    Raises:
        InvalidInput: one has not.
    """
    expected = None if size is None else (size,)
    for row in rows:
        found = None if row.vector is None else row.vector.shape
        if found != expected:
            raise InvalidInput(
                f"A chunk of '{row.path}' has a vector of shape {found}, not {expected}.",
                hint="Embed all documents of a knowledge base with one embedder.",
                param="vector",
            )


def check_query(vector: NDArray[np.float32], size: int | None) -> None:
    """Whether chunks with vectors of that size can be near `vector`.

    Raises:
        InvalidInput: they cannot.
    """
    if vector.shape != (size,):
        raise InvalidInput(
            f"The question's vector has shape {vector.shape}, the chunks' vectors size {size}.",
            hint="Embed the question with the embedder of the knowledge base.",
            param="vector",
        )


def check_size(kept: int | None, asked: int | None, key: str) -> None:
    """Whether the vectors that are kept are of the size that is asked for.

    Raises:
        InvalidInput: they are not.
    """
    if kept != asked:
        raise InvalidInput(
            f"The chunks of '{key}' have vectors of size {kept}, not {asked}.",
            hint="Use the embedder that they were made with, or drop them first.",
            param="vector_size",
        )


def access_marks(access: Collection[str] | None) -> list[str]:
    """What a chunk is kept under for those who may find it."""
    return [_EVERYBODY] if access is None else [f"={name}" for name in access]


def reader_marks(readers: Collection[str]) -> list[str]:
    """The marks that such a reader may find, any of them."""
    return [_EVERYBODY, *(f"={name}" for name in readers)]
