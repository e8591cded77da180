from __future__ import annotations

import itertools
import json
import subprocess
import sys

from baigong.knowledge.connectors.items import read_feed
from baigong.knowledge.demo_feed import atom, stories, story


def test_the_same_seed_gives_the_same_stories() -> None:
    first, again, other = (
        list(itertools.islice(stories(seed, 10, 1000.0), 50)) for seed in (1, 1, 2)
    )
    assert first == again
    assert not {told.text for told in first} & {told.text for told in other}
    assert [told.published_at for told in first[:3]] == [1000.0, 1000.1, 1000.2]


def test_stories_are_in_both_languages_and_answer_their_questions() -> None:
    told = [story(0, number, 0.0) for number in range(200)]
    assert {each.language for each in told} == {"en", "zh"}
    assert len({each.question for each in told}) == 200
    for each in told:
        assert each.answer in each.text and "{" not in each.text + each.title + each.question
        assert any("一" <= letter <= "鿿" for letter in each.text) == (each.language == "zh")


def test_the_feed_holds_the_newest_at_any_time() -> None:
    assert read_feed(atom(0, 10, 1000.0, 1000.0), "https://x.example") == []
    items = read_feed(atom(0, 10, 1000.0, 1130.05), "https://x.example")
    assert len(items) == 1000
    assert items[0].id == story(0, 1299, 0.0).url
    assert items[0].body == story(0, 1299, 0.0).text


def test_lines_can_be_piped() -> None:
    command = [sys.executable, "-m", "baigong.knowledge.demo_feed"]
    told = subprocess.run(
        [*command, "--lines", "--count", "3", "--rate", "100", "--seed", "7"],
        check=True,
        capture_output=True,
    ).stdout
    rows = [json.loads(line) for line in told.splitlines()]
    assert [row["text"] for row in rows] == [story(7, number, 0.0).text for number in range(3)]
    assert {"path", "title", "text", "url", "published_at", "metadata"} == set(rows[0])
