"""DPO, KTO and ORPO: their losses by hand, what they learn, and that a kill changes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from baigong.errors import InvalidInput
from baigong.tuning.examples.preferences import Rated, pairs_of, rated_of
from baigong.tuning.examples.rows import Example, Unusable
from baigong.tuning.job import CHECKPOINT_FILE
from baigong.tuning.learner import Gathers
from baigong.tuning.learners.kto import KTO, kto_losses, sides, strangers
from baigong.tuning.learners.orpo import log_odds
from baigong.tuning.learners.pairs import sigmoid_losses
from baigong.tuning.learners.tally import Tally
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import Goal, TuneSpec
from baigong.tuning.trainer import Run
from baigong.tuning.tune import lay_job, tune
from baigong.tuning.workers import Workers
from baigong.types import Message, Progress, Row, Split
from tests.tuning.conftest import make_row
from tests.tuning.killing import durable, killed_at, same_bits

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

COLOURS = ("red", "blue")


def spec(objective: Goal, **fields: object) -> TuneSpec:
    wish = TuneSpec(objective, rank=8, epochs=4, learning_rate=5e-3, batch_size=4, threads=1)
    return msgspec.structs.replace(wish, **fields)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def pairs() -> list[Row]:
    """Red is preferred, whatever is asked."""
    splits: list[Split] = ["train"] * 20 + ["validation"] * 4
    return [
        msgspec.structs.replace(make_row(f"Number {n}?", "red", split), rejected="blue")
        for n, split in enumerate(splits)
    ]


@pytest.fixture(scope="module")
def rated() -> list[Row]:
    splits: list[Split] = ["train"] * 24 + ["validation"] * 4
    return [
        msgspec.structs.replace(make_row(f"Number {n}?", COLOURS[n % 2], split), is_good=n % 2 == 0)
        for n, split in enumerate(splits)
    ]


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Formulas are compared in float32, whatever this processor has instructions for."""
    monkeypatch.setattr("baigong.tuning.weights.multiplies_bfloat16", lambda: False)


def run_of(rows: Sequence[Row], base: Path, wish: TuneSpec, folder: Path) -> Run:
    lay_job(rows, base, wish, folder)
    return Run(folder, Workers())


@torch.no_grad()
def by_hand(run: Run, example: Example, *, bare: bool = False) -> Tensor:
    """The log-likelihood of one answer, token by token, without padding or columns left out."""
    model = run.weights.model
    ids = torch.tensor([example.ids])
    if bare:
        with model.disable_adapter():
            logits = model(ids).logits[0]
    else:
        logits = model(ids).logits[0]
    chances = logits.float().log_softmax(-1)
    wanted = range(example.start, len(example.ids))
    return torch.stack([chances[at - 1, example.ids[at]] for at in wanted])


@torch.no_grad()
def loss_of(run: Run, examples: Sequence[Any]) -> float:
    if isinstance(run.learner, Gathers):
        run.learner.gather([examples])
    return float(run.learner.loss(examples))


def stir(run: Run) -> None:
    """Move the adapter away from nothing."""
    torch.manual_seed(1)
    for name, parameter in run.trained.items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)


# --- losses --------------------------------------------------------------------------------------


def test_dpo_is_the_papers_loss_against_the_base(base, pairs, tmp_path) -> None:
    run = run_of(pairs, base, spec("dpo", beta=0.3), tmp_path)
    run.weights.model.eval()
    assert loss_of(run, run.rows[:4]) == pytest.approx(4 * math.log(2), rel=1e-3)
    run.learner.figures()
    stir(run)
    total, margins = 0.0, []
    for pair in run.rows[:4]:
        gain = {
            name: by_hand(run, side).sum() - by_hand(run, side, bare=True).sum()
            for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected))
        }
        margins.append(0.3 * float(gain["chosen"] - gain["rejected"]))
        total += -math.log(1 / (1 + math.exp(-margins[-1])))
    judged = run.learner.judge(run.rows[:4])
    assert loss_of(run, run.rows[:4]) == pytest.approx(total, rel=1e-4)
    assert float(judged.loss.detach()) == pytest.approx(total, rel=1e-4)
    assert judged.is_right.tolist() == [margin > 0 for margin in margins]
    figures = run.learner.figures()
    assert figures["margin"] == pytest.approx(sum(margins) / 4, rel=1e-3)
    assert figures["accuracy"] == sum(margin > 0 for margin in margins) / 4


def test_orpo_is_likelihood_and_odds_of_means(base, pairs, tmp_path) -> None:
    run = run_of(pairs, base, spec("orpo", beta=0.7), tmp_path)
    run.weights.model.eval()
    stir(run)
    total = 0.0
    for pair in run.rows[:3]:
        chosen, rejected = (
            float(by_hand(run, side).mean().exp()) for side in (pair.chosen, pair.rejected)
        )
        odds = (chosen / (1 - chosen)) / (rejected / (1 - rejected))
        total += -math.log(chosen) - 0.7 * math.log(1 / (1 + math.exp(-math.log(odds))))
    assert loss_of(run, run.rows[:3]) == pytest.approx(total, rel=1e-4)


def test_kto_holds_answers_against_the_drift_on_strange_ones(base, rated, tmp_path) -> None:
    run = run_of(rated, base, spec("kto", beta=0.5), tmp_path)
    run.weights.model.eval()
    stir(run)
    learner = run.learner
    assert isinstance(learner, KTO)
    good = sum(one.is_good for one in run.rows)
    assert (learner.good, learner.bad) == sides(run.rows)
    assert learner.good * good == pytest.approx(learner.bad * (len(run.rows) - good))
    count, longest = len(run.rows), max(one.length for one in [*run.rows, *run.validation])

    def gain(example: Example) -> float:
        return float(by_hand(run, example).sum() - by_hand(run, example, bare=True).sum())

    drift, batch = 0.0, run.rows[:4]
    for at, one in enumerate(batch):
        other = run.rows[(at + 1) % count].answer
        ids = (one.answer.ids[: one.answer.start] + other.ids[other.start :])[:longest]
        drift += gain(Example(ids, one.answer.start)) / len(batch)
    drift = 0.5 * max(0.0, drift)
    total, right = 0.0, []
    for one in batch:
        reward = 0.5 * gain(one.answer)
        weight = learner.good if one.is_good else learner.bad
        above = reward - drift if one.is_good else drift - reward
        total += weight * (1 - 1 / (1 + math.exp(-above)))
        right.append(above > 0)
    judged = learner.judge(batch)
    assert loss_of(run, batch) == pytest.approx(total, rel=1e-4)
    assert judged.is_right.tolist() == right
    assert learner.figures()["drift"] == pytest.approx(drift, rel=1e-3, abs=1e-6)


def test_ktos_drift_has_no_gradient() -> None:
    rewards = torch.tensor([0.4, -0.2], requires_grad=True)
    drift = torch.tensor(0.1)
    is_good = torch.tensor([True, False])
    kto_losses(rewards, drift, is_good, 1.0, 2.0).sum().backward()
    slopes = [s * (1 - s) for s in (1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(-0.3)))]
    assert rewards.grad is not None
    assert rewards.grad.tolist() == pytest.approx([-slopes[0], 2 * slopes[1]])


def test_losses_stay_numbers_where_a_model_is_sure() -> None:
    sure = torch.tensor([-1e-12, 0.0, -200.0], requires_grad=True)
    odds = log_odds(sure)
    sigmoid_losses(odds[:1], odds[2:]).sum().backward()
    assert odds.isfinite().all()
    assert sure.grad is not None and sure.grad.isfinite().all()
    assert float(odds[2].detach()) == pytest.approx(-200.0)


def test_the_rarer_verdict_weighs_more() -> None:
    rows = [Rated(str(n), Example([1, 2], 1), n == 0) for n in range(4)]
    assert sides(rows) == (3.0, 1.0)
    assert sides(rows[1:]) == (1.0, 1.0)


def test_a_strange_answer_stands_behind_ones_own_prompt_and_fits_the_context() -> None:
    rows = [Rated("a", Example([1, 2, 3], 2), True), Rated("b", Example([4, 5, 6, 7], 1), False)]
    first, second = strangers(rows, 4)
    assert (first.ids, first.start) == ([1, 2, 5, 6], 2)
    assert (second.ids, second.start) == ([4, 3], 1)


def test_figures_are_means_since_they_were_last_taken() -> None:
    tally = Tally()
    tally.add(reward_chosen=torch.tensor([1.0, 3.0]), reward_rejected=torch.tensor([]))
    assert tally.take() == {"reward_chosen": 2.0}
    tally.add(reward_chosen=torch.tensor([1.0]), reward_rejected=torch.tensor([-1.0]))
    assert tally.take()["margin"] == 2.0
    assert tally.take() == {}


# --- rows ----------------------------------------------------------------------------------------


def test_of_a_conversation_the_last_answer_alone_counts(base: Path) -> None:
    turns = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Colour?"))
    row = Row("a", turns, "red", rejected="dark blue")
    pair = pairs_of(base, 500)(row)
    assert pair.chosen.spans == [(pair.chosen.start, pair.chosen.length)]
    assert pair.chosen.ids[: pair.chosen.start] == pair.rejected.ids[: pair.rejected.start]
    assert pair.length == pair.chosen.length + pair.rejected.length
    assert (pair.counted, pair.scored) == (1, pair.chosen.counted + pair.rejected.counted)
    with pytest.raises(Unusable, match="longer"):
        pairs_of(base, pair.chosen.length)(row)


def test_rows_without_what_the_objective_needs_are_counted_by_reason(base, rows) -> None:
    for read, why in ((pairs_of, "no rejected"), (rated_of, "no verdict")):
        with pytest.raises(Unusable, match=why):
            read(base, 500)(rows[0])
    with pytest.raises(InvalidInput, match=r"20 rows: no verdict on its answer"):
        plan_tuning(rows, base, TuneSpec("kto"))


def test_a_plan_counts_both_answers_and_takes_the_papers_beta(base, pairs) -> None:
    plan = plan_tuning(pairs, base, TuneSpec("dpo"))
    read = pairs_of(base, 500)
    train = [read(row) for row in pairs if row.split == "train"]
    assert plan.answer_tokens == sum(p.chosen.counted + p.rejected.counted for p in train)
    assert (plan.settings.beta, plan.settings.epochs) == (0.1, 3)
    assert plan.settings.learning_rate < plan_tuning(pairs, base).settings.learning_rate
    with pytest.raises(InvalidInput, match=r"tune\.beta"):
        TuneSpec("dpo", beta=0)


# --- runs ----------------------------------------------------------------------------------------


def ignore(_: Progress) -> None:
    pass


@pytest.mark.parametrize("objective", ["dpo", "orpo", "kto"])
async def test_the_preferred_answer_wins(objective, base, pairs, rated, tmp_path) -> None:
    rows = rated if objective == "kto" else pairs
    result = await tune(rows, base, spec(objective, epochs=12), tmp_path / "work", ignore)
    # A batch of KTO may happen to hold one verdict alone, and has no margin then.
    whole = [point for point in result.curve if "margin" in point.figures]
    first, last = whole[0], whole[-1]
    assert last.loss < 0.7 * first.loss
    assert {"margin", "reward_chosen", "reward_rejected", "accuracy"} <= last.figures.keys()
    assert last.figures["margin"] > first.figures["margin"] + 0.05
    assert last.figures["accuracy"] == 1.0
    assert result.validation_accuracy == 1.0


async def test_all_weights_are_held_to_the_base_as_it_was(base, pairs, tmp_path) -> None:
    """Were the reference the model that moves, no margin would ever open."""
    wish = spec("dpo", method="full", learning_rate=1e-3, epochs=6)
    result = await tune(pairs, base, wish, tmp_path / "work", ignore)
    assert result.curve[0].loss == pytest.approx(math.log(2), rel=1e-2)
    assert result.curve[-1].figures["margin"] > 0.5


@pytest.mark.parametrize("objective", ["dpo", "kto"])
async def test_a_killed_run_ends_with_the_same_bits(
    objective, base, pairs, rated, tmp_path
) -> None:
    rows = rated if objective == "kto" else pairs
    wish = spec(objective, dropout=0.1, epochs=2)
    whole = await tune(rows, base, wish, tmp_path / "whole", ignore)
    work = tmp_path / "work"
    await killed_at(6, rows, base, wish, work)
    assert (work / CHECKPOINT_FILE).exists()
    again = await tune(rows, base, durable(wish), work, ignore)
    assert [(p.step, p.loss, p.figures) for p in again.curve] == [
        (p.step, p.loss, p.figures) for p in whole.curve
    ]
    same_bits(whole, again)


async def test_two_processes_share_the_reference(base, pairs, tmp_path) -> None:
    wish = spec("dpo", epochs=2)
    alone = await tune(pairs, base, wish, tmp_path / "alone", ignore)
    wish = msgspec.structs.replace(wish, processes=2)
    both = await tune(pairs, base, wish, tmp_path / "both", ignore)
    assert both.curve[0].loss == pytest.approx(math.log(2), rel=1e-2)
    assert both.curve[-1].loss == pytest.approx(alone.curve[-1].loss, rel=0.1)


@pytest.mark.parametrize("objective", ["dpo", "orpo", "kto"])
def test_halves_of_a_batch_add_up(objective, base, pairs, rated, tmp_path) -> None:
    """KTO's drift is of the whole batch, however it goes through."""
    run = run_of(rated if objective == "kto" else pairs, base, spec(objective), tmp_path)
    stir(run)
    whole = [run.gradients(run.rows[:4]), *norms_of(run)]
    run.optimizer.zero_grad()
    run.state.micro = 2 * max(example.length for example in run.rows[:4])
    halves = [run.gradients(run.rows[:4]), *norms_of(run)]
    assert halves == pytest.approx(whole, rel=1e-2, abs=1e-5)
    run.state.micro = 1
    assert run.gradients(run.rows[:4]) == pytest.approx(whole[0], rel=1e-3)


def norms_of(run: Run) -> list[float]:
    return [float(p.grad.norm()) for p in run.trained.values() if p.grad is not None]
