"""Recipes of text, of teachers and of rewards, from files to a release."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from baigong.app import Platform
from baigong.errors import DataProblems, InvalidInput
from baigong.evals.metrics import METRICS
from baigong.evals.run import predict
from baigong.industry.build import build
from baigong.industry.data.rows import load_dataset
from baigong.industry.reading import _windows, read_text
from baigong.industry.recipe import Recipe, load_recipe
from baigong.industry.teaching import find_teacher, taught, wish_of
from baigong.types import Delta, Message, Row, Sampling
from tests import servers
from tests.industry.trade import Quiet, make_trade, open_platform

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

TEXT = """\
name: tides
base: local/tiny
task: text
data: {rows: texts, split: {validation: 0.1, test: 0.3}}
tune: {epochs: 2, rank: 8, learning_rate: 0.01, batch_size: 2}
"""


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    opened = open_platform(tmp_path / "home")
    yield opened
    await opened.close()


def written(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return load_recipe(path)


def problems(folder: Path, text: str) -> str:
    with pytest.raises(DataProblems) as caught:
        written(folder, text)
    return str(caught.value)


# --- text


def write_texts(folder: Path) -> None:
    """Rows in a table, and a long file of paragraphs: 潮 is what a random model does not expect."""
    (folder / "texts").mkdir()
    words, chosen = ["ebb", "flood", "slack", "潮水", "涨落"], random.Random(4)
    lines = [" ".join(chosen.choices(words, k=30)) for _ in range(100)]
    rows = [json.dumps({"text": line}) for line in lines[:97]]
    (folder / "texts" / "a.jsonl").write_text("\n".join(rows))
    (folder / "texts" / "b.md").write_text("\n\n".join(line * 50 for line in lines[97:]))


async def test_a_recipe_of_text_is_read_learnt_measured_and_completes(
    platform: Platform, tmp_path: Path
) -> None:
    write_texts(tmp_path)
    recipe = written(tmp_path, TEXT)
    assert recipe.tune.objective == "continued"
    rows = load_dataset(recipe).rows
    assert len(rows) == 97 + 3  # a paragraph here is longer than a piece has to be
    release = await build(platform.workshop, recipe, Quiet())
    assert release.passed, release.verdict["sentence"]
    scores = {
        who: found["metrics"]["bits_saved"]["value"]
        for who, found in release.report["scores"].items()
    }
    assert scores["candidate"] > scores["base"] + 0.1
    assert 0 < scores["baseline"] < 1
    served = platform.serving.open("tides")
    answer = served.complete("ebb flood", Sampling(max_tokens=4))
    assert sum([delta.tokens async for delta in answer.deltas]) > 0


async def test_a_long_text_costs_what_its_windows_cost(platform: Platform) -> None:
    served = platform.serving.open("local/tiny")
    context = (await served.facts()).context
    short = "ebb and flood"
    for text in (short, short * (2 * context // len(short))):
        row = Row("a", (Message("user", text),), "")
        (delta,) = [d async for d in read_text(served, row, Sampling())]
        assert 2 < 8 * (1 - METRICS["bits_saved"].value([row], [delta.text])) <= 8


@pytest.mark.parametrize(("length", "size"), [(5, 9), (9, 9), (10, 9), (40, 8), (2, 64)])
def test_windows_count_every_token_once_and_fit(length: int, size: int) -> None:
    windows = list(_windows(length, size))
    assert [at for _, scored, stop in windows for at in range(scored, stop)] == [*range(1, length)]
    assert all(0 <= start < scored and stop - start <= size for start, scored, stop in windows)


# --- rewards


REWARDED = """\
name: desk
base: local/tiny
task: classification
data: {rows: rows.jsonl, split: {validation: 0.1, test: 0.3}}
tune:
  objective: grpo
  rewards: [{type: number, reference: "0", tolerance: 1e9}]
  epochs: 1
  batch_size: 16
  learning_rate: 0.01
evals: {max_rows: 20}
serve: {max_tokens: 4}
"""


async def test_a_recipe_of_rewards_comes_to_a_verdict(platform: Platform, tmp_path: Path) -> None:
    make_trade(tmp_path / "trade", REWARDED)
    release = await build(platform.workshop, load_recipe(tmp_path / "trade/recipe.yaml"), Quiet())
    assert not release.passed  # a number is none of the labels, whatever it earns
    figures = [point["figures"] for point in release.content.lineage["curve"]]
    assert figures[-1]["reward"] > figures[0]["reward"]


def test_the_recipes_schema_and_length_are_those_of_its_rewards(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    recipe = written(
        tmp_path,
        "name: a\ntask: extraction\nschema: {properties: {n: {type: integer}}}\n"
        "data: {rows: rows.jsonl}\nserve: {max_tokens: 33}\n"
        "tune: {objective: grpo, rewards: [{type: json_schema}]}\n",
    )
    wish = wish_of(recipe, None)
    assert wish.answer_tokens == 33
    assert [g.grade('{"n": "x"}', '{"n": 1}') for g in wish.rewards] == [pytest.approx(1 / 3)]


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ("{objective: grpo}", "tune.rewards: required when the objective is grpo"),
        ("{objective: distill}", "tune.teacher: required when the objective is distill"),
        ("{teacher: x}", "tune.teacher: only for objective: distill"),
        ("{objective: continued}", "; or set task: text"),
        (
            "{objective: grpo, rewards: [{type: number}, {type: python, source: x}]}",
            "'python' runs code, which no grader here does",
        ),
    ],
)
def test_an_objective_without_what_it_needs_is_a_mistake(
    tmp_path: Path, tune: str, said: str
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    text = f"name: a\ntask: classification\ndata: {{rows: rows.jsonl}}\ntune: {tune}\n"
    assert said in problems(tmp_path, text)


# --- teachers


def teaching(folder: Path, tune: str, teacher: str = "local/tiny") -> Recipe:
    (folder / "rows.jsonl").write_text("{}")
    return written(
        folder,
        "name: pupil\nbase: local/tiny\ntask: chat\ndata: {rows: rows.jsonl}\n"
        f"serve: {{max_tokens: 5}}\ntune: {{objective: distill, teacher: {teacher}{tune}}}\n",
    )


def rows_of(*splits: str) -> list[Row]:
    return [
        Row(f"{n}", (Message("user", f"word {n}"),), "own", split)  # type: ignore[arg-type]
        for n, split in enumerate(splits)
    ]


async def test_a_teacher_answers_the_training_rows_alone_and_once(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = teaching(tmp_path, "")
    asked: list[str] = []

    class Teacher:
        name = "wise"

        async def reply(self, row, sampling):
            asked.append(row.messages[-1].content)
            assert sampling.max_tokens == 5
            cut = row.messages[-1].content == "word 1"
            yield Delta("taught ", finish_reason="length" if cut else "stop")

    monkeypatch.setattr("baigong.industry.teaching._asker", lambda teacher: teacher.reply)
    rows, done = rows_of("train", "train", "train", "validation", "test"), tmp_path / "t.jsonl"
    for _ in range(2):
        got, told = await taught(recipe, rows, Teacher(), done, lambda _: None)  # type: ignore[arg-type]
    assert {row.id: row.answer for row in got} == {
        "0": "taught", "2": "taught", "3": "own", "4": "own",
    }  # fmt: skip
    assert told == "2 answers of wise (1 were empty or cut); "
    assert sorted(asked) == ["word 0", "word 1", "word 2"]


async def test_a_teacher_is_named_by_its_revision_and_answers_through_serving(
    platform: Platform, tmp_path: Path
) -> None:
    recipe = teaching(tmp_path, "")
    teacher = find_teacher(platform.serving, recipe)
    assert teacher is not None
    assert teacher.name == f"local/tiny@{teacher.base.revision}"  # type: ignore[union-attr]
    assert wish_of(recipe, teacher).objective == "supervised"
    sampling = Sampling(max_tokens=5)
    (row,) = rows_of("train")
    (answer,) = await predict(
        [row],
        teacher.reply,  # type: ignore[union-attr]
        sampling,
        concurrency=1,
        done=tmp_path / "x",
        report=lambda _: None,
    )
    assert 1 <= answer.tokens <= 5


async def test_logits_are_learnt_from_the_folder_of_the_teacher(
    platform: Platform, tmp_path: Path
) -> None:
    recipe = teaching(tmp_path, ", teaches: logits, mix: 0.7, temperature: 2")
    wish = wish_of(recipe, find_teacher(platform.serving, recipe))
    assert (wish.objective, wish.mix, wish.temperature) == ("distill", 0.7, 2.0)
    assert (Path(wish.teacher) / "config.json").exists()


async def test_an_adapter_teaches_by_answers_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    platform = servers.open_platform(home)
    servers.add_release(platform, home, "master")
    recipe = teaching(tmp_path, ", teaches: logits", "master")
    with pytest.raises(InvalidInput, match="an adapter on its base") as caught:
        find_teacher(platform.serving, recipe)
    assert "teaches: answers" in caught.value.hint
    teacher = find_teacher(platform.serving, teaching(tmp_path, "", "master"))
    assert teacher is not None and teacher.name == "master@1"
    await platform.close()
