"""Rewards that a program gives: a tiny model learns what earns them, and a kill changes no bit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from baigong.errors import InvalidInput
from baigong.graders import Grader, Number, StringCheck
from baigong.model.chat import ChatTokenizer
from baigong.tuning.generate import generate
from baigong.tuning.learners.grpo import Grpo
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import TuneSpec
from baigong.tuning.trainer import Run
from baigong.tuning.tune import TuneResult, lay_job, tune
from baigong.tuning.weights import load_base
from baigong.tuning.workers import Workers
from baigong.types import Message, Progress, Row
from tests.tuning.conftest import make_row
from tests.tuning.killing import durable, killed_at, same_bits

pytestmark = pytest.mark.anyio

# Worth 1 where there is a number, whichever: a model of random weights writes a digit in 26 tokens.
HAS_NUMBER: Grader = Number(reference="0", tolerance=1e9)
SPEC = TuneSpec(
    objective="grpo",
    rewards=(HAS_NUMBER,),
    group=8,
    answer_tokens=6,
    rank=8,
    epochs=5,
    learning_rate=0.01,
    batch_size=8,
    threads=1,
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def learnt(
    base: Path, rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> TuneResult:
    return await tune(rows, base, SPEC, tmp_path_factory.mktemp("grpo") / "work", lambda _: None)


async def test_what_earns_a_reward_becomes_likelier(learnt: TuneResult) -> None:
    first = learnt.curve[0].figures
    signs = [point.figures for point in learnt.curve if point.figures["without_signal"] < 1]
    last = learnt.curve[-1].figures
    assert first["reward"] < 0.4
    assert last["reward"] > 0.9
    assert learnt.validation_accuracy == 1
    assert signs and all(0 < figures["reward_spread"] <= 0.5 for figures in signs)
    assert last["answer_tokens"] <= 6


async def test_a_killed_run_samples_the_same_answers_again(
    learnt: TuneResult, base: Path, rows: list[Row], tmp_path: Path
) -> None:
    work = tmp_path / "work"

    await killed_at(4, rows, base, SPEC, work)
    heard: list[Progress] = []
    again = await tune(rows, base, durable(SPEC), work, heard.append)
    assert heard[0].metrics["step"] > 3
    assert [p.figures for p in again.curve] == [p.figures for p in learnt.curve]
    same_bits(learnt, again)


def run_of(base: Path, rows: list[Row], folder: Path, **changed: object) -> Run:
    lay_job(rows, base, msgspec.structs.replace(SPEC, **changed), folder)
    return Run(folder, Workers())


def gradients_of(run: Run) -> list[torch.Tensor]:
    run.optimizer.zero_grad()
    run.gradients(run.rows[:2])
    return [p.grad.clone() for p in run.trained.values() if p.grad is not None]


def test_groups_whose_answers_earn_alike_give_no_gradient_and_still_a_step(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    never = StringCheck(operation="like", reference="no such words")
    run = run_of(base, rows, tmp_path, rewards=(never,))
    gradients = gradients_of(run)
    assert len(gradients) == len(run.trained)
    assert not any(gradient.any() for gradient in gradients)
    assert run.learner.figures()["without_signal"] == 1
    run.step(run.rows[:2])
    run.checkpoint()  # of moments that an optimiser without gradients would not have


def test_the_gradient_is_that_of_what_was_written_for_the_answers(
    base: Path, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the formula, an answer at a time: -(reward - mean) * log p, over all places."""
    monkeypatch.setattr("baigong.tuning.weights.multiplies_bfloat16", lambda: False)
    run = run_of(base, rows, tmp_path, temperature=0.7)
    learner = run.learner
    assert isinstance(learner, Grpo)
    prompts = run.rows[:1]
    answers = [[5, 6], [7, 8, 9], [5], [5, 6], [9], [8], [7], [6, 6]]
    monkeypatch.setattr(learner, "answers", lambda *_: answers)
    monkeypatch.setattr(learner, "reward", lambda _, given: float(given[0] == 5))
    run.weights.model.train()
    with torch.no_grad():  # an adapter that is not zero any more
        for parameter in run.trained.values():
            parameter.add_(0.02)
    run.gradients(prompts)
    ours = [p.grad.clone() for p in run.trained.values() if p.grad is not None]
    run.optimizer.zero_grad()
    total = torch.zeros(())
    for answer in answers:
        ids = torch.tensor([[*prompts[0].ids, *answer]])
        logits = run.weights.model(input_ids=ids).logits[0] / 0.7
        shares = logits.log_softmax(-1)
        start = len(prompts[0].ids)
        said = sum(shares[start + i - 1, token] for i, token in enumerate(answer))
        total = total - (float(answer[0] == 5) - 3 / 8) * said
    (total / (8 * 6)).backward()
    theirs = [p.grad for p in run.trained.values() if p.grad is not None]
    assert all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-7) for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("method", ["lora", "full"])
def test_beta_pulls_back_to_the_base(
    base: Path, rows: list[Row], tmp_path: Path, method: str
) -> None:
    never = StringCheck(operation="like", reference="no such words")
    run = run_of(base, rows, tmp_path, rewards=(never,), beta=0.5, method=method, dropout=0.0)
    assert all(gradient.abs().max() < 1e-4 for gradient in gradients_of(run))  # it is the base
    with torch.no_grad():
        for parameter in run.trained.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients_of(run))


def test_answers_together_are_those_of_each_alone(base: Path) -> None:
    model, tokenizer = load_base(base).eval(), ChatTokenizer(base)
    prompts = [tokenizer.encode([Message("user", text)]) for text in ("a", "number 12?", "你好")]
    # An end that some answers meet early, so that rows leave the batch.
    first = generate(model, prompts, copies=1, rooms=[9] * 3, ends=[], temperature=0)
    ends = [first[0][1], first[1][3]]
    together = generate(model, prompts, copies=2, rooms=[9, 7, 5], ends=ends, temperature=0)
    alone = [
        generate(model, [prompt], copies=1, rooms=[room], ends=ends, temperature=0)[0]
        for prompt, room in zip(prompts, (9, 7, 5), strict=True)
    ]
    assert together == [answer for answer in alone for _ in range(2)]
    assert len(together[0]) <= 2 and together[0][-1] in ends


def test_samples_follow_the_distribution_of_the_temperature(base: Path) -> None:
    model, tokenizer = load_base(base).eval(), ChatTokenizer(base)
    prompt = tokenizer.encode([Message("user", "a")])
    with torch.no_grad():
        shares = (model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.5).softmax(-1)
    torch.manual_seed(0)
    found = generate(model, [prompt], copies=4000, rooms=[1], ends=[], temperature=0.5)
    counted = torch.bincount(torch.tensor(found)[:, 0], minlength=len(shares)) / 4000
    assert (counted - shares).abs().sum() / 2 < 0.12


def test_the_plan_counts_every_answer(base: Path, rows: list[Row]) -> None:
    few, many = (plan_tuning(rows, base, msgspec.structs.replace(SPEC, group=g)) for g in (4, 8))
    prompts = many.tokens - many.answer_tokens
    assert many.answer_tokens == 20 * 8 * 6
    assert prompts == sum(8 * len(ChatTokenizer(base).encode(r.messages)) for r in rows[:20])
    assert (2 * few.tokens, 2 * few.answer_tokens) == (many.tokens, many.answer_tokens)
    assert many.memory_bytes > few.memory_bytes


def test_a_wish_without_rewards_is_refused() -> None:
    with pytest.raises(InvalidInput, match="learns from nothing else") as caught:
        TuneSpec(objective="grpo")
    assert caught.value.param == "tune.rewards"


async def test_a_prompt_that_leaves_no_room_is_left_out(base: Path, tmp_path: Path) -> None:
    rows = [make_row("a", "b"), make_row("long " * 2000, "b")]
    plan = plan_tuning(rows, base, SPEC)
    assert plan.dropped == {"longer than the model's context": 1}
