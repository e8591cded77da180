"""`baigong chat`: a conversation in the terminal, with the passages that it stands on."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.markup import escape

from baigong.app import Platform
from baigong.cli.screen import Json, console, errors, print_json, verb
from baigong.config import Settings
from baigong.industry.citing import marked, marks
from baigong.industry.foreign import Foreign
from baigong.industry.serving import Served
from baigong.types import Message

app = verb()


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="a release or a foundation model")],
    question: Annotated[str, typer.Argument(help="one question; leave out to converse")] = "",
    json: Json = False,
) -> None:
    """Ask a model. It runs in this process; no server is needed."""
    platform = Platform.open(Settings.load())
    asyncio.run(_chat(platform, model, question, json))


async def _chat(platform: Platform, model: str, question: str, json: bool) -> None:
    try:
        await platform.upstreams.watch()
        served = platform.serving.open_chat(model)
        if question:
            await _ask(served, [Message("user", question)], json)
            return
        errors.print(f"[dim]{served.name}. An empty line ends the conversation.[/]")
        messages: list[Message] = []
        while asked := (await asyncio.to_thread(_prompt)).strip():
            messages.append(Message("user", asked))
            messages.append(Message("assistant", await _ask(served, messages, json)))
    finally:
        await platform.close()


def _prompt() -> str:
    try:
        return console.input("[bold]> [/]")
    except EOFError:
        return ""


async def _ask(served: Served | Foreign, messages: list[Message], json: bool) -> str:
    answer = await served.answer(messages, served.defaults)
    parts: list[str] = []
    async for delta in answer.deltas:
        parts.append(delta.text)
        if not json:
            console.print(delta.text, end="", markup=False, soft_wrap=True)
    text = "".join(parts)
    if json:
        print_json({"answer": text, "citations": answer.citations})
        return text
    console.print()
    for citation in marked(answer.citations, marks(text, answer.citations)):
        doubt = "[yellow] does not say what it is cited for[/]" * (citation.is_supported is False)
        place = f"\\[{citation.number}] {escape(citation.document)}"
        console.print(f"  [dim]{place}: {escape(citation.quote)}[/]{doubt}")
    return text
