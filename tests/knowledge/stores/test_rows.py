from __future__ import annotations

import pytest

from baigong.errors import InvalidInput
from baigong.knowledge.stores.rows import MAX_KEYS, Kind, check_keys, column, kind_of_column


def test_no_two_keys_or_kinds_share_a_column() -> None:
    keys = ["year", "Year", "ye_ar", "text_79", "名", "a b", "number"]
    kinds: list[Kind] = ["text", "number", "flag"]
    names = [column(key, kind) for key in keys for kind in kinds]
    assert len(set(names)) == len(names)
    assert [kind_of_column(name) for name in names] == kinds * len(keys)
    assert [kind_of_column(name) for name in ("text", "terms", "document", "text_")] == [None] * 4


def test_a_knowledge_base_has_room_for_so_many_keys() -> None:
    known = [column(f"k{n}", "text") for n in range(MAX_KEYS)]
    check_keys([], known)
    check_keys([column("k1", "number")], [*known, "document", "text"])  # another kind, no new key
    with pytest.raises(InvalidInput, match="one more"):
        check_keys([column("one more", "text")], known)
