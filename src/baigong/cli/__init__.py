"""The command line: one file per verb. A verb's file is imported when it is called.

That keeps `baigong --help` instant: this module imports nothing of the platform.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence

from baigong import __version__
from baigong.errors import BaigongError, Refused

VERBS = {
    "build": "Build a recipe: tune, ground, prove, and make the result live if it is better.",
    "tune": "Tune a base on your own rows, without a recipe: worked out, proven, live if better.",
    "serve": "Answer at /v1 for any OpenAI client, with the console at /.",
    "ingest": "Read documents into a knowledge base; again, only what changed.",
    "ask": "Ask knowledge bases: the sentences that answer, each with its place.",
    "eval": "Measure a knowledge base: what it finds, cites and declines.",
    "chat": "Talk to a model in the terminal, with the passages it stands on.",
    "releases": "List releases with their gates, or show one.",
    "promote": "Make a release live.",
    "rollback": "Make what was live before live again.",
    "jobs": "List long work and how far it is.",
    "pull": "Bring a model from a folder, Hugging Face or ModelScope into the hub.",
    "push": "Send a repository of the hub to another hub.",
    "import": "Bring repositories out of a bundle that `pull --into` made.",
    "models": "List well-known open models, and what can be done with each here.",
    "hub": "List and show repositories, say who sees them and what they may hold; organisations.",
    "gc": "Delete bytes that nothing leads to any more, beside servers that run.",
    "fit": "Say what memory a model takes, from its files' headers alone.",
    "pretrain": "Train a foundation model from text, or an embedder from pairs.",
    "keys": "Make, list and revoke the keys that callers need.",
    "doctor": "Check this machine and installation, and say what to mend.",
    "demo": "Build the sample recipe and ask it three questions.",
}

USAGE, REFUSED = 2, 3  # exit codes beside 0 (done) and 1 (failed)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the `baigong` command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {"-h", "--help", "help"}:
        print(_help())
        return
    if given[0] == "--version":
        print(f"baigong {__version__}")
        return
    if given[0] not in VERBS:
        _fail_usage(given[0])
    _run(given[0], given[1:])


def _run(verb: str, arguments: list[str]) -> None:
    try:
        module = importlib.import_module(f"baigong.cli.{verb}")
        module.app(args=arguments, prog_name=f"baigong {verb}")
    except BaigongError as error:
        if "--json" in arguments:
            print(json.dumps({"error": _error(error)}, ensure_ascii=False))
        else:
            print(f"baigong {verb}: {error.message}", file=sys.stderr)
            if error.hint:
                print(f"  {error.hint}", file=sys.stderr)
        sys.exit(REFUSED if isinstance(error, Refused) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _error(error: BaigongError) -> dict[str, str | None]:
    return {"message": error.message, "hint": error.hint, "code": error.code, "param": error.param}


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [
        "Baigong (百工): from one recipe to a proven, live industry model.",
        "",
        "Usage: baigong VERB [OPTIONS]      baigong VERB --help says more",
        "",
        *(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()),
        "",
        "First steps: `baigong demo`, or `baigong tune rows.csv --name support` on rows of your own.",
    ]
    return "\n".join(lines)


def _fail_usage(word: str) -> None:
    from difflib import get_close_matches  # noqa: PLC0415  only for a mistake

    near = get_close_matches(word, VERBS, n=1)
    hint = f"Did you mean `baigong {near[0]}`?" if near else "`baigong --help` lists the verbs."
    print(f"baigong: there is no verb '{word}'. {hint}", file=sys.stderr)
    sys.exit(USAGE)
