"""`baigong pull`: a model brought into the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from baigong.app import Platform
from baigong.cli.screen import Json, console, errors, print_json, size, verb
from baigong.config import Settings
from baigong.hub.pull import add_dataset
from baigong.hub.pull import pull as pull_model
from baigong.types import Progress

app = verb()


@app.command()
def pull(
    source: Annotated[
        str,
        typer.Argument(
            help="a folder, a .gguf file, owner/name, hf://owner/name or modelscope://owner/name; "
            "owner/name/FILE.gguf"
        ),
    ],
    name: Annotated[str, typer.Option(help="what to call it here (owner/name)")] = "",
    endpoint: Annotated[str, typer.Option(help="another hub that speaks the same protocol")] = "",
    revision: Annotated[str, typer.Option(help="branch, tag or commit")] = "",
    token: Annotated[
        str, typer.Option(envvar="HF_TOKEN", help="for gated models", show_envvar=True)
    ] = "",
    dataset: Annotated[
        bool, typer.Option("--dataset", help="a file or folder of rows instead of a model")
    ] = False,
    json: Json = False,
) -> None:
    """Bring a model into the hub: one that writes, embeds or classifies. Safetensors or GGUF."""
    platform = Platform.open(Settings.load())
    if dataset:
        rows = add_dataset(platform.hub, Path(source), name or None)
        if json:
            print_json({"ref": rows.ref, "revision": rows.revision})
            return
        console.print(f"{rows.ref}\nUse it as `rows: dataset://{rows.name}` in a recipe.")
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=errors, disable=json or not errors.is_terminal) as bars:
        bar = bars.add_task("pull", total=None)

        def report(progress: Progress) -> None:
            bars.update(bar, completed=progress.done, total=progress.total)

        kept = pull_model(
            platform.hub,
            source,
            name=name or None,
            endpoint=endpoint or None,
            revision=revision or None,
            token=token or None,
            workdir=platform.settings.home / "pulls",
            report=report,
        )
    if json:
        print_json({"ref": kept.ref, "revision": kept.revision, "facts": dict(kept.facts)})
        return
    console.print(
        f"{kept.ref}  {kept.facts['architecture']}  {size(kept.size_bytes)}\n"
        f"Use it as `base: {kept.name}` in a recipe, or ask it: baigong chat {kept.name}"
    )
