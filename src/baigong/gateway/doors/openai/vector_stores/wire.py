"""What OpenAI's clients send to vector stores, and our rows in their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from baigong.errors import InvalidInput
from baigong.gateway.bodies import shown
from baigong.gateway.doors.openai.vector_stores.rows import (
    STATES,
    Attached,
    Batch,
    VectorStore,
)
from baigong.knowledge.where import Scalar
from baigong.store.paging import Cut

Metadata = Annotated[dict[str, str], Meta(max_length=16)]
Attributes = Annotated[dict[str, Scalar], Meta(max_length=16)]


class ExpiresAfter(msgspec.Struct, frozen=True):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class Static(msgspec.Struct, frozen=True):
    """Chunks do not overlap here, since touching ones are put together when they are found; the
    replies say so."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0, le=2048)] = 0


class Strategy(msgspec.Struct, frozen=True):
    type: Literal["auto", "static"]
    static: Static | None = None

    @property
    def tokens(self) -> int | None:
        return None if self.static is None else self.static.max_chunk_size_tokens


class CreateStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=256)] | None = None
    description: str | None = None  # accepted, and of no use to anyone yet
    file_ids: Annotated[list[str], Meta(max_length=500)] | None = None
    chunking_strategy: Strategy | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class ChangeStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=256)] | None = None
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class AddFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


class AddFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file_ids: Annotated[list[str], Meta(min_length=1, max_length=2000)] | None = None
    files: Annotated[list[AddFile], Meta(min_length=1, max_length=2000)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None

    def each(self) -> list[AddFile]:
        """
        Raises:
            InvalidInput: both ways of naming files, or none, are used.
        """
        if (self.file_ids is None) == (self.files is None):
            raise InvalidInput(
                "Files are named in file_ids or in files.",
                hint="Send one of them.",
                param="file_ids",
            )
        if self.files is not None:
            return self.files
        return [
            AddFile(file, self.attributes, self.chunking_strategy)
            for file in dict.fromkeys(self.file_ids or ())
        ]


class ChangeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    attributes: Attributes | None


class RankingOptions(msgspec.Struct, frozen=True):
    """`ranker` is a reranker of the hub, `owner/name`; one of OpenAI's names means our own order."""

    ranker: str | None = None
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    hybrid_search: dict[str, Any] | None = None

    @property
    def model(self) -> str | None:
        """The model that orders what was found anew, where one is named."""
        return self.ranker if self.ranker is not None and "/" in self.ranker else None


class SearchStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rewrite_query` is accepted: the reply tells that the query stayed as it was."""

    query: Annotated[str, Meta(min_length=1)] | Annotated[list[str], Meta(min_length=1)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = None

    @property
    def queries(self) -> list[str]:
        return [self.query] if isinstance(self.query, str) else self.query

    @property
    def threshold(self) -> float:
        options = self.ranking_options
        return 0.0 if options is None else options.score_threshold or 0.0

    @property
    def ranker(self) -> str | None:
        return None if self.ranking_options is None else self.ranking_options.model


def check_attributes(attributes: Mapping[str, Scalar] | None) -> dict[str, Scalar]:
    """
    Raises:
        InvalidInput: a key or a value is longer than OpenAI takes.
    """
    for key, value in (attributes or {}).items():
        if not 0 < len(key) <= 64 or (isinstance(value, str) and len(value) > 512):
            raise InvalidInput(
                f"attributes: {shown(key)} or its value is too long.",
                hint="A key has up to 64 characters, a text up to 512.",
                param="attributes",
            )
    return dict(attributes or {})


def cut_of(request: Request) -> Cut:
    """The page that `limit`, `order`, `after` and `before` ask for.

    Raises:
        InvalidInput: one of them is wrong.
    """
    query = request.query_params
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= 10_000:
        raise InvalidInput(f"limit: expected 1 to 100, got {shown(limit)}.", param="limit")
    if order not in {"asc", "desc"}:
        raise InvalidInput(f"order: expected asc or desc, got {shown(order)}.", param="order")
    return Cut(min(int(limit), 100), order == "desc", query.get("after"), query.get("before"))


def state_of(request: Request) -> str | None:
    """The state that `filter` asks for."""
    wanted = request.query_params.get("filter")
    if wanted is not None and wanted not in STATES:
        raise InvalidInput(
            f"filter: expected one of {', '.join(STATES)}, got {shown(wanted)}.", param="filter"
        )
    return wanted


def list_object(data: Sequence[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def store_object(store: VectorStore, counts: Mapping[str, int], size: int) -> dict[str, Any]:
    """`size` in bytes. A file that is on its way makes the whole store `in_progress`."""
    state = "in_progress" if counts["in_progress"] else "completed"
    found: dict[str, Any] = {
        "id": store.id,
        "object": "vector_store",
        "created_at": int(store.created_at),
        "name": store.label,
        "knowledge": store.knowledge,
        "status": "expired" if store.is_expired else state,
        "usage_bytes": size,
        "file_counts": _counts(counts),
        "last_active_at": int(store.active_at),
        "metadata": store.metadata,
        "expires_at": None,
    }
    if store.expires_at is not None:
        found["expires_after"] = {"anchor": "last_active_at", "days": store.expires_days}
        found["expires_at"] = int(store.expires_at)
    return found


def file_object(one: Attached, size: int, tokens: int) -> dict[str, Any]:
    """`tokens` of a chunk where the file has no size of its own."""
    error = None if one.error is None else {"code": one.error_code, "message": one.error}
    return {
        "id": one.file,
        "object": "vector_store.file",
        "created_at": int(one.created_at),
        "vector_store_id": one.store,
        "status": one.state,
        "usage_bytes": size if one.state == "completed" else 0,
        "last_error": error,
        "attributes": one.attributes,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": one.tokens or tokens, "chunk_overlap_tokens": 0},
        },
    }


def batch_object(batch: Batch, counts: Mapping[str, int]) -> dict[str, Any]:
    state = "in_progress" if counts["in_progress"] else "completed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": int(batch.created_at),
        "vector_store_id": batch.store,
        "status": "cancelled" if batch.cancelled else state,
        "file_counts": _counts(counts),
    }


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {**counts, "total": sum(counts.values())}
