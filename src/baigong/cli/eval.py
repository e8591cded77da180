"""`baigong eval`: how well a knowledge base answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.live import LiveView
from baigong.cli.screen import Json, console, duration, errors, print_json, verb
from baigong.config import Settings
from baigong.industry.embedder import sentence_vectors
from baigong.knowledge.measure import Quality, Question, measure_base, read_questions
from baigong.knowledge.questions import made_questions
from baigong.types import Progress

app = verb()

_STEP = "eval"
_SAYS = {
    "recall_at_1": "the right passage is found first",
    "recall_at_3": "... among the first 3",
    "recall_at_10": "... among the first 10",
    "ndcg_at_10": "... the higher the better (nDCG@10)",
    "mrr": "... 1 divided by its place (MRR)",
    "answered": "an answer is quoted",
    "cited": "its first citation is the right one",
    "declined": "none is, once the document is left out",
}


@app.command()
def command(
    knowledge: Annotated[str, typer.Argument(help="a knowledge base, or name@number")],
    questions: Annotated[
        Path | None,
        typer.Option(
            help='JSONL of {"question", "document", "quote"}; else they are made from the documents'
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Ask a knowledge base questions whose document is known, and each again without it.

    Questions that are made from its own sentences and headings share words with them: they show what
    is found among passages that resemble each other, not whether people are understood.
    """
    asyncio.run(_eval(Platform.open(Settings.load()), knowledge, questions, json))


async def _eval(platform: Platform, knowledge: str, file: Path | None, json: bool) -> None:
    bases = platform.knowledge
    try:
        version = await asyncio.to_thread(bases.get, knowledge)
        if file is not None:
            asked = read_questions(file)
        else:
            asked = await asyncio.to_thread(made_questions, bases, version.ref)
        with LiveView(errors if json else console) as view:

            def report(progress: Progress) -> None:
                view.progressed(_STEP, progress)

            view.started(_STEP)
            embedders = platform.serving.embedders
            quality = await measure_base(
                bases, version.ref, asked, sentence_vectors, embedders, report
            )
            view.finished(_STEP, {"summary": f"{len(asked)} questions"}, again=False)
    finally:
        await platform.close()
    if json:
        made = {"made": file is None}
        print_json({"knowledge": version.ref, **made, **msgspec.structs.asdict(quality)})
    else:
        _show(version.ref, quality, asked, is_made=file is None)


def _show(ref: str, quality: Quality, asked: list[Question], *, is_made: bool) -> None:
    kind = "made from its own sentences and headings" if is_made else "of yours"
    table = Table(
        "", "", "share of questions in which", box=None, pad_edge=False, title_style="dim"
    )
    table.title, table.title_justify = f"{ref}: {len(asked)} questions {kind}", "left"
    for name, says in _SAYS.items():
        table.add_row(name.replace("_at_", "@"), f"{getattr(quality, name):.2f}", says)
    console.print(table)
    console.print(f"[dim]{duration(quality.seconds)} a question.[/]" if quality.seconds >= 1
                  else f"[dim]{1000 * quality.seconds:.0f} ms a question.[/]")  # fmt: skip
