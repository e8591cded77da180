"""`baigong serve`: one process that answers every door."""

from __future__ import annotations

from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli.screen import console, verb
from baigong.config import Settings
from baigong.console.pages import routes
from baigong.gateway.keys import Keys
from baigong.gateway.run import serve as run_server
from baigong.inference.upstream.vllm import find_vllm

app = verb()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="address to listen on [127.0.0.1]")] = "",
    port: Annotated[
        int, typer.Option(help="port; 0 picks a free one [7860]", show_default=False)
    ] = -1,
    engine: Annotated[
        str, typer.Option(help="own, or vllm to have `vllm serve` run the models [own]")
    ] = "",
) -> None:
    """Serve live releases and foundation models until interrupted."""
    settings = Settings.load(
        host=host or None, port=None if port < 0 else port, engine=engine or None
    )
    if settings.engine == "vllm":
        find_vllm()  # before anything else: a server that cannot answer should not listen
    platform = Platform.open(settings)

    def ready(url: str) -> None:
        live = ", ".join(platform.releases.live()) or "nothing yet"
        guarded = Keys(platform.database, platform.secret).any()
        console.print(f"[bold]Baigong[/] listens at [bold]{url}[/]   live: {live}")
        console.print(f"  console   {url}/\n  OpenAI    {url}/v1   (OPENAI_BASE_URL={url}/v1)")
        for one in platform.upstreams.status():
            state = "well" if one.is_well else f"[yellow]not well[/]: {one.reason}"
            console.print(f"  upstream  {one.name} ({one.kind}): {state}")
        if not guarded:
            console.print(
                "  [yellow]open[/]      no key is needed on this machine; "
                "`baigong keys create NAME` closes it"
            )

    run_server(platform, settings.host, settings.port, pages=routes(platform), ready=ready)
