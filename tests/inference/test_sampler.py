"""Tokens are chosen as their settings say, alone and beside others, and broken numbers hurt nobody else."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baigong.errors import BaigongError, InvalidInput
from baigong.inference.engine.batch import Sequence
from baigong.inference.engine.sampler import BROKEN, sample, uniform
from baigong.types import Sampling
from tests.inference.local import LocalEngine
from tests.models import make_adapter, make_model

PROMPT = [(7 * i) % 256 for i in range(24)]


def sequence(
    number: int = 0, ids: tuple[int, ...] = (1,), answer: tuple[int, ...] = (), **options: Any
) -> Sequence:
    made = Sequence(number, list(ids), 999, Sampling(**options), frozenset(), None)
    made.ids += answer
    return made


def shares(logits: list[float], one: Sequence) -> list[float]:
    """The distribution that a sequence's settings describe, the plain way."""
    s, answer = one.sampling, Counter(one.ids[one.prompt :])
    changed = []
    for id, logit in enumerate(logits):
        value = logit + s.logit_bias.get(id, 0)
        if id in one.ids:
            value = value / s.repetition_penalty if value > 0 else value * s.repetition_penalty
        value -= s.frequency_penalty * answer[id] + s.presence_penalty * (id in answer)
        changed.append(value / s.temperature)
    top = max(changed)
    weights = {id: math.exp(value - top) for id, value in enumerate(changed)}
    weights = {id: weight for id, weight in weights.items() if weight >= s.min_p}
    order = sorted(weights, key=lambda id: -weights[id])[: s.top_k or None]
    whole, before, kept = sum(weights[id] for id in order), 0.0, {}
    for id in order:
        if before >= s.top_p * whole:
            break
        kept[id] = weights[id]
        before += weights[id]
    return [kept.get(id, 0.0) / sum(kept.values()) for id in range(len(logits))]


@settings(max_examples=40, deadline=None)
@given(
    logits=st.lists(st.floats(-4, 4), min_size=3, max_size=8),
    temperature=st.sampled_from([0.5, 1.0, 1.7]),
    top_p=st.sampled_from([1.0, 0.8, 0.45]),
    top_k=st.sampled_from([0, 0, 2]),
    min_p=st.sampled_from([0.0, 0.25]),
    presence=st.sampled_from([0.0, 0.8]),
    frequency=st.sampled_from([0.0, 0.5, -0.5]),
    repetition=st.sampled_from([1.0, 1.4, 0.8]),
    bias=st.sampled_from([{}, {1: 2.0}, {0: -100.0, 2: 1.0}]),
)
def test_tokens_are_drawn_from_the_distribution_described(
    logits: list[float],
    temperature: float,
    top_p: float,
    top_k: int,
    min_p: float,
    presence: float,
    frequency: float,
    repetition: float,
    bias: dict[int, float],
) -> None:
    logits = [round(logit, 2) + id * 0.003 for id, logit in enumerate(logits)]  # no ties
    drawn = [
        sequence(
            seed,
            (0, 1),
            (1, 2, 2),
            seed=seed,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            presence_penalty=presence,
            frequency_penalty=frequency,
            repetition_penalty=repetition,
            logit_bias=bias,
        )
        for seed in range(600)
    ]
    expected = shares(logits, drawn[0])
    counts = Counter(sample(torch.tensor([logits] * len(drawn)), drawn))
    assert all(expected[id] > 0 for id in counts)
    for id, share in enumerate(expected):
        deviation = math.sqrt(share * (1 - share) / len(drawn))
        assert abs(counts[id] / len(drawn) - share) <= 5 * deviation + 0.01


def test_a_long_list_of_candidates_is_drawn_from_as_a_short_one() -> None:
    # Nearly flat, so that the likeliest few hundred of 9,000 hold little of the weight.
    logits = torch.randn(1, 9000, generator=torch.Generator().manual_seed(2)).mul_(0.1)
    one = sequence(temperature=1.0, top_p=0.7, seed=0)
    expected = torch.tensor(shares(logits[0].tolist(), one), dtype=torch.float64)
    order = logits[0].argsort(descending=True)
    sums = expected[order].cumsum(0)
    many = [sequence(seed, temperature=1.0, top_p=0.7, seed=seed) for seed in range(200)]
    peaked = logits.clone()
    peaked[0, 5] = 20.0
    mixed = torch.cat([logits] * 100 + [peaked] + [logits] * 100)
    drawn = sample(mixed, [*many[:100], one, *many[100:]])
    assert drawn.pop(100) == 5
    for token, seed in zip(drawn, range(200), strict=True):
        share = uniform(seed, 1)
        place = int((order == token).nonzero())
        assert sums[place] >= share - 1e-4
        assert sums[place] - expected[token] <= share + 1e-4
    assert max(int((order == token).nonzero()) for token in drawn) > 256


def test_a_batch_is_left_as_it_is_and_only_rows_that_ask_differ() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 50)
    before, greedy = logits.clone(), logits.argmax(-1).tolist()
    mixed = [sequence(n) for n in range(6)]
    mixed[1] = sequence(1, logit_bias={7: 100.0})
    mixed[4] = sequence(4, logit_bias={greedy[4]: -100.0}, temperature=1e-30)
    tokens = sample(logits, mixed)
    assert torch.equal(logits, before)
    assert [tokens[n] for n in (0, 2, 3, 5)] == [greedy[n] for n in (0, 2, 3, 5)]
    assert tokens[1] == 7
    assert tokens[4] == logits[4].topk(2).indices[1]  # the coldest temperature is greedy too


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"logit_bias": {1: 5.0}}])
def test_a_row_that_is_not_finite_is_broken_and_no_other(
    number: float, options: dict[str, Any]
) -> None:
    logits = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    every = [sequence(n, seed=n, **options) for n in range(3)]
    expected = sample(logits, every)
    logits[1, 5] = number
    assert sample(logits, every) == [expected[0], BROKEN, expected[2]]


def transformers_logits(folder: Path, ids: list[int]) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def test_repetition_penalty_equals_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "m")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    row = torch.tensor([PROMPT])
    with torch.inference_mode():
        out = model.generate(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            max_new_tokens=30,
            do_sample=False,
            repetition_penalty=1.6,
            eos_token_id=None,
            pad_token_id=0,
        )
    expected = out[0, len(PROMPT) :].tolist()
    engine = LocalEngine(folder, prefill_tokens=10)
    engine.submit(1, PROMPT, max_tokens=30)
    assert engine.run(2, PROMPT, max_tokens=30, repetition_penalty=1.6) == expected
    assert engine.tokens[1] != expected


def test_penalties_look_at_the_answer_and_not_at_the_prompt(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    engine = LocalEngine(folder)
    tokens = engine.run(
        1, PROMPT, max_tokens=30, frequency_penalty=1.5, presence_penalty=2.0, logit_bias={65: 3.0}
    )
    logits = transformers_logits(folder, PROMPT + tokens)
    for place, token in enumerate(tokens):
        row, said = logits[len(PROMPT) + place - 1].clone(), Counter(tokens[:place])
        row[65] += 3
        for id, count in said.items():
            row[id] -= 1.5 * count + 2
        assert token == row.argmax()
    assert len(set(tokens)) > len(set(engine.run(2, PROMPT, max_tokens=30)))


def test_a_seed_gives_the_same_alone_and_in_a_batch_whatever_is_asked(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), prefill_tokens=16)
    choices: list[dict[str, Any]] = [
        {"temperature": 1.0, "seed": 7, "min_p": 0.1},
        {"temperature": 0.8, "seed": 7, "presence_penalty": 1.0, "frequency_penalty": 0.3},
        {"temperature": 1.3, "seed": 8, "top_p": 0.9, "repetition_penalty": 1.2},
        {"temperature": 1.3, "seed": 9, "logit_bias": {5: 2.0}, "logprobs": 3},
    ]
    alone = [engine.run(n, PROMPT, **choice) for n, choice in enumerate(choices)]
    for n, choice in enumerate(choices):
        engine.submit(10 + n, PROMPT, **choice)
        engine.submit(20 + n, PROMPT[n:], temperature=1.0)
        engine.step()
    engine.finish(*range(10, 14), *range(20, 24))
    assert [engine.tokens[10 + n] for n in range(4)] == alone


def test_penalties_survive_a_loss_of_the_cache(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    roomy, tight = LocalEngine(folder), LocalEngine(folder, cache_tokens=512)
    for engine in (roomy, tight):
        for number in range(6):
            engine.submit(
                number, PROMPT[number:], max_tokens=200, frequency_penalty=0.4, logprobs=1
            )
        engine.finish(*range(6))
    assert tight.tokens == roomy.tokens
    assert max(step.waiting for step in tight.steps) > 0


def test_bias_outside_the_vocabulary_is_named(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"))
    engine.submit(1, PROMPT, logit_bias={259: 1.0})
    engine.finish(1)
    assert isinstance(engine.errors[1], InvalidInput)
    assert engine.errors[1].param == "logit_bias"
    assert "259 is not a token id" in str(engine.errors[1])


def test_a_model_that_gives_nan_ends_its_own_requests_alone(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    broken = make_adapter(tmp_path / "a", folder, targets=("q_proj", "v_proj"), scale=math.nan)
    engine = LocalEngine(folder, cache_tokens=512)
    expected = engine.run(1, PROMPT, max_tokens=40)
    engine.add_adapter(2, "broken", broken)
    engine.submit(3, PROMPT, max_tokens=40)
    engine.step(3)
    engine.submit(4, PROMPT, max_tokens=40, adapter="broken")
    engine.submit(5, PROMPT, max_tokens=40, adapter="broken", temperature=1.0)
    engine.submit(6, PROMPT, max_tokens=40)
    engine.finish(3, 4, 5, 6)
    for id in (4, 5):
        assert type(engine.errors[id]) is BaigongError
        assert engine.errors[id].code == "not_finite"
        assert "not finite after 24 tokens" in str(engine.errors[id])
    assert engine.tokens[3] == engine.tokens[6] == expected
    assert engine.steps[-1].cached_tokens == 0
    for id in range(10, 18):  # in whatever place of the cache: nothing of it is left behind
        engine.submit(id, PROMPT[: 3 * (id - 8)], max_tokens=40)
        engine.submit(10 + id, PROMPT, max_tokens=40)
    engine.finish(*range(10, 18), *range(20, 28))
    assert all(engine.tokens[id] == expected for id in range(20, 28))
    assert not engine.errors.keys() & set(range(10, 28))
