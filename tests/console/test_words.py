import re
from pathlib import Path

import pytest
from starlette.requests import Request

from baigong.console import words
from baigong.console.words import TEXT, language_of, pick, speaker

FOLDER = Path(words.__file__).parent
HOLDS = re.compile(r"\{(\w+)\}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_both_languages_say_everything_and_hold_the_same_things():
    for key, (en, zh) in TEXT.items():
        assert en.strip() and zh.strip(), key
        assert set(HOLDS.findall(en)) == set(HOLDS.findall(zh)), key
        if key not in {"language", "language_label"}:  # each names the other language in itself
            assert not CHINESE.search(en), key
            assert CHINESE.search(zh), key


def test_every_word_is_used_and_every_used_word_is_there():
    sources = [*FOLDER.glob("templates/*.html"), *FOLDER.rglob("*.py")]
    text = "\n".join(p.read_text("utf-8") for p in sources if p.name != "words.py")
    used = set(re.findall(r"\b(?:t|say)\('(\w+)'", text))
    used |= set(re.findall(r'\bsay\("(\w+)"', text))
    indirect = {"candidate", "incumbent", "base", "baseline", "release", "tuned", "checkpoint_of"}
    shown = ("task_", "state_", "kind_", "step_", "rows_", "dropped_")
    indirect |= {key for key in TEXT if key.startswith(shown)}
    assert used - set(TEXT) == set()
    assert set(TEXT) - used - indirect == set()


def test_no_template_says_a_word_of_its_own():
    for page in FOLDER.glob("templates/*.html"):
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<[^>]*>", " ", page.read_text("utf-8"))
        text = re.sub(r"baigong (demo|build|keys|ingest|pull|tune)\S*.*", " ", text)
        assert not re.search(r"[A-Za-z]{2,}", text), (page.name, text)
        assert not CHINESE.search(text), page.name


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,zh;q=0.9", "en"),
        ("fr,zh;q=0.3,en;q=0.2", "zh"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=nonsense", "en"),
        ("ZH-TW", "zh"),
    ],
)
def test_the_browser_says_which_language(header, language):
    assert language_of(_request(header)) == language


def test_the_address_wins_over_the_cookie_and_the_cookie_over_the_browser():
    assert language_of(_request("en", "lang=zh")) == "zh"
    assert language_of(_request("en", "", "baigong_language=zh")) == "zh"
    assert language_of(_request("zh", "lang=en", "baigong_language=zh")) == "en"
    assert language_of(_request("zh", "lang=xx", "baigong_language=yy")) == "zh"


def test_words_hold_what_they_are_given():
    assert "7" in speaker("zh")("spent", tokens=7, seconds=1)


def test_a_title_in_one_language_serves_both():
    assert pick({"en": "A"}, "zh") == "A"
    assert pick({"zh": "甲"}, "en") == "甲"
    assert pick({}, "en") == pick(None, "zh") == ""


def _request(accept: str, query: str = "", cookie: str = "") -> Request:
    headers = [(b"accept-language", accept.encode()), (b"cookie", cookie.encode())]
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})
