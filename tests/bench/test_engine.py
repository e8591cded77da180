"""The benchmark's own arithmetic: a wrong verdict or a lost row would be believed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.engine.compare import compare
from bench.engine.own import looking_up
from bench.engine.peers import Peer
from bench.engine.play import CannotPlay, Heard, Play, Request, one_wave
from bench.engine.report import Row, Seen, keep
from bench.engine.shapes import Shape
from bench.engine.stage import Stage
from bench.engine.works import WORKS

TINY = Shape("tiny", 64, 2, 2, 1, 32, 128, 259, "float32", 6, 1)
GENERATE = Peer("transformers generate", "transformers", {"decode, 8 streams": 0.0})


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(TINY, tmp_path, threads=1, runs=1, limits={})


def test_the_first_run_does_not_count_and_the_best_of_the_others_does() -> None:
    assert Seen("tokens/s", [900, 10, 30, 20]).best == 30
    assert Seen("ms", [1, 10, 30, 20]).best == 10
    assert Seen("ms", [1]).best is None


def test_less_is_better_in_milliseconds_and_more_in_rates() -> None:
    faster, slower = Seen("ms", [0, 10]), Seen("ms", [0, 20])
    assert Row.of("w", "p", faster, slower, 0.6).met is True
    assert Row.of("w", "p", slower, faster, 1.1).met is False
    assert Row.of("w", "p", faster, Seen("ms"), 150).met is True
    rates = Seen(figures=[0, 10]), Seen(figures=[0, 20])
    assert Row.of("w", "p", *rates, 0.6).met is False
    assert Row.of("w", "p", Seen(), rates[1], 1.0).met is None


def test_new_rows_replace_those_for_the_same_work_and_peer(tmp_path: Path) -> None:
    path = tmp_path / "results" / "engine.json"

    def row(work: str, peer: str, rate: float, kinds: int) -> Row:
        each: dict[str, float | None] = {str(kind): 1.0 for kind in range(kinds)}
        figures = Seen(figures=[0, rate]), Seen(figures=[0, 1])
        return Row.of(work, peer, *figures, None, each=each)

    first = [row("a [int8 / Q8_0]", "p", 1, 6), row("a [x]", "q", 2, 2), row("a [y]", "q", 3, 2)]
    keep(path, first, {}, {"torch": "1"})
    keep(path, [row("a [int4 / Q4_0]", "p", 4, 6), row("a [y]", "q", 5, 2)], {}, {"peft": "2"})
    kept = json.loads(path.read_text("utf-8"))
    assert [(one["work"], one["peer"], one["ours"]) for one in kept["rows"]] == [
        ("a [x]", "q", 2),
        ("a [int4 / Q4_0]", "p", 4),
        ("a [y]", "q", 5),
    ]
    assert kept["versions"] == {"torch": "1", "peft": "2"}


def test_prompts_are_the_same_for_every_side_and_new_in_every_run(stage: Stage) -> None:
    work = WORKS["prefill 8 x 512 beside 32 streams"]
    assert work.play(stage, 1) == work.play(stage, 1)
    first, second = ({tuple(one.ids) for one in work.play(stage, run).requests} for run in (1, 2))
    assert len(first) == 40 and not first & second


def test_a_rate_counts_prompts_only_where_one_token_is_made() -> None:
    play = Play([Request([1] * 16, 4), Request([1] * 512, 1, wave=1)])
    heard = [Heard(4, [0.5, 2.0]), Heard(1, [1.0])]
    assert WORKS["decode, 1 stream"].rate(play, heard) == pytest.approx((4 + 512) / 2.0)


def test_a_play_survives_the_pipe() -> None:
    play = Play([Request([1, 2], 3, "a", 1)], {"a": "folder"}, "beside")
    assert Play.of(json.loads(json.dumps(asdict(play)))) == play


def test_static_batches_refuse_what_they_cannot_do() -> None:
    with pytest.raises(CannotPlay):
        one_wave(Play([Request([1], 3), Request([1, 2], 3)]))


def test_two_real_sides_make_the_same_tokens_and_a_row(stage: Stage) -> None:
    (row,) = compare(stage, GENERATE, "", None)
    assert row.agree == 1.0
    assert row.ours and row.theirs and row.met
    assert row.work == "tiny: decode, 8 streams [float32 / float32]"


def test_a_side_that_cannot_start_leaves_a_row_that_says_why(stage: Stage) -> None:
    broken = Peer("broken", "nobody", {"decode, 8 streams": 1.0})
    (row,) = compare(stage, broken, "", ["none"])
    assert row.ours is None and row.theirs is None and row.met is None
    assert "No module named" in row.note


def test_a_best_row_is_not_met_while_one_of_their_sides_failed(stage: Stage) -> None:
    pairs = (("float32", "float32"), ("float32", "float7"))
    peer = Peer("transformers generate", "transformers", {"decode, 8 streams": 0.0}, pairs, True)
    (row,) = compare(stage, peer, "", None)
    assert row.ratio and row.met is None
    assert "theirs float7" in row.note and row.each["theirs float7"] is None


def test_guessing_is_measured_where_it_can_help_and_where_it_cannot(stage: Stage) -> None:
    rows = list(looking_up(stage))
    assert [row.work.partition(" [")[0] for row in rows] == [
        f"tiny: an answer {what}, {streams} streams"
        for what in ("quoted from the prompt", "that nothing foretells")
        for streams in (1, 8)
    ]
    assert all(row.ratio and not row.note for row in rows)
