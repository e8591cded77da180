"""`baigong ask`: an answer from knowledge bases, in their own words, each with its place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import quote

import typer
from rich.markup import escape

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, verb
from baigong.config import Settings
from baigong.errors import InvalidInput
from baigong.evals.text import language_of
from baigong.industry.citing import Citation, citation_of, marked, marks
from baigong.industry.embedder import sentence_vectors
from baigong.industry.grounding import NOT_FOUND, answer_prompt, inert
from baigong.industry.serving import Served
from baigong.knowledge.answer import JUDGED, QuotedAnswer, quote_answer
from baigong.knowledge.records import document_row
from baigong.knowledge.retrieve import Retriever, Search
from baigong.knowledge.where import typed_where
from baigong.types import Passage

app = verb()

_UNSURE = {"en": "No passage answers this for certain.", "zh": "没有哪一段能确定地回答这个问题。"}
_NEAR = 0.5  # of the question that a quotation holds, from which on it is not said to be missing


@app.command()
def command(
    knowledge: Annotated[
        str, typer.Argument(help="knowledge bases: handbook, handbook@12, or handbook,laws")
    ],
    question: Annotated[str, typer.Argument(help="what to ask")],
    model: Annotated[
        str | None,
        typer.Option(help="a release or model that writes the answer; else it is quoted"),
    ] = None,
    as_of: Annotated[
        str,
        typer.Option(help="only what was published by then: 2026-11-01, or 2026-11-01T12:00 (UTC)"),
    ] = "",
    where: Annotated[
        list[str],
        typer.Option(help="only documents whose metadata say so: year>=2026", metavar="KEY=VALUE"),
    ] = [],  # noqa: B006  typer reads it, nothing writes it
    limit: Annotated[int, typer.Option(help="citations at most", min=1, max=50)] = 3,
    rerank: Annotated[
        str | None,
        typer.Option(help="a model of the hub that orders the passages anew", metavar="MODEL"),
    ] = None,
    json: Json = False,
) -> None:
    """Ask knowledge bases. Without --model no text is generated: the answer is quoted.

    Where the documents do not answer, it says so and shows the nearest passages; the exit code is 0.
    """
    search = Search(where=typed_where(where), as_of=_moment(as_of))
    names = [name.strip() for name in knowledge.split(",") if name.strip()]
    if not names:
        raise InvalidInput("No knowledge base is named.", hint="baigong ask NAME QUESTION")
    platform = Platform.open(Settings.load())
    asyncio.run(_ask(platform, names, _Asked(question, search, model, rerank, limit, json)))


class _Asked(NamedTuple):
    """What was typed."""

    question: str
    search: Search
    model: str | None
    rerank: str | None
    limit: int
    json: bool


def _moment(text: str) -> float | None:
    """Seconds since the epoch; a day without a time is meant to its end."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"'{text}' is not a time.", hint="Write 2026-11-01 or 2026-11-01T12:00.", param="as-of"
        ) from error
    if moment.time() == time() and "T" not in text and " " not in text:
        moment += timedelta(days=1, microseconds=-1)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _ask(platform: Platform, names: list[str], asked: _Asked) -> None:
    question, model = asked.question, asked.model
    try:
        serving = platform.serving
        rank = None if asked.rerank is None else serving.rankers(asked.rerank)
        retrieve = Retriever(
            platform.knowledge, names, serving.embedders, rank=rank, search=asked.search
        )
        passages = await retrieve(question, max(asked.limit, JUDGED))
        answer = quote_answer(
            question, passages, sentence_vectors, asked.limit, in_order=rank is not None
        )
        citations = [
            citation_of(n, one.passage, one.quote) for n, one in enumerate(answer.quotes, start=1)
        ]
        if not answer.is_answered:
            text = _declined(question, answer)
        elif model is None:
            text = _quoted(answer)
        else:
            text = await _written(platform, model, question, answer, not asked.json)
            citations = list(marked(citations, marks(text, citations)))
        if asked.json:
            shown = {"answered": answer.is_answered, "answer": text, "citations": citations}
            print_json(shown | {"also": [_also(one) for one in answer.also]})
            return
        is_told = answer.is_answered and model is not None
        console.print("" if is_told else text, markup=False, soft_wrap=True)
        _show(platform, citations, is_answered=answer.is_answered)
        if answer.also:
            said = "; ".join(" · ".join(_also(one).values()) for one in answer.also)
            console.print(f"\nAlso in: {said}", markup=False, soft_wrap=True)
    finally:
        await platform.close()


def _also(passage: Passage) -> dict[str, str]:
    """A document that says the like, and its day."""
    at = passage.published_at
    day = {} if at is None else {"published": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"}
    return {"document": passage.document, **day}


def _declined(question: str, answer: QuotedAnswer) -> str:
    """That it is not there, or that nothing says it for certain: reports of one form, quarter for
    quarter, stand against each other, and the one that is meant does not stand out."""
    is_near = any(one.held >= _NEAR for one in answer.quotes)
    return (_UNSURE if is_near else NOT_FOUND)[language_of(question)]


def _quoted(answer: QuotedAnswer) -> str:
    """The quotations in a row, each with its number."""
    return "\n".join(f"{one.quote.shown} [{n}]" for n, one in enumerate(answer.quotes, start=1))


async def _written(
    platform: Platform, model: str, question: str, answer: QuotedAnswer, shown: bool
) -> str:
    """What a model makes of the passages, shown as it comes."""
    await platform.upstreams.watch()
    served = platform.serving.open_chat(model)
    passages = [one.passage for one in answer.quotes]
    if isinstance(served, Served):
        passages = inert(passages, served.tokenizer)
        is_grounded = served.content is not None and served.content.task == "grounded"
        messages = answer_prompt(question, passages, is_grounded=is_grounded)
        deltas = served.generate(messages, served.defaults)
    else:
        messages = answer_prompt(question, passages)
        deltas = (await served.answer(messages, served.defaults)).deltas
    parts: list[str] = []
    async for delta in deltas:
        parts.append(delta.text)
        if shown:
            console.print(delta.text, end="", markup=False, soft_wrap=True)
    return "".join(parts).strip()


def _show(platform: Platform, citations: list[Citation], *, is_answered: bool) -> None:
    if not citations:
        return
    console.print("" if is_answered else "\nThe nearest passages:")
    for citation in citations:
        console.print(
            f"\\[{citation.number}] {escape(' · '.join(_place(citation)))}", soft_wrap=True
        )
        for line in (citation.table or " ".join(citation.quote.split())).splitlines():
            console.print(f"    [dim]{escape(line)}[/]", soft_wrap=True)
        if citation.is_supported is False:
            console.print("    [yellow]the answer cites it for something that it does not say[/]")
        for address in _addresses(platform, citation):
            console.print(f"    [dim]{escape(address)}[/]", soft_wrap=True)


def _place(citation: Citation) -> list[str]:
    place = [citation.document]
    if citation.page is not None:
        place.append(f"page {citation.page}")
    if citation.title:
        place.append(citation.title)
    if citation.published_at is not None:
        published = datetime.fromtimestamp(citation.published_at, UTC)
        place.append(f"published {published:%Y-%m-%d %H:%M} UTC")
    return place


def _addresses(platform: Platform, citation: Citation) -> list[str]:
    """Where a person opens it: the source, and the server's page at the very words."""
    document, knowledge = quote(citation.document), quote(citation.knowledge, safe="@")
    span = f"{citation.quote_start}-{citation.quote_end}"
    source = citation.url or _file(platform, citation)
    return [*([source] if source else []), f"/knowledge/{knowledge}/{document}?span={span}"]


def _file(platform: Platform, citation: Citation) -> str:
    """The path of what came from a folder of this machine, "" for the rest."""
    bases = platform.knowledge
    row = document_row(bases.database, bases.get(citation.knowledge), citation.document)
    source = Path("" if row is None else row.source)
    found = (source / citation.document, source)
    return next((str(path) for path in found if path.is_absolute() and path.is_file()), "")
