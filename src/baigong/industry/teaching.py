"""What a recipe's `tune` wishes, and the answers of its teacher: asked for once, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from baigong.errors import InvalidInput
from baigong.evals.run import Ask, predict
from baigong.industry.contest import CONCURRENCY
from baigong.industry.foreign import Foreign
from baigong.industry.recipe import Recipe
from baigong.industry.serving import Served, Serving
from baigong.tuning.spec import TuneSpec
from baigong.types import Delta, Report, Row, Sampling

Teacher = Served | Foreign


class Lesson(NamedTuple):
    """What is learnt: the rows, the wish, and a word on the teacher."""

    rows: Sequence[Row]
    wish: TuneSpec
    told: str = ""


async def learn_from(
    serving: Serving,
    recipe: Recipe,
    name: str | None,
    rows: Sequence[Row],
    done: Path,
    report: Report,
) -> Lesson:
    """The rows and the wish of a recipe, after its teacher has said what it has to say.

    Args:
        serving: where the teacher answers.
        recipe: says who teaches, and how.
        name: the very release or revision that was found when the build was planned.
        rows: of all splits.
        done: where answers are kept, so that a kill loses none.
        report: told of the answers made.
    """
    teacher = await asyncio.to_thread(find_teacher, serving, recipe, name)
    wish = wish_of(recipe, teacher)
    if teacher is None or recipe.tune.teaches == "logits":
        return Lesson(rows, wish)
    answered, told = await taught(recipe, rows, teacher, done, report)
    return Lesson(answered, wish, told)


def find_teacher(serving: Serving, recipe: Recipe, name: str | None = None) -> Teacher | None:
    """The teacher that a recipe names, or the very release or revision of it that was found before.

    Raises:
        NotFound: nothing has this name.
        InvalidInput: it is to teach by its logits, which only a whole model of this machine shows.
    """
    wanted = name or recipe.tune.teacher
    if wanted is None:
        return None
    teacher = serving.open_chat(wanted)
    if isinstance(teacher, Served) and teacher.content is None:
        teacher = serving.open(f"{teacher.base.name}@{teacher.base.revision}")
    if recipe.tune.teaches == "logits" and (
        isinstance(teacher, Foreign) or teacher.adapter is not None
    ):
        what = "an upstream's" if isinstance(teacher, Foreign) else "an adapter on its base"
        raise InvalidInput(
            f"The teacher {wanted} is {what}, and logits are read from whole models of this machine.",
            hint="Set tune.teaches: answers, which takes any teacher.",
            param="tune.teacher",
        )
    return teacher


def wish_of(recipe: Recipe, teacher: Teacher | None) -> TuneSpec:
    """What the recipe's `tune` means to the tuning: a teacher's answers are learnt like any others."""
    wish: dict[str, Any] = recipe.tune.model_dump(exclude={"teaches", "teacher"})
    if recipe.tune.objective == "distill" and recipe.tune.teaches == "answers":
        wish["objective"] = "supervised"
    elif isinstance(teacher, Served):
        wish["teacher"] = str(teacher.base.folder)
    if recipe.tune.objective == "grpo":
        wish["rewards"] = [_grader(grader, recipe) for grader in recipe.tune.rewards]
        if recipe.tune.answer_tokens == "auto":
            wish["answer_tokens"] = recipe.serve.max_tokens
    return msgspec.convert(wish, TuneSpec)


def _grader(grader: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A grader of JSON holds answers against the recipe's own schema, where it has none itself."""
    if grader.get("type") != "json_schema" or "schema" in grader:
        return grader
    return {**grader, "schema": recipe.answer_schema}


async def taught(
    recipe: Recipe, rows: Sequence[Row], teacher: Teacher, done: Path, report: Report
) -> tuple[list[Row], str]:
    """The rows with the teacher's answers in those that are trained on, and a word on them.

    Answers that were cut for their length are left out: they would teach to break off. Each answer is
    kept in `done` the moment it is there, so that a kill loses none.
    """
    sampling = Sampling(
        max_tokens=recipe.serve.max_tokens, temperature=recipe.serve.temperature, seed=0
    )
    asked = [row for row in rows if row.split == "train"]
    answers = await predict(
        asked,
        _asker(teacher),
        sampling,
        concurrency=CONCURRENCY,
        done=done,
        report=report,
    )
    whole = [
        msgspec.structs.replace(row, answer=answer.text.strip())
        for row, answer in zip(asked, answers, strict=True)
        if answer.finish_reason == "stop" and answer.text.strip()
    ]
    if not whole:
        raise InvalidInput(
            f"None of {len(asked)} answers of {teacher.name} came to its end.",
            hint=f"Raise serve.max_tokens (it is {recipe.serve.max_tokens}), or choose another teacher.",
            param="tune.teacher",
        )
    lost = f" ({len(asked) - len(whole)} were empty or cut)" if len(whole) < len(asked) else ""
    others = [row for row in rows if row.split != "train"]
    return [*whole, *others], f"{len(whole)} answers of {teacher.name}{lost}; "


def _asker(teacher: Teacher) -> Ask:
    if isinstance(teacher, Served):
        return teacher.reply
    foreign = teacher

    async def ask(row: Row, sampling: Sampling) -> AsyncIterator[Delta]:
        answer = await foreign.answer(row.messages, sampling)
        async for delta in answer.deltas:
            yield delta

    return ask
