"""Writes docs/reference.md from the code: verbs, settings, recipe and upstream fields, errors. `--check` only looks."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer import Typer
from typer.models import ArgumentInfo

from baigong import errors
from baigong.cli import VERBS
from baigong.config import PREFIX, Settings
from baigong.evals.metrics import METRICS
from baigong.graders import Grader
from baigong.industry.recipe import Recipe
from baigong.inference.upstream.settings import UpstreamSettings

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"


def main() -> None:
    wanted = "\n".join(_page()) + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, "utf-8")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != wanted:
        sys.exit("docs/reference.md is not what the code says: run `make docs`.")


def _page() -> Iterator[str]:
    yield "# Reference"
    yield "\nWritten from the code by `make docs`.\n"
    yield "## Verbs\n"
    yield "Every verb takes `--help`; those that print take `--json`."
    yield "Exit codes: 0 done, 1 failed, 2 not a valid command, 3 refused by a gate.\n"
    for verb, summary in VERBS.items():
        yield f"### `baigong {verb}`\n\n{summary}\n"
        yield from _options(verb)
    yield "## Settings\n"
    yield "Environment variables; an unknown one is an error.\n"
    yield "| variable | default | is |\n|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = "`~/.baigong`" if field.default_factory else f"`{field.default}`"
        yield f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |"
    yield "\n## Recipe\n"
    yield "| field | allowed | default | is |\n|---|---|---|---|"
    schema = Recipe.model_json_schema()
    yield from _fields(schema, schema, "")
    yield "\n## upstreams.yaml\n"
    yield "In the home; a mapping from each upstream's name to these fields.\n"
    yield "| field | allowed | default | is |\n|---|---|---|---|"
    schema = UpstreamSettings.model_json_schema()
    yield from _fields(schema, schema, "")
    yield "\n## Metrics\n"
    yield "| metric | tasks | compared by |\n|---|---|---|"
    for metric in METRICS.values():
        test = "McNemar's exact test" if metric.is_binary else "paired bootstrap"
        yield f"| `{metric.name}` ({metric.title}) | {', '.join(metric.tasks)} | {test} |"
    yield "\n## Graders\n"
    yield "What `tune.rewards` takes: objects after OpenAI's graders, each worth 0 to 1. All but `multi` have"
    yield "`reference`, by default `{{item.answer}}`, the answer wanted.\n"
    yield "| type | fields | is |\n|---|---|---|"
    for grader in get_args(Grader):
        names = [n for n in grader.__struct_fields__ if n not in {"name", "input", "reference"}]
        fields = ", ".join(f"`{name}`" for name in names)
        yield f"| `{grader.__struct_config__.tag}` | {fields} | {_first_line(grader)} |"
    yield "\n## Errors\n"
    yield "| code | HTTP status | is |\n|---|---|---|"
    yield from _errors()


def _options(verb: str) -> Iterator[str]:
    """Read from the signatures and not from `--help`, whose look changes with library versions."""
    yield from _commands(f"baigong {verb}", importlib.import_module(f"baigong.cli.{verb}").app)


def _commands(words: str, app: Typer) -> Iterator[str]:
    commands = app.registered_commands
    for command in commands:
        function = command.callback
        if len(commands) > 1:
            name = (command.name or function.__name__).rstrip("_")
            yield f"`{words} {name}`: {_first_line(function)}\n"
        yield "| word | is |\n|---|---|"
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            yield f"| {_word(parameter.name, hints[parameter.name])} |"
        yield ""
    for group in app.registered_groups:
        yield from _commands(f"{words} {group.name}", group.typer_instance)


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]


def _word(name: str, hint: Any) -> str:
    """A parameter's name on the command line, and what it is."""
    info = next(m for m in hint.__metadata__ if hasattr(m, "param_decls"))
    if isinstance(info, ArgumentInfo):
        return f"`{name.upper()}` | {info.help}"
    # Inside Annotated the first declaration stands where a default would.
    words = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    declared = next((word for word in words if word.startswith("--")), None)
    value = "" if hint.__origin__ is bool else f" {info.metavar or name.rstrip('_').upper()}"
    return f"`{declared or '--' + name.replace('_', '-')}{value}` | {info.help}"


def _fields(schema: dict[str, Any], whole: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        field = _resolved(field, whole)
        nested = [_resolved(option, whole) for option in field.get("anyOf", [])]
        inner = next((o for o in [field, *nested] if o.get("properties")), None)
        if inner is not None and name not in {"title", "description"}:
            yield from _fields(inner, whole, f"{prefix}{name}.")
            continue
        default = field.get("default")
        shown = "" if default is None else f"`{default}`"
        yield f"| `{prefix}{name}` | {_allowed(field, whole)} | {shown} | {field.get('description', '')} |"


def _resolved(field: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A `$ref` replaced by what it names; what stands beside it is kept."""
    reference = field.get("$ref")
    if reference is None:
        return field
    return {**whole["$defs"][reference.rpartition("/")[2]], **field}


def _allowed(field: dict[str, Any], whole: dict[str, Any]) -> str:
    options = [_resolved(option, whole) for option in field.get("anyOf", [field])]
    return " or ".join(dict.fromkeys(_kind(option) for option in options))


def _kind(option: dict[str, Any]) -> str:
    if "enum" in option:
        return " or ".join(f"`{value}`" for value in option["enum"])
    if "const" in option:
        return f"`{option['const']}`"
    kind = {"object": "mapping", "array": "list", "null": "nothing", "string": "text"}
    text = kind.get(option.get("type", ""), option.get("type", "any"))
    low = option.get("minimum", option.get("exclusiveMinimum"))
    high = option.get("maximum", option.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f"{text} {low} to {high}"
    return f"{text} from {low}" if low is not None else text


def _errors() -> Iterator[str]:
    seen = [errors.BaigongError]
    for kind in seen:
        seen += kind.__subclasses__()
        doc = (kind.__doc__ or "").strip().splitlines()[0]
        yield f"| `{kind.code}` | {kind.status} | {doc} |"


main()
