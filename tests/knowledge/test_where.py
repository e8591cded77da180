import pytest

from baigong.errors import InvalidInput
from baigong.knowledge.where import Both, Compare, typed_where


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kind=memo", Compare("eq", "kind", "memo")),
        (" kind != a b ", Compare("ne", "kind", "a b")),
        ("year>=2026", Compare("gte", "year", 2026.0)),
        ("year<2026.5", Compare("lt", "year", 2026.5)),
        ("day<=2026-11-01", Compare("lte", "day", "2026-11-01")),
        ("name=", Compare("eq", "name", "")),
        ("url=a=b", Compare("eq", "url", "a=b")),
        ("x=nan", Compare("eq", "x", "nan")),
    ],
)
def test_what_a_person_types_is_a_comparison(text, wanted):
    assert typed_where([text]) == wanted


def test_a_number_or_truth_may_be_meant_or_the_text_that_looks_like_it():
    assert typed_where(["year=2026"]) == Both(
        (Compare("eq", "year", 2026.0), Compare("eq", "year", "2026")), either=True
    )
    assert typed_where(["done!=true"]) == Both((
        Compare("ne", "done", True),
        Compare("ne", "done", "true"),
    ))


def test_all_of_several_must_hold_and_nothing_asks_nothing():
    assert typed_where([]) is None
    assert typed_where(["a=b", "c>1"]) == Both((Compare("eq", "a", "b"), Compare("gt", "c", 1.0)))


@pytest.mark.parametrize("text", ["", "year", "=2026", ">1", "  "])
def test_what_is_no_comparison_is_refused_by_name(text):
    with pytest.raises(InvalidInput, match="is not a condition"):
        typed_where([text])
