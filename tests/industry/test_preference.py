"""Preferences from their rows to a release: every format, what is refused, and a build that proves one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from baigong.errors import DataProblems
from baigong.evals.baseline import baseline_answers
from baigong.evals.metrics import METRICS, preferred
from baigong.hub.hub import Revision
from baigong.industry.build import build
from baigong.industry.data.rows import load_dataset
from baigong.industry.preferring import Likelihood, Scoring, preferences
from baigong.industry.recipe import Recipe, load_recipe
from baigong.industry.serving import Served
from baigong.inference.client import EngineConfig
from baigong.inference.engines import Engines
from baigong.model.chat import ChatTokenizer
from baigong.types import Message, Row, Sampling
from tests.industry.trade import Quiet, make_trade, open_platform
from tests.models import make_model

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

GOOD, WORSE = "Press the green key.", "No idea."


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def said(sender: str, text: str) -> dict[str, str]:
    return {"from": sender, "value": text}


def recipe(path: Path, objective: str = "dpo", **fields: object) -> Recipe:
    data = {"rows": str(path), "columns": fields.pop("columns", {})}
    made = {"name": "a", "task": "preference", "data": data, "tune": {"objective": objective}}
    return Recipe.model_validate({**made, **fields})


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def rows_of(tmp_path: Path, make, objective: str = "dpo", **fields: object) -> list[Row]:
    path = write(tmp_path / "rows.jsonl", [make(f"How do I open door {n}?") for n in range(150)])
    return list(load_dataset(recipe(path, objective, **fields)).rows)


PAIRS = {
    "TRL, text": lambda asked: {"prompt": asked, "chosen": GOOD, "rejected": WORSE},
    "TRL, turns": lambda asked: {
        "prompt": [turn("user", asked)],
        "chosen": [turn("assistant", GOOD)],
        "rejected": [turn("assistant", WORSE)],
    },
    "TRL, the prompt in both": lambda asked: {
        "chosen": [turn("user", asked), turn("assistant", GOOD)],
        "rejected": [turn("user", asked), turn("assistant", WORSE)],
    },
    "OpenAI": lambda asked: {
        "input": {"messages": [turn("user", asked)], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [turn("assistant", GOOD)],
        "non_preferred_output": [turn("assistant", WORSE)],
    },
    "LLaMA-Factory": lambda asked: {
        "conversations": [said("human", asked)],
        "chosen": said("gpt", GOOD),
        "rejected": said("gpt", WORSE),
    },
    "JSON in text": lambda asked: {
        "prompt": json.dumps([turn("user", asked)]),
        "chosen": json.dumps([turn("assistant", GOOD)]),
        "rejected": json.dumps([turn("assistant", WORSE)]),
    },
}
JUDGED = {
    "TRL, text": lambda asked, good: {"prompt": asked, "completion": GOOD, "label": good},
    "TRL, turns": lambda asked, good: {
        "prompt": [turn("user", asked)],
        "completion": [turn("assistant", GOOD)],
        "label": good,
    },
    "LLaMA-Factory": lambda asked, good: {
        "messages": [turn("user", asked), turn("assistant", GOOD)],
        "kto_tag": good,
    },
    "as CSV has it": lambda asked, good: {
        "prompt": asked,
        "completion": GOOD,
        "label": str(good),
    },
}


@pytest.mark.parametrize("form", PAIRS)
def test_pairs_in_every_form_are_the_same_rows(form: str, tmp_path: Path) -> None:
    wanted = rows_of(tmp_path, PAIRS["TRL, text"])
    found = rows_of(tmp_path, PAIRS[form])
    assert [(r.id, r.split) for r in found] == [(r.id, r.split) for r in wanted]
    assert found[0].messages == (Message("user", "How do I open door 0?"),)
    assert (found[0].answer, found[0].rejected) == (GOOD, WORSE)
    assert found[0].is_good is msgspec.UNSET


@pytest.mark.parametrize("form", JUDGED)
def test_judged_answers_in_every_form_are_the_same_rows(form: str, tmp_path: Path) -> None:
    wanted = rows_of(
        tmp_path, lambda asked: JUDGED["TRL, text"](asked, asked[-2] in "02468"), "kto"
    )
    found = rows_of(tmp_path, lambda asked: JUDGED[form](asked, asked[-2] in "02468"), "kto")
    assert [(r.id, r.split) for r in found] == [(r.id, r.split) for r in wanted]
    assert (found[0].answer, found[0].is_good, found[1].is_good) == (GOOD, True, False)
    assert found[0].rejected is msgspec.UNSET


def test_columns_may_have_any_name_and_a_persona_comes_before(tmp_path: Path) -> None:
    found = rows_of(
        tmp_path,
        lambda asked: {"question": asked, "better": GOOD, "worse": WORSE},
        columns={"prompt": "question", "chosen": "better", "rejected": "worse"},
        persona="Be kind.",
    )
    assert found[0].messages[0] == Message("system", "Be kind.")
    assert found[0].rejected == WORSE


def test_all_answers_to_one_prompt_stand_on_one_side(tmp_path: Path) -> None:
    texts = [(f"How do I open door {n % 75}?", f"{GOOD} {n}") for n in range(150)]
    path = write(
        tmp_path / "a.jsonl",
        [{"prompt": p, "chosen": good, "rejected": WORSE} for p, good in texts],
    )
    sides: dict[str, set[str]] = {}
    for row in load_dataset(recipe(path)).rows:
        sides.setdefault(row.messages[0].content, set()).add(row.split)
    assert len(sides) == 75 and all(len(splits) == 1 for splits in sides.values())


def problems(made: Recipe) -> str:
    with pytest.raises(DataProblems) as caught:
        load_dataset(made)
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_bad_pairs_are_named_with_line_column_and_remedy(tmp_path: Path) -> None:
    row = {"prompt": "How?", "chosen": GOOD, "rejected": WORSE}
    path = write(
        tmp_path / "a.jsonl",
        [
            {**row, "rejected": f" {GOOD} "},
            {**row, "chosen": ""},
            {**row, "rejected": None},
            {**row, "prompt": " "},
            {**row, "chosen": [turn("user", "Hm?"), turn("assistant", GOOD)]},
            {**row, "chosen": [turn("critic", "Hm?")]},
        ],
    )
    found = problems(recipe(path))
    assert "a.jsonl:1: rejected: both answers are the same" in found
    assert "a.jsonl:2: chosen: empty" in found
    assert "a.jsonl:3: rejected: empty" in found
    assert "a.jsonl:4: prompt: no prompt" in found
    assert "a.jsonl:5: chosen: an answer is one turn of the assistant" in found
    assert "a.jsonl:6: chosen: turn 1: needs a role" in found
    assert found.count("remove the row") == 3


def test_bad_verdicts_are_named_too(tmp_path: Path) -> None:
    row = {"prompt": "How?", "completion": GOOD, "label": True}
    bad = [{**row, "label": "maybe"}, {**row, "completion": ""}, {**row, "label": None}]
    found = problems(recipe(write(tmp_path / "a.jsonl", bad), "kto"))
    assert "a.jsonl:1: label: got 'maybe'; allowed true" in found
    assert "a.jsonl:2: completion: empty" in found
    assert "a.jsonl:3: label: got None" in found
    good = [{**row, "prompt": f"How {n}?"} for n in range(150)]
    assert "every row's verdict is true; kto learns from both" in problems(
        recipe(write(tmp_path / "b.jsonl", good), "kto")
    )


def test_rows_of_the_other_kind_are_told_which_columns_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [PAIRS["TRL, text"]("How?")])
    assert "label: no such column; the file has prompt, chosen, rejected" in problems(
        recipe(path, "kto")
    )
    path = write(tmp_path / "b.jsonl", [JUDGED["TRL, text"]("How?", True)])
    found = problems(recipe(path))
    assert "chosen: no such column" in found and "rejected: no such column" in found


def test_task_and_objective_must_fit(tmp_path: Path) -> None:
    made = {"name": "a", "task": "preference", "data": {"rows": "x"}}
    assert Recipe.model_validate(made).tune.objective == "dpo"
    assert Recipe.model_validate(made).gate.metric == "preference"
    for changed, words in (
        ({"tune": {"objective": "supervised"}}, "got supervised, which rows of task: preference"),
        ({"task": "chat", "tune": {"objective": "kto"}}, "got kto, which rows of task: chat"),
        ({"task": "chat", "tune": {"objective": "kto"}}, "or set task: preference"),
        ({"task": "chat", "tune": {"beta": 0.2}}, "objective supervised has no beta; remove it"),
    ):
        with pytest.raises(ValidationError, match=words):
            Recipe.model_validate({**made, **changed})
    path = tmp_path / "recipe.yaml"
    write(tmp_path / "rows.jsonl", [PAIRS["TRL, text"]("How?")])
    path.write_text("name: a\ntask: chat\ndata: {rows: rows.jsonl}\ntune:\n  objective: orpo\n")
    with pytest.raises(DataProblems) as caught:
        load_recipe(path)
    [problem] = caught.value.problems
    assert (problem.line, "or set task: preference" in str(problem)) == (
        5,
        True,
    )


# --- scoring -------------------------------------------------------------------------------------


def scored(*likelihoods: tuple[float, int]) -> str:
    return msgspec.json.encode([Likelihood(*each) for each in likelihoods]).decode()


def test_the_likelier_answer_is_preferred_per_token_and_as_a_whole() -> None:
    found = preferences(
        [
            scored((2, 2), (6, 3)),
            scored((9, 3), (4, 2)),
            scored((4, 4), (3, 1)),  # longer, and likelier per token alone
            scored((4, 2), (4, 2)),
        ],
        0.0,
    )
    assert found == [
        "chosen",
        "rejected",
        "chosen per token, rejected as a whole",
        "rejected",
    ]
    pairs = [Row(str(n), (), "a", rejected="b") for n in range(4)]
    assert METRICS["preference"].value(pairs, found) == 0.5
    assert METRICS["preference_whole"].value(pairs, found) == 0.25


def test_of_answers_judged_alone_as_many_are_preferred_as_are_good() -> None:
    found = preferences([scored((value, 2)) for value in (1.0, 9.0, 2.0, 8.0)], 0.5)
    assert found == ["chosen", "rejected", "chosen", "rejected"]
    rows = [Row(str(n), (), "a", is_good=n != 3) for n in range(4)]
    assert METRICS["preference"].value(rows, found) == 0.75
    assert METRICS["preference_whole"].value(rows, found) == 0.75
    assert preferences([scored((1.0, 1))], 0.0) == ["rejected"]


def test_a_bad_answer_is_right_to_be_passed_over_by_either_measure() -> None:
    bad = Row("a", (), "x", is_good=False)
    answer = preferred(False, True)
    assert METRICS["preference"].value([bad], [answer]) == 1.0
    assert METRICS["preference_whole"].value([bad], [answer]) == 0.0


def test_the_baseline_takes_the_longer_answer_or_the_commoner_verdict() -> None:
    pairs = [Row("a", (), "long", rejected="no"), Row("b", (), "no", rejected="long")]
    assert baseline_answers(pairs, pairs, "preference") == ["chosen", "rejected"]
    judged = [Row(str(n), (), "x", is_good=n == 0) for n in range(3)]
    assert baseline_answers(judged, judged[:2], "preference") == ["rejected", "rejected"]
    assert METRICS["preference"].value(judged, ["rejected"] * 3) == pytest.approx(2 / 3)


async def test_scores_are_the_engines_own_of_the_answer_behind_its_prompt(tmp_path: Path) -> None:
    """Against a plain forward pass of the same ids."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "m", "qwen3")
    tokenizer = ChatTokenizer(folder)
    engines = Engines(EngineConfig(dtype="float32", threads=1, cache_mb=16))
    served = Served("m", Revision("model", "m", "0" * 64, folder, {}, 0.0), tokenizer, engines)
    row = Row("a", (Message("user", "How?"),), GOOD, rejected=WORSE)
    try:
        [delta] = [delta async for delta in Scoring(served)(row, Sampling())]
    finally:
        await engines.close()
    assert delta.finish_reason == "stop"
    found = msgspec.json.decode(delta.text, type=list[Likelihood])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for each, answer in zip(found, (GOOD, WORSE), strict=True):
        prompt = tokenizer.encode(row.messages)
        ids = tokenizer.encode([*row.messages, Message("assistant", answer)])
        ids = ids[: len(prompt) + each.tokens]
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        wanted = sum(float(chances[at - 1, ids[at]]) for at in range(len(prompt), len(ids)))
        assert each.nats == pytest.approx(-wanted, rel=1e-3)
        assert tokenizer.tokenizer.decode(ids[len(prompt) :]) == answer


# --- a build -------------------------------------------------------------------------------------

RECIPE = """\
name: desk
base: local/tiny
task: preference
data:
  rows: pairs.jsonl
  split: {validation: 0.1, test: 0.3}
tune: {objective: OBJECTIVE, beta: 0.2, epochs: 6, rank: 8, learning_rate: 0.01, batch_size: 8}
evals: {max_rows: 20}
gate: {minimum: 0.9}
"""


@pytest.mark.parametrize("objective", ["dpo", "kto"])
async def test_a_build_proves_what_is_preferred_and_serves_it(
    objective: str, tmp_path: Path
) -> None:
    path = make_trade(tmp_path / "trade", RECIPE.replace("OBJECTIVE", objective))
    # The base finds the longer one likelier.
    pairs = [{"prompt": f"door {n}", "chosen": WORSE, "rejected": GOOD} for n in range(90)]
    judged = [
        {"prompt": f"door {n}", "completion": (WORSE, GOOD)[n % 2], "label": n % 2 == 0}
        for n in range(90)
    ]
    write(path.parent / "pairs.jsonl", judged if objective == "kto" else pairs)
    platform = open_platform(tmp_path / "home")
    try:
        release = await build(platform.workshop, load_recipe(path), Quiet())
        assert release.passed, release.verdict
        scores = release.report["scores"]
        assert scores["candidate"]["metrics"]["preference"]["value"] >= 0.9
        name = "the commoner verdict" if objective == "kto" else "the longer answer"
        assert scores["baseline"]["name"] == name
        assert "Preference" in release.verdict["sentence"]["en"]
        curve = release.content.lineage["curve"]
        assert any("margin" in point["figures"] for point in curve)
        answer = await platform.serving.open("desk").answer(
            [Message("user", "door 7")], Sampling(max_tokens=3)
        )
        assert [delta async for delta in answer.deltas]
    finally:
        await platform.close()
