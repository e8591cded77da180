"""The evaluation of a build: every contender answers the same frozen test rows through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from baigong.evals.report import Contender, Entry, EvalReport, evaluate
from baigong.evals.run import predict
from baigong.industry.asking import asking
from baigong.industry.data.rows import digest_of, sample_rows
from baigong.industry.preferring import preferences
from baigong.industry.quantised import weigh
from baigong.industry.recipe import Recipe
from baigong.industry.serving import Served
from baigong.types import Progress, Report, Row, Sampling

CONCURRENCY = 32  # as many as the engine takes into one batch


async def contest(
    recipe: Recipe,
    rows: Sequence[Row],
    served: Mapping[Contender, Served],
    folder: Path,
    retrieval: Mapping[str, float],
    report: Report,
) -> EvalReport:
    """Let every contender answer, and compare. Answers are kept in `folder`, so a kill loses none.

    Args:
        recipe: says metrics, schema, confidence, and how answers are sampled.
        rows: all rows; the test split is asked, the training split makes the plain baseline.
        served: the models that compete; "candidate" must be among them.
        folder: one JSONL of answers for each contender.
        retrieval: figures of the knowledge base, carried into the report.
        report: told of the answers made, all contenders together.
    """
    asked = sample_rows([row for row in rows if row.split == "test"], recipe.evals.max_rows)
    sampling = Sampling(
        max_tokens=recipe.serve.max_tokens, temperature=recipe.serve.temperature, seed=0
    )
    train = [row for row in rows if row.split == "train"]
    is_scored = recipe.task == "preference"
    share = sum(row.is_good is True for row in train) / max(len(train), 1)
    entries: dict[Contender, Entry] = {}
    for position, (who, model) in enumerate(served.items()):
        answers = await predict(
            asked,
            asking(recipe.task, model, asked),
            sampling,
            concurrency=CONCURRENCY,
            done=folder / f"{who}.jsonl",
            report=_part(report, who, position, len(served)),
        )
        texts = [answer.text for answer in answers]
        entries[who] = Entry(model.name, asked, preferences(texts, share) if is_scored else texts)
    weights = await weigh(
        recipe, served["candidate"], entries["candidate"], sampling, folder, report
    )
    entries["baseline"] = await asyncio.to_thread(_baseline, recipe, train, asked)
    found = await asyncio.to_thread(
        evaluate,
        recipe.task,
        recipe.evals.metrics,
        entries,
        confidence=recipe.gate.confidence,
        schema=recipe.answer_schema,
        retrieval=retrieval,
        dataset=digest_of(rows),
    )
    return msgspec.structs.replace(found, weights=weights)


def _part(report: Report, who: str, position: int, contenders: int) -> Report:
    """One contender's progress as a part of the whole."""

    def tell(progress: Progress) -> None:
        report(
            Progress(
                position * progress.total + progress.done,
                contenders * progress.total,
                progress.unit,
                progress.rate,
                note=who,
            )
        )

    return tell


def _baseline(recipe: Recipe, train: Sequence[Row], asked: Sequence[Row]) -> Entry:
    # scikit-learn takes a second to import, and only evaluation needs it.
    from baigong.evals.baseline import NAMES, baseline_answers  # noqa: PLC0415

    name = NAMES[recipe.task]
    if recipe.tune.objective == "kto":
        name = "the commoner verdict"
    return Entry(name, asked, baseline_answers(train, asked, recipe.task))
