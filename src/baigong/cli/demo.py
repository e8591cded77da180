"""`baigong demo`: the whole loop on the sample trade, asked through the stock OpenAI client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from openai import AsyncOpenAI

from baigong.app import Platform
from baigong.cli.live import LiveView
from baigong.cli.report import print_report
from baigong.cli.screen import Json, console, errors, print_json, verb
from baigong.config import Settings
from baigong.console.pages import routes
from baigong.errors import InvalidInput, Refused
from baigong.gateway.keys import Keys
from baigong.gateway.run import running
from baigong.industry.build import build
from baigong.industry.recipe import load_recipe
from baigong.industry.releases import Release

app = verb()

QUESTIONS = (
    "My kettle LK-204817 is the wrong colour. How many days do I have to return it?",
    "发票抬头开错了能改吗？",
    "How do I descale my kettle?",
)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="end after the questions")] = False,
    recipe: Annotated[Path, typer.Option(help="the recipe to build")] = Path(
        "recipes/customer-service/recipe.yaml"
    ),
    port: Annotated[
        int, typer.Option(help="port of the server; 0 picks a free one", show_default=False)
    ] = -1,
    json: Json = False,
) -> None:
    """Build the sample recipe, serve it, ask three questions. Exit 0 only if all of it worked."""
    if not recipe.exists():
        raise InvalidInput(
            f"There is no {recipe} here.",
            hint="Run it in a checkout of Baigong, or give --recipe.",
        )
    settings = Settings.load(port=None if port < 0 else port)
    asyncio.run(_demo(Platform.open(settings), recipe, once=once, json=json))


async def _demo(platform: Platform, path: Path, *, once: bool, json: bool) -> None:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(platform.close)
        release = await _build(platform, path, quiet=json)
        port = 0 if once else platform.settings.port
        url = await stack.enter_async_context(
            running(platform, platform.settings.host, port, pages=routes(platform))
        )
        key = stack.enter_context(_key(Keys(platform.database, platform.secret)))
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
            answers = [await _ask(client, release.name, asked, json) for asked in QUESTIONS]
        if json:
            print_json({"release": release.ref, "url": url, "answers": answers})
        if once:
            return
        _next_steps(url, release.name)
        await asyncio.Event().wait()  # until interrupted


async def _build(platform: Platform, path: Path, *, quiet: bool) -> Release:
    recipe = load_recipe(path)
    live = platform.releases.live().get(recipe.name)
    with LiveView(errors if quiet else console) as view:
        release = await build(platform.workshop, recipe, view)
    if not quiet:
        console.print()
        print_report(release.report, release.verdict)
    if release.passed:
        return release
    if (
        live is not None
    ):  # a second demo builds what is live already, which is no better than itself
        return platform.releases.get(recipe.name)
    raise Refused(
        "The sample was refused by its gate.", hint=f"baigong releases {release.ref} says why."
    )


@contextmanager
def _key(keys: Keys) -> Iterator[str]:
    """Where callers need a key, one for these questions alone."""
    if not keys.any():
        yield "none"
        return
    key_id, key = keys.create("demo")
    try:
        yield key
    finally:
        keys.revoke(key_id)


async def _ask(client: AsyncOpenAI, model: str, question: str, json: bool) -> dict[str, Any]:
    reply = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}]
    )
    message = reply.choices[0].message
    cited: list[dict[str, Any]] = (message.model_extra or {}).get("citations", [])
    if not json:
        console.print(f"\n[bold]> {question}[/]", highlight=False)
        console.print(f"  {message.content}", markup=False)
        if cited:
            best = cited[0]
            console.print(f"  [dim]“{best['quote']}” ({best['document']})[/]")
    return {"question": question, "answer": message.content, "citations": cited}


def _next_steps(url: str, name: str) -> None:
    console.print(f"\n[bold]It is running.[/]  console {url}/   OpenAI {url}/v1   model '{name}'")
    console.print("Try next:")
    console.print(f"  OPENAI_BASE_URL={url}/v1 with any OpenAI client, model='{name}'")
    console.print("  baigong build recipes/customer-service/worse.yaml   to see a gate refuse")
    console.print("  edit recipes/customer-service/recipe.yaml           to make it your trade")
    console.print("[dim]Ctrl-C ends it; `baigong serve` starts it again.[/]")
