"""What makes searches of LanceDB tables fast: which indexes a table has, and when they are made anew."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from baigong.compute import usable_cores
from baigong.knowledge.stores.rows import kind_of_column

INDEX_FROM_ROWS = 20_000  # below, all vectors are compared in some 15 ms, and nothing is missed
# Vectors are compared as bytes, and the nearest again as they are: those of the partitions that are
# nearest, which up to 600,000 are all. A million took 40 s to index, where a graph of 100,000 takes
# as long. Of that million and a filter that keeps a tenth they hold 99.1 to 99.5 % of the ten nearest;
# 40 of them hold 98.6 %, in 0.95 of the time.
PARTITION_ROWS = 10_000
PROBES = 60

# Rows that no index covers are read one by one, 1.3 ms of a search for a thousand of them.
_LOOSE_ROWS = 2_000
_LOOSE_SHARE = 0.02
_FRAGMENTS = 32
# Tending gives new vectors an index of their own; each is searched beside the others, so that with
# more than this one is made of all.
_SEGMENTS = 8
# Who reads an old version goes on reading it this long.
KEPT = timedelta(minutes=10)
_OLD_VERSIONS = 64


async def is_worn(table: Any) -> bool:
    """Whether searches have to go through much that no index holds, or old versions lie about."""
    stats = await table.stats()
    if stats["fragment_stats"]["num_fragments"] > _FRAGMENTS:
        return True
    indexes = await table.list_indices()
    loose = max((index.num_unindexed_rows for index in indexes), default=0)
    if loose > max(_LOOSE_ROWS, _LOOSE_SHARE * stats["num_rows"]):
        return True
    before = datetime.now() - KEPT  # noqa: DTZ005  LanceDB's versions carry local times
    old = [each for each in await table.list_versions() if each["timestamp"] < before]
    return len(old) > _OLD_VERSIONS


async def is_bare(table: Any) -> bool:
    """Whether hardly a row is in an index yet, and little else is to be done: to make the indexes at
    once, on all cores, is faster than to add the rows to what there is."""
    stats = await table.stats()
    loose = [index.num_unindexed_rows for index in await table.list_indices()]
    is_tidy = int(stats["fragment_stats"]["num_fragments"]) <= _FRAGMENTS
    return is_tidy and 2 * min(loose, default=0) > int(stats["num_rows"])


def words_indexes() -> dict[str, Any]:
    from lancedb.index import FTS, BTree

    # `terms` are words already. Stemming is worth 0.02 of nDCG@10 on SciFact; stop words stay,
    # since dropping them measured no better and loses questions such as "IT" or "AND".
    # Positions are off: they are not needed, and crashed compaction in some releases.
    words = FTS(
        base_tokenizer="whitespace",
        stem=True,
        remove_stop_words=False,
        with_position=False,
        max_token_length=None,
        num_workers=usable_cores(),
    )
    return {"terms": words, "document": BTree()}


def search_indexes(columns: Iterable[str], rows: int) -> dict[str, Any]:
    """What a table with so many rows needs."""
    from lancedb.index import Bitmap, BTree, IvfSq, LabelList

    kinds = {name: kind_of_column(name) for name in columns}
    metadata = {n: Bitmap() if kind == "flag" else BTree() for n, kind in kinds.items() if kind}
    # No times: nearly all rows pass there, and for 100,000 of them their index took 2 ms where to look
    # at those that the other conditions leave takes 0.4.
    wanted = {"access": LabelList(), **metadata}
    if "vector" in kinds:
        partitions = max(1, rows // PARTITION_ROWS)
        wanted["vector"] = IvfSq(distance_type="cosine", num_partitions=partitions)
    return wanted


async def create_missing(table: Any, wanted: dict[str, Any]) -> bool:
    """Create those that are not there, and anew those that have come apart."""
    whole = {
        column
        for each in await table.list_indices()
        if each.num_segments <= _SEGMENTS
        for column in each.columns
    }
    missing = {name: config for name, config in wanted.items() if name not in whole}
    await create(table, missing)
    return bool(missing)


async def create(table: Any, wanted: dict[str, Any]) -> None:
    for name, config in wanted.items():
        await table.create_index(name, config=config)
