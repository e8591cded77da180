"""A model that goes on by itself for several rounds says what it says when asked for each token."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from baigong.inference.engine.messages import Abort
from tests.inference.local import LocalEngine
from tests.models import make_adapter, make_model

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")

PROMPTS = [[(n * 31 + 7 * i * i) % 256 for i in range(size)] for n, size in enumerate((70, 3, 33))]


def engines(folder: Path, **config: Any) -> tuple[LocalEngine, LocalEngine]:
    """One that goes on by itself whenever it can, and torch's, which cannot."""
    going = LocalEngine(folder, rounds=8, lookup=False, **config)
    return going, LocalEngine(folder, native=False, lookup=False, **config)


def check_same(pair: tuple[LocalEngine, LocalEngine], *ids: int) -> None:
    going, plain = pair
    assert {id: going.tokens[id] for id in ids} == {id: plain.tokens[id] for id in ids}
    assert {id: going.reasons[id] for id in ids} == {id: plain.reasons[id] for id in ids}


def largest_step(engine: LocalEngine) -> int:
    """Most tokens that a sequence was given in one step."""
    return max(
        [token.request for token in step.tokens].count(id)
        for step in engine.steps
        for id in {token.request for token in step.tokens}
    )


def test_answers_are_the_same_and_take_fewer_steps(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    pair = engines(folder)
    for engine in pair:
        engine.add_adapter(90, "a", make_adapter(tmp_path / "a", folder))
        for id, ids in enumerate(PROMPTS):
            engine.submit(id, ids, max_tokens=50 + 7 * id, adapter="a" if id else None)
        engine.finish(0, 1, 2)
    check_same(pair, 0, 1, 2)
    assert largest_step(pair[0]) > 1 and len(pair[0].steps) < len(pair[1].steps)
    assert sum(len(step.tokens) for step in pair[0].steps) == 50 + 57 + 64


def test_a_stop_in_the_middle_ends_the_answer_there(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    pair = engines(folder)
    said = pair[1].run(99, PROMPTS[1], max_tokens=60)
    for id, stop in enumerate(said[20:40]):
        for engine in pair:
            engine.run(id, PROMPTS[1], max_tokens=60, stop_ids=[stop])
        check_same(pair, id)
        assert pair[0].tokens[id][-1] == stop and pair[0].reasons[id] == "stop"


def test_the_room_of_the_cache_and_the_context_is_never_left(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", max_position_embeddings=150)
    pair = engines(folder)
    for engine in pair:
        engine.submit(1, PROMPTS[0], max_tokens=1000)
        engine.submit(2, PROMPTS[1], max_tokens=1000)
        engine.finish(1, 2)
    check_same(pair, 1, 2)
    assert len(PROMPTS[0] + pair[0].tokens[1]) == 150 and pair[0].reasons[1] == "length"


def test_what_is_drawn_scored_or_penalised_is_asked_for_each_token(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    pair = engines(folder)
    asked: list[dict[str, Any]] = [
        {"temperature": 0.8, "seed": 3},
        {"logprobs": 2},
        {"frequency_penalty": 1.0},
        {},
    ]
    for engine in pair:
        for id, options in enumerate(asked):
            engine.submit(id, PROMPTS[2], max_tokens=30, **options)
        engine.finish(*range(4))
    check_same(pair, *range(4))
    assert pair[0].news[1][5].scores is not None


@torch.inference_mode()
def test_numbers_that_break_in_a_later_round_end_their_own_answer_alone(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    plain = LocalEngine(folder, native=False)
    said = plain.run(9, PROMPTS[1], max_tokens=40)
    broken = next(id for id in said[12:] if id not in said[:12])
    alone = plain.run(8, PROMPTS[2], max_tokens=40)
    if broken in alone:
        alone = alone[: alone.index(broken) + 1]
    _break(folder, broken)
    engine = LocalEngine(folder, rounds=8, lookup=False)
    engine.submit(1, PROMPTS[1], max_tokens=40)
    engine.submit(2, PROMPTS[2], max_tokens=40)
    engine.finish(1, 2)
    assert engine.errors[1].code == "not_finite"
    assert engine.tokens[1] == said[: said.index(broken) + 1]
    assert engine.tokens[2] == alone


def test_one_that_is_aborted_leaves_the_others(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    engine, plain = engines(folder)
    engine.submit(1, PROMPTS[0], max_tokens=400)
    engine.submit(2, PROMPTS[2], max_tokens=60)
    engine.step(4)
    engine.tell(Abort(1))
    engine.finish(2)
    assert engine.tokens[2] == plain.run(2, PROMPTS[2], max_tokens=60)
    assert engine.steps[-1].running == 0


def _break(folder: Path, token: int) -> None:
    """Make the embedding of one token NaN."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.embed_tokens.weight"][token] = float("nan")
    save_file(weights, path, {"format": "pt"})
