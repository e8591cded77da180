"""`baigong ask` and `baigong eval`, as a person and a program see them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from baigong.app import Platform
from baigong.cli.ask import _moment
from baigong.config import Settings
from baigong.knowledge.connectors.source import Content, Entry, Listing
from baigong.knowledge.ingest import ingest
from tests.knowledge.bases import keep

HANDBOOK = Path(__file__).parents[2] / "recipes" / "customer-service" / "handbook"


class Prices:
    """A source (connectors.source.Source) that says when each of its documents was published."""

    name, forgets = "prices", True

    def list(self):
        return Listing((Entry("old.md"), Entry("new.md")))

    def read(self, entry, stamp):
        coins, year, month = ("nine", 2025, 1) if entry.path == "old.md" else ("eleven", 2026, 6)
        return Content(
            f"The ferry ticket costs {coins} coins.".encode(),
            url=f"https://ferry.example/{year}",
            metadata={"year": float(year)},
            published_at=datetime(2026, month, 10, 8, 30, tzinfo=UTC).timestamp(),
        )


@pytest.fixture
def bases(tmp_path):
    """A handbook, kept, and two price lists, in the home that the verbs read."""
    (tmp_path / "small").mkdir()
    for name in ("returns.md", "warranty.md"):
        (tmp_path / "small" / name).write_bytes((HANDBOOK / "en" / name).read_bytes())
    platform = Platform.open(Settings.load())
    platform.knowledge.ensure("prices", None)
    ingest(platform.knowledge, "prices", [Prices()], None)
    keep(platform.knowledge, "handbook", [tmp_path / "small"])
    platform.database.close()
    return tmp_path


@pytest.fixture
def run(bases, run):
    return run


def test_an_answer_is_quoted_with_its_document_headings_and_place(run, bases):
    code, out, _ = run("ask", "handbook", "Within how many days may an unused product be returned?")
    assert code == 0
    first, _, second, quote, file, page = out.splitlines()[:6]
    assert first.startswith("You may return an unused product within 30 days") and "[1]" in first
    assert second.startswith("[1] returns.md · Returns, exchanges and cancellations › Changing")
    assert "within 30 days" in quote
    assert Path(file.strip()) == bases / "small" / "returns.md"
    text = (bases / "small" / "returns.md").read_bytes()
    start, _, end = page.partition("?span=")[2].partition("-")
    assert page.strip().startswith("/knowledge/handbook@1/returns.md?span=")
    assert b"within 30 days" in text[int(start) : int(end)]


def test_what_is_not_there_is_said_with_the_nearest_passages_and_exit_code_0(run):
    code, out, _ = run(
        "ask", "handbook@1", "Who painted the ceiling of the chapel after its return?"
    )
    assert code == 0
    assert out.startswith("Not in the documents.\n\nThe nearest passages:\n[1] ")
    code, out, _ = run("ask", "handbook", "谁画了教堂的穹顶？")
    assert (code, out) == (0, "文档中没有。\n")


def test_among_reports_of_one_form_one_answers_and_the_others_are_named(run, bases):
    reports = bases / "reports"
    reports.mkdir()
    for year in range(2015, 2027):
        text = f"In {year} total net sales of the mill rose to {year - 2000} million, driven by exports."
        (reports / f"{year}.txt").write_text(text)
    platform = Platform.open(Settings.load())
    keep(platform.knowledge, "reports", [reports])
    platform.database.close()
    _, out, _ = run("ask", "reports", "Which exports drove the total net sales of the mill?")
    said, _, also = out.partition("Also in: ")
    assert "rose to" in said.partition("\n")[0] and said.partition("\n")[0].endswith("[1]")
    others = also.strip().split("; ")
    assert len(others) >= 5 and not [name for name in others if name in said]
    _, out, _ = run("ask", "reports", "Who painted the ceiling of the chapel?")
    assert out.startswith("Not in the documents.")


def test_a_program_gets_json(run):
    asked = "How many working days does a refund take after the inspection?"
    _, out, _ = run("ask", "prices, handbook", asked, "--json", "--limit", "1")
    found = json.loads(out)
    assert found["answered"] is True
    (citation,) = found["citations"]
    assert (citation["knowledge"], citation["document"]) == ("handbook@1", "returns.md")
    assert found["answer"] == f"{citation['quote']} [1]"
    _, out, _ = run("ask", "handbook", "Who painted it?", "--json")
    assert json.loads(out)["answered"] is False


@pytest.mark.parametrize(
    ("narrow", "coins"),
    [
        (("--as-of", "2026-03-01"), "nine"),
        (("--as-of", "2026-06-10"), "nine|eleven"),
        (("--as-of", "2026-06-10T08:00"), "nine"),
        (("--where", "year>=2026"), "eleven"),
        (("--where", "year!=2026"), "nine"),
        (("--where", "year=2025", "--where", "year<2026"), "nine"),
        (("--where", "year=1999"), ""),
    ],
)
def test_time_and_metadata_narrow_what_may_answer(run, narrow, coins):
    _, out, _ = run("ask", "prices", "What does a ferry ticket cost?", "--json", *narrow)
    quoted = {one["quote"] for one in json.loads(out)["citations"]}
    assert {word for word in ("nine", "eleven") if any(word in text for text in quoted)} == set(
        filter(None, coins.split("|"))
    )


def test_a_citation_says_when_it_was_published(run):
    _, out, _ = run("ask", "prices", "What does a ferry ticket cost?", "--as-of", "2026-03-01")
    assert "published 2026-01-10 08:30 UTC" in out
    assert "https://ferry.example/2025" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("handbok", "x"), "Did you mean handbook"),
        (("handbook@7", "x"), "handbook@7"),
        ((",", "x"), "No knowledge base is named"),
        (("prices", "x", "--as-of", "May"), "'May' is not a time"),
        (("prices", "x", "--where", "year"), "'year' is not a condition"),
        (
            ("prices", "What does a ferry ticket cost?", "--model", "nobody/nothing"),
            "nobody/nothing",
        ),
    ],
)
def test_a_mistake_is_named_with_its_remedy(run, arguments, said):
    code, out, err = run("ask", *arguments)
    assert code == 1
    assert said in err
    assert not out


def test_a_day_is_meant_to_its_end_and_times_are_utc():
    assert _moment("") is None
    assert _moment("2026-11-01T12:00") == _moment("2026-11-01T13:00+01:00") == 1793534400
    assert _moment("2026-11-01T00:00") < _moment("2026-11-01") < _moment("2026-11-02T00:00")


def test_a_base_is_measured_on_questions_of_its_own(run):
    code, out, _ = run("eval", "handbook")
    assert code == 0
    assert "made from its own sentences and headings" in " ".join(out.split())
    for figure in ("recall@1", "ndcg@10", "cited", "declined"):
        assert figure in out
    _, out, _ = run("eval", "handbook@1", "--json")
    found = json.loads(out)
    assert found["knowledge"] == "handbook@1"
    assert found["made"] is True
    assert found["questions"] > 20
    assert 0.5 < found["recall_at_3"] <= 1


def test_a_base_is_measured_on_the_questions_that_are_given(run, tmp_path):
    file = tmp_path / "questions.jsonl"
    asked = "Within how many days may an unused product be returned?"
    rows = [{"question": asked, "document": name} for name in ("returns.md", "warranty.md")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = run("eval", "handbook", "--questions", str(file), "--json")
    found = json.loads(out)
    assert (found["made"], found["questions"]) == (False, 2)
    assert found["cited"] == found["declined"] == 0.5
    file.write_text("[]")
    code, _, err = run("eval", "handbook", "--questions", str(file))
    assert code == 1
    assert "questions.jsonl:1" in err
