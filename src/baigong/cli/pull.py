"""`baigong pull`: models and datasets brought into the hub, and out of it in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli.screen import Json, bar, console, print_json, size, verb
from baigong.cli.whole import Elsewhere, bring_whole, tell, write_bundle
from baigong.config import Settings
from baigong.errors import InvalidInput
from baigong.hub.hub import Revision
from baigong.hub.names import MAIN, Kind
from baigong.hub.pull import add_dataset
from baigong.hub.pull import pull as pull_model

app = verb()


@app.command()
def pull(
    sources: Annotated[
        list[str],
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
        bool, typer.Option("--dataset", help="a dataset: a file or folder of rows, or a name")
    ] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="every file, at the commit that it has there, and kept as it is"
        ),
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            help="write a bundle for a machine without a network; what is not here is "
            "brought whole first"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Bring models into the hub: such as write, embed or classify. Safetensors or GGUF."""
    if len(sources) > 1 and name:
        raise InvalidInput("--name is for one source.", param="name")
    platform = Platform.open(Settings.load())
    if whole or into is not None:
        kind: Kind = "dataset" if dataset else "model"
        elsewhere = Elsewhere(kind, endpoint, revision or MAIN, again=whole)
        found = bring_whole(platform, sources, elsewhere, quiet=json)
        write_bundle(platform, found, into, json) if into else tell(found, json)
        return
    kept = []
    for source in sources:
        if dataset:
            kept.append(add_dataset(platform.hub, Path(source), name or None))
        else:
            kept.append(_model(platform, source, name, endpoint, revision, token, quiet=json))
    if json:
        rows = [{"ref": k.ref, "revision": k.revision, "facts": dict(k.facts)} for k in kept]
        print_json(rows[0] if len(rows) == 1 else rows)
        return
    for one in kept:
        console.print(_how(one, is_rows=dataset))


def _model(
    platform: Platform,
    source: str,
    name: str,
    endpoint: str,
    revision: str,
    token: str,
    *,
    quiet: bool,
) -> Revision:
    with bar(source, quiet=quiet) as report:
        return pull_model(
            platform.hub,
            source,
            name=name or None,
            endpoint=endpoint or None,
            revision=revision or None,
            token=token or None,
            workdir=platform.settings.home / "pulls",
            report=report,
        )


def _how(kept: Revision, *, is_rows: bool) -> str:
    if is_rows:
        return f"{kept.ref}\nUse it as `rows: dataset://{kept.name}` in a recipe."
    return (
        f"{kept.ref}  {kept.facts['architecture']}  {size(kept.size_bytes)}\n"
        f"Use it as `base: {kept.name}` in a recipe, or ask it: baigong chat {kept.name}"
    )
