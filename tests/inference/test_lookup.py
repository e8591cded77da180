"""Guessing changes how many steps an answer takes, and nothing else."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from baigong.inference.client import Engine
from baigong.inference.engine.__main__ import load
from baigong.inference.engine.batch import Sequence
from baigong.inference.engine.lookup import Lookup
from baigong.inference.engine.messages import Abort, EngineConfig
from baigong.inference.engine.sampler import BROKEN
from baigong.inference.engine.scheduler import Scheduler
from baigong.inference.text import stream_text
from baigong.model.chat import ChatTokenizer
from baigong.types import Sampling
from tests.inference.local import LocalEngine
from tests.models import ARCHITECTURES, END, make_adapter, make_counter, make_model

# A model that counts goes on as the first of these does, as none, and otherwise than the third.
QUOTING = [*range(10, 60), 200, *range(10, 14)]
FRESH = [7, 90]
TEMPTING = [*range(10, 20), *range(100, 120), *range(15, 20), *range(130, 150), *range(10, 14)]
BOTH = [
    pytest.param(
        True, marks=pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
    ),
    False,
]


def pair(folder: Path, **config: Any) -> tuple[LocalEngine, LocalEngine]:
    """The same engine with guessing and without."""
    return LocalEngine(folder, **config), LocalEngine(folder, lookup=False, **config)


def check_same(engines: tuple[LocalEngine, LocalEngine], *ids: int) -> None:
    """Both said the same about these requests, though only one of them leapt."""
    guessing, plain = engines
    for id in ids:
        assert guessing.tokens[id] == plain.tokens[id]
        assert guessing.reasons[id] == plain.reasons[id]
        for mine, other in zip(guessing.news[id], plain.news[id], strict=True):
            assert len(mine.prompt) == len(other.prompt)
            if mine.scores is not None and other.scores is not None:
                assert mine.scores.ids == other.scores.ids
                assert mine.scores.logprob == pytest.approx(other.scores.logprob, abs=1e-4)
            assert (mine.scores is None) == (other.scores is None)
    assert leaps(guessing) > 0 and leaps(plain) == 0


def leaps(engine: LocalEngine) -> int:
    """How often a request got more than one token in a step."""
    each = [Counter(token.request for token in step.tokens) for step in engine.steps]
    return sum(count > 1 for counts in each for count in counts.values())


@pytest.mark.parametrize("native", BOTH)
def test_what_was_said_before_comes_several_tokens_a_step(tmp_path: Path, native: bool) -> None:
    engine = LocalEngine(make_counter(tmp_path / "m"), native=native)
    assert engine.run(1, QUOTING, max_tokens=40) == list(range(14, 54))
    assert len(engine.steps) < 12
    assert [len(step.tokens) for step in engine.steps if step.tokens][:4] == [1, 1, 3, 6]
    before = len(engine.steps)
    assert engine.run(2, FRESH, max_tokens=40) == list(range(91, 131))
    assert len(engine.steps) - before == 40  # nothing to be guessed, nothing guessed


@pytest.mark.parametrize("native", BOTH)
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])  # one has windows
def test_a_mixed_batch_says_the_same(tmp_path: Path, kind: str, native: bool) -> None:
    folder = make_counter(tmp_path / "m", kind)
    engines = pair(folder, native=native, prefill_tokens=32)
    options: list[dict[str, Any]] = [
        {},
        {"temperature": 1.0, "seed": 3},
        {"adapter": "a"},
        {"logprobs": 3},
        {"temperature": 0.3, "seed": 4, "top_p": 0.9, "adapter": "a"},
        {"frequency_penalty": 0.4},
        {"temperature": 0.5, "seed": 5, "top_k": 5},
    ]
    adapter = make_adapter(tmp_path / "a", folder, scale=0.5)
    for engine in engines:
        engine.add_adapter(100, "a", adapter)
        for id, each in enumerate(options):
            engine.submit(id, (QUOTING, TEMPTING)[id % 2][id // 2 :], 120, **each)
            engine.step()
        engine.finish(*range(len(options)))
    check_same(engines, *range(len(options)))
    assert engines[0].steps[-1].cached_tokens == 0


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_kind_of_attention_takes_guesses_back(tmp_path: Path, kind: str) -> None:
    # Gemma's own norms make nothing small, and its random weights end in loops.
    make = make_model if kind in ("gemma2", "gemma3_text") else make_counter
    engines = pair(make(tmp_path / "m", kind), native=False)
    for engine in engines:
        engine.run(1, QUOTING, max_tokens=120, logprobs=2)
        engine.run(2, TEMPTING, max_tokens=60, logprobs=2)
        engine.run(3, TEMPTING, max_tokens=120, temperature=0.8, seed=1, logprobs=2)
    check_same(engines, 1, 2, 3)


@pytest.mark.parametrize("native", BOTH)
def test_a_seed_and_logprobs_know_nothing_of_guesses(tmp_path: Path, native: bool) -> None:
    engines = pair(make_counter(tmp_path / "m"), native=native)
    for engine in engines:
        for seed in range(6):
            engine.submit(seed, QUOTING, 40, temperature=1.0, seed=seed, logprobs=2)
        engine.submit(6, QUOTING, 40, logprobs=1, scores_prompt=True)
        engine.finish(*range(7))
    check_same(engines, *range(7))
    assert len({tuple(engines[0].tokens[seed]) for seed in range(6)}) > 3  # guesses went wrong


@pytest.mark.parametrize("length", range(1, 30))
def test_an_answer_ends_in_the_middle_of_a_guess(tmp_path: Path, length: int) -> None:
    engine = LocalEngine(make_counter(tmp_path / "m"))
    end = 13 + length
    assert engine.run(1, QUOTING, max_tokens=length) == list(range(14, end + 1))
    assert engine.reasons[1] == "length"
    assert engine.run(2, QUOTING, max_tokens=99, stop_ids=[END, end]) == list(range(14, end + 1))
    assert engine.reasons[2] == "stop"
    assert engine.steps[-1].cached_tokens == 0
    # What is kept of them is what was right.
    assert engine.run(3, [*QUOTING, *range(14, end + 1), 3], max_tokens=3) == [4, 5, 6]


def test_an_answer_may_fill_the_context_and_the_cache(tmp_path: Path) -> None:
    folder = make_counter(tmp_path / "m", max_position_embeddings=256)
    engines = pair(folder, cache_tokens=512)
    for engine in engines:
        for id in range(5):
            engine.submit(id, QUOTING[id:], max_tokens=300)
        engine.finish(*range(5))
    check_same(engines, *range(5))
    assert [len(engines[0].tokens[id]) for id in range(5)] == [256 - 55 + id for id in range(5)]
    assert max(step.waiting for step in engines[0].steps) > 0


def test_changed_logits_are_not_guessed_at(tmp_path: Path) -> None:
    folder = make_counter(tmp_path / "m")
    engine = LocalEngine(folder)
    tokens = engine.run(1, QUOTING, max_tokens=20, logit_bias={3: 1.0})
    assert tokens == list(range(14, 34))
    assert len(engine.steps) == 20


def test_an_aborted_answer_leaves_nothing(tmp_path: Path) -> None:
    engine = LocalEngine(make_counter(tmp_path / "m"))
    engine.submit(1, QUOTING, max_tokens=300)
    engine.step(4)
    assert leaps(engine) > 0
    engine.tell(Abort(1))
    assert engine.run(2, QUOTING, max_tokens=40) == list(range(14, 54))
    assert len(engine.tokens[1]) < 300 and engine.steps[-1].cached_tokens == 0


def test_no_more_rows_than_pay(tmp_path: Path) -> None:
    engine = LocalEngine(make_counter(tmp_path / "m"), native=False)
    for id in range(10):
        engine.submit(id, QUOTING, max_tokens=40)
    engine.step(3)
    assert max(len(step.tokens) for step in engine.steps) == 10  # sixteen rows are not two for each
    for id in range(3, 10):
        engine.tell(Abort(id))
    engine.step(4)
    assert max(len(step.tokens) for step in engine.steps) == 15


@torch.inference_mode()
def test_numbers_that_break_behind_a_wrong_guess_are_forgotten(tmp_path: Path) -> None:
    model, _ = load(make_counter(tmp_path / "m"), EngineConfig(dtype="float32"))
    scheduler = Scheduler(model.cache, 4, 4, 512, 0.1, draft_rows=16)
    for id in range(2):
        sequence = Sequence(id, [*QUOTING, 14], 500, Sampling(), frozenset(), None)
        scheduler.add(sequence)
    for token in (15, 16):  # what is guessed is agreed on by now
        first = scheduler.next_batch()
        assert first is not None and first.finished == list(first.sequences)
        scheduler.accept(first, [token] * 2, [None] * 2)
    batch = scheduler.next_batch()
    assert batch is not None and batch.due == list(batch.counts) == [3, 3]
    assert batch.num_prompt_tokens == 0 and batch.num_tokens == 6
    wrong, right = batch.sequences
    news, broken = scheduler.accept(batch, [99, BROKEN, 1, 17, BROKEN, 1], [None] * 6)
    assert [(token.request, token.id) for token in news] == [(wrong.id, 99), (right.id, 17)]
    assert broken == [right] and scheduler.num_running == 1
    assert wrong.computed == 0 and wrong.ids == [*QUOTING, 14, 15, 16, 99]
    again = scheduler.next_batch()
    assert again is not None and again.counts == [len(wrong.ids)]


def test_guesses_follow_the_last_place_that_was_alike() -> None:
    ids = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 30, 31, 32, 33, 34, 1, 2]
    lookup = Lookup(ids)
    assert lookup.draft(9) == []  # two alike are not enough
    ids.append(30)
    assert lookup.draft(9) == [31, 32]
    assert lookup.draft(1) == [31]
    ids += [31, 32, 33]
    assert lookup.draft(9) == [34, 1, 2, 30, 31]
    ids.append(50)
    assert lookup.draft(9) == []


def test_a_loop_is_guessed_round_and_round() -> None:
    ids = [9, 1, 2]
    lookup = Lookup(ids)
    ids += [1, 2, 1, 2, 1]
    assert lookup.draft(3) == [2, 1, 2]
    ids += [2, 1, 2, 1]
    assert lookup.draft(5) == [2, 1, 2, 1, 2]


def test_after_wrong_guesses_more_has_to_agree() -> None:
    ids = [*range(40), 0, 1]
    lookup = Lookup(ids)
    ids.append(2)
    assert lookup.draft(4) == [3, 4]
    lookup.learn(2, 0)
    needed = []
    for id in range(3, 20):
        needed.append(bool(lookup.draft(4)))
        ids.append(id)
    assert needed == [False] * 3 + [True] * 14
    lookup.learn(4, 4)
    ids += [99, 0, 1, 2]
    assert lookup.draft(4) == [3, 4]


@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.anyio
async def test_a_stop_string_within_a_guess_cuts_what_comes_after(
    tmp_path: Path, lookup: bool
) -> None:
    folder = make_counter(tmp_path / "m")
    tokenizer = ChatTokenizer(folder)
    text = tokenizer.decode(list(range(14, 60)))
    engine = await Engine.start(folder, EngineConfig(threads=1, lookup=lookup))
    try:
        sampling = Sampling(max_tokens=40, stop=(text[17:19],))
        deltas = [delta async for delta in stream_text(engine, tokenizer, QUOTING, sampling)]
        assert "".join(delta.text for delta in deltas) == text[:17]
        assert sum(delta.tokens for delta in deltas) == 19
        assert deltas[-1].finish_reason == "stop"
        sampling = Sampling(max_tokens=40)
        deltas = [delta async for delta in stream_text(engine, tokenizer, QUOTING, sampling)]
        assert "".join(delta.text for delta in deltas) == text[:40]
        assert sum(delta.tokens for delta in deltas) == 40
    finally:
        await engine.close()
