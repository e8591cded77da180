"""Logprobs are those of the model's own distribution, of answers and of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baigong.inference.engine.messages import Scores
from tests.inference.local import LocalEngine
from tests.models import make_adapter, make_model

PROMPT = [(7 * i) % 256 for i in range(90)]


def log_shares(folder: Path, ids: list[int]) -> Tensor:
    """[len(ids), vocabulary] by transformers: row i is of what follows ids[:i + 1]."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        shares: Tensor = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return shares


def check(scores: Scores, shares: Tensor, token: int, count: int) -> None:
    assert scores.logprob == pytest.approx(float(shares[token]), abs=1e-4)
    likeliest = shares.topk(count)
    assert scores.ids == likeliest.indices.tolist()
    assert scores.logprobs == pytest.approx(likeliest.values.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.4, "seed": 1, "top_p": 0.9},
        {"frequency_penalty": 1.0, "logit_bias": {3: 5.0}},
    ],
)
def test_an_answers_logprobs_are_the_models_whatever_shaped_it(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = make_model(tmp_path / "m")
    engine = LocalEngine(folder)
    engine.submit(1, PROMPT[:20])
    engine.submit(2, PROMPT[:9], logprobs=0)
    tokens = engine.run(3, PROMPT, logprobs=4, **options)
    engine.finish(1, 2)
    shares = log_shares(folder, PROMPT + tokens)
    for place, news in enumerate(engine.news[3]):
        assert news.scores is not None
        check(news.scores, shares[len(PROMPT) + place - 1], news.id, 4)
    assert all(news.scores is None for news in engine.news[1])
    assert all(news.scores is not None and news.scores.ids == [] for news in engine.news[2])


@pytest.mark.parametrize("prefill_tokens", [1, 7, 89, 1024])
def test_a_prompts_logprobs_equal_transformers_however_it_is_cut(
    tmp_path: Path, prefill_tokens: int
) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    engine = LocalEngine(folder, prefill_tokens=prefill_tokens)
    engine.submit(1, PROMPT[:5], max_tokens=60)
    engine.step()
    tokens = engine.run(2, PROMPT, logprobs=2, scores_prompt=True, max_tokens=3)
    shares = log_shares(folder, PROMPT)
    told = engine.news[2][0].prompt
    assert len(told) == len(PROMPT) - 1
    for place, scores in enumerate(told, start=1):
        check(scores, shares[place - 1], PROMPT[place], 2)
    total = shares[:-1].gather(-1, torch.tensor(PROMPT[1:]).unsqueeze(-1)).sum()
    assert sum(scores.logprob for scores in told) == pytest.approx(float(total), rel=1e-5)
    assert all(news.prompt == [] for news in engine.news[2][1:])
    assert tokens == engine.run(3, PROMPT, max_tokens=3)


def test_a_prompt_is_scored_once_though_it_loses_its_place(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    tight = LocalEngine(folder, cache_tokens=512, prefill_tokens=20)
    for number in range(6):
        tight.submit(number, PROMPT[number:], max_tokens=150, logprobs=0, scores_prompt=True)
    tight.finish(*range(6))
    assert max(step.waiting for step in tight.steps) > 0
    shares = log_shares(folder, PROMPT[5:])
    for number in range(6):
        assert [len(news.prompt) for news in tight.news[number]] == [89 - number] + 149 * [0]
    for place, scores in enumerate(tight.news[5][0].prompt, start=1):
        check(scores, shares[place - 1], PROMPT[5 + place], 0)


def test_an_adapter_scores_with_its_own_weights(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    engine = LocalEngine(folder)
    engine.add_adapter(1, "a", make_adapter(tmp_path / "a", folder))
    for number, adapter in ((2, None), (3, "a")):
        engine.submit(number, PROMPT, logprobs=0, scores_prompt=True, adapter=adapter)
    engine.finish(2, 3)
    base, tuned = (engine.news[number][0].prompt for number in (2, 3))
    assert sum(s.logprob for s in base) != pytest.approx(sum(s.logprob for s in tuned))


def test_a_prompt_of_one_token_has_nothing_to_score(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"))
    engine.run(1, [5], logprobs=1, scores_prompt=True)
    assert engine.news[1][0].prompt == []
