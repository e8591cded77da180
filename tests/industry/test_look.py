import random

import pytest

from baigong.industry.data.look import look_at
from baigong.industry.data.near import find_near
from baigong.industry.data.private import private_in
from baigong.industry.data.rows import load_dataset, split_of
from baigong.industry.recipe import Recipe
from baigong.types import Message, Row
from tests.industry.test_rows import PAIRS, recipe, write_csv

ENGLISH = "I was charged twice for the same hotel booking in Lisbon last week"
CHINESE = "我上周在里斯本订的酒店被重复扣了两次款，请问什么时候可以退回来"


@pytest.mark.parametrize(
    ("one", "other", "is_near"),
    [
        (ENGLISH, f"{ENGLISH.upper()}!!", True),
        (ENGLISH, ENGLISH.replace("I was", "i've been"), True),
        (ENGLISH, ENGLISH.replace("charged twice", "never refunded"), False),
        (CHINESE, CHINESE.replace("，", " ") + "？", True),
        (CHINESE, CHINESE.replace("请问", "问"), True),
        (f"{ENGLISH} 417", f"{ENGLISH} 418", False),
        (CHINESE, CHINESE[:12] + "房间没有热水，前台也没有人接电话", False),
    ],
)
def test_texts_are_near_when_they_share_most_of_their_pieces(one, other, is_near):
    assert find_near([one, other], [False, False]).twins == ({1: 0} if is_near else {})
    assert find_near([other, one], [False, True]).leaks == ({0: 1} if is_near else {})


def test_near_texts_are_found_among_thousands():
    words = [f"w{n}" for n in range(500)]
    chance = random.Random(5)
    texts = [" ".join(chance.choices(words, k=20)) for _ in range(2000)]
    copies = [f"{text}." for text in texts[:200]]
    found = find_near([*texts, *copies], [False] * 2200)
    assert found.twins == {2000 + n: n for n in range(200)}


def test_short_texts_are_not_judged():
    assert find_near(["aaa 12", "aaa 13"], [False, True]).leaks == {}


def row(text, split="train", answer="a", source="a.csv:2"):
    return Row(text, (Message("user", text),), answer, split, source=source)


def test_rows_made_from_patterns_stay_and_are_told():
    names = [a + b for a in ("Ka", "Lu", "Mo", "Ne", "Si", "To") for b in ("ra", "mi", "no", "ta")]
    rows = [
        row(f"Dear shop, where is the parcel that {name} ordered some days ago?", split)
        for name, split in zip(names, ("train", "test") * 12, strict=True)
    ]
    found = look_at(rows, has_one_answer=True)
    assert not found.leaks
    assert any("made from patterns" in note for note in found.notes)


def test_near_texts_with_two_answers_are_told_by_their_lines():
    rows = [row(ENGLISH, source="a.csv:2"), row(ENGLISH + " ?", answer="b", source="a.csv:7")]
    notes = look_at(rows, has_one_answer=True).notes
    assert notes == {"nearly one text, two answers; look which is right": ["a.csv:7 and a.csv:2"]}
    assert look_at(rows, has_one_answer=False).notes == {}


def test_what_is_nearly_a_test_row_is_not_learnt_and_counted(tmp_path):
    spec = Recipe.model_validate({"name": "a", "task": "chat", "data": {"rows": "x"}}).data.split
    variants = [f"{ENGLISH} {a}{b}".lower() for a in "abcdefgh" for b in "abcdefgh"]
    test = next(text for text in variants if split_of(text, spec) == "test")
    train = next(text for text in variants if split_of(text, spec) == "train")
    path = write_csv(tmp_path / "a.csv", [(test, "refund"), (train, "refund"), *PAIRS])
    made = recipe(path)
    found = load_dataset(made)
    assert found.report.dropped["nearly a test row"] >= 1
    assert train not in [row.messages[0].content for row in found.rows]
    assert test in [row.messages[0].content for row in found.split("test")]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to li.na+shop@example.com.cn please", {"e-mail address"}),
        ("call 13800138000", {"phone number"}),
        ("打+86 138-0013-8000", {"phone number"}),
        ("or +44 20 7946 0958 from abroad", {"phone number"}),
        ("at (415) 555-2671", {"phone number"}),
        ("order 12800138000 is late", set()),
        ("身份证11010519491231002X", {"identity card"}),
        ("身份证110105194912310021", set()),
        ("card 4111 1111 1111 1111 was declined", {"bank card"}),
        ("card 4111 1111 1111 1112 was declined", set()),
        ("from DE89 3704 0044 0532 0130 00 to you", {"IBAN"}),
        ("from DE88 3704 0044 0532 0130 00 to you", set()),
        ("LK-204817 costs 12.50 @ noon", set()),
        ("both a@b.com and 4111111111111111", {"e-mail address", "bank card"}),
    ],
)
def test_private_things_are_told_by_what_makes_them_real(text, kinds):
    assert private_in(text) == kinds


def test_a_report_has_counts_and_lines_of_private_things_and_never_the_values(tmp_path):
    mail = "li.na@example.com"
    path = write_csv(tmp_path / "a.csv", [(f"my mail is {mail}", "refund"), *PAIRS])
    report = load_dataset(recipe(path)).report
    assert report.private == {"e-mail address": 1}
    assert any("e-mail address in 1 rows" in note and "a.csv:2" in note for note in report.warnings)
    assert mail not in str(report)
