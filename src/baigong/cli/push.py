"""`baigong push`: a repository of this hub, sent to another one."""

from __future__ import annotations

from typing import Annotated

import httpx2
import typer

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, verb
from baigong.config import Settings
from baigong.errors import Unreachable
from baigong.hub.names import Kind
from baigong.hub.remote import HF, HF_TYPES

app = verb()


@app.command()
def push(
    ref: Annotated[str, typer.Argument(help="owner/name, or owner/name@revision")],
    endpoint: Annotated[
        str,
        typer.Option(
            help="a hub that speaks Hugging Face's protocol, such as http://hub.example/hf"
        ),
    ] = HF,
    name: Annotated[str, typer.Option(help="what to call it there (owner/name)")] = "",
    kind: Annotated[Kind, typer.Option(help="model, dataset or recipe")] = "model",
    private: Annotated[bool, typer.Option("--private", help="for its owner alone, there")] = False,
    token: Annotated[
        str, typer.Option(envvar="HF_TOKEN", help="of the other hub", show_envvar=True)
    ] = "",
    json: Json = False,
) -> None:
    """Send a repository of the hub to another hub. What is there already is not sent again."""
    from huggingface_hub import HfApi  # noqa: PLC0415  slow, and for this verb alone
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    theirs = HF_TYPES[kind]
    kept = Platform.open(Settings.load()).hub.get(kind, ref)
    remote, api = name or kept.name, HfApi(endpoint=endpoint, token=token or None)
    sdk = "static" if theirs == "space" else None
    try:
        api.create_repo(remote, repo_type=theirs, private=private, exist_ok=True, space_sdk=sdk)
        made = api.upload_folder(
            repo_id=remote,
            repo_type=theirs,
            folder_path=kept.folder,
            commit_message=f"{kept.name} at {kept.revision[:12]}",
        )
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise Unreachable(
            f"{endpoint} did not take '{remote}': {error}",
            hint="Check the address and --token; run it again, what has arrived is not sent twice.",
        ) from error
    if json:
        print_json({"name": remote, "commit": made.oid, "endpoint": endpoint})
        return
    console.print(f"{remote}  at commit {made.oid[:12]} of {endpoint}")
