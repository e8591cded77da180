"""What is wrong with a recipe, said so that it can be mended: files, cross-field rules, wording."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import jsonschema
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from baigong.errors import InvalidInput
from baigong.evals.metrics import METRICS
from baigong.graders import read_grader
from baigong.industry.yaml_lines import Document, Loc

Cross = tuple[Loc, str]

# The fields that data.columns may map. Extraction also takes the properties of its schema.
TASK_FIELDS: dict[str, tuple[str, ...]] = {
    "chat": ("messages", "prompt", "answer"),
    "classification": ("text", "label"),
    "extraction": ("text", "answer"),
    "grounded": ("question", "answer", "document"),
    "text": ("text",),
    "preference": ("prompt", "chosen", "rejected", "answer", "label"),
    "regression": ("text", "value"),
    "pairs": ("query", "positive", "negative"),
    "images": ("image", "label"),
}
# What each task's rows can teach, the default first; the others teach what to answer.
OBJECTIVES_OF: defaultdict[str, tuple[str, ...]] = defaultdict(
    lambda: ("supervised", "distill", "grpo"),
    classification=("supervised", "distill", "grpo", "classify"),
    preference=("dpo", "orpo", "kto"),
    text=("continued",),
    regression=("regress",),
    pairs=("embed", "rerank"),
    images=("images",),
)

_SHOWN = 60


def show(value: Any) -> str:
    """A value as it was written, cut to a length that fits a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def suggest(name: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """` did you mean x?` or nothing."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


# --- files ---------------------------------------------------------------------------------------


def resolve_files(document: Document, folder: Path) -> None:
    """Makes every path absolute and reads the schema, noting what does not exist."""
    _file(document, ("data", "rows"), folder)
    for part in ("validation", "test"):
        if not _is_number(document.get("data", "split", part)):
            _file(document, ("data", "split", part), folder)
    _file(document, ("knowledge", "questions"), folder)
    sources = document.get("knowledge", "sources")
    if isinstance(sources, str):
        document.put(("knowledge", "sources"), [sources])
        document.places["knowledge", "sources", 0] = document.where(("knowledge", "sources"))
    sources = document.get("knowledge", "sources")
    for i in range(len(sources) if isinstance(sources, list) else 0):
        _file(document, ("knowledge", "sources", i), folder)
    if isinstance(document.get("schema"), str):
        _read_schema(document, folder)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _file(document: Document, loc: Loc, folder: Path) -> Path | None:
    """The absolute path at a place in the recipe, also written back; None if there is none."""
    names = [part for part in loc if isinstance(part, str)]
    written = document.get(*names)
    if isinstance(written, list) and isinstance(loc[-1], int):
        written = written[loc[-1]]
    if not isinstance(written, str) or not written or written.startswith("dataset://"):
        return None
    # A path typed on the command line is relative to where it was typed.
    base = Path.cwd() if document.is_override(loc) else folder
    try:
        path = (base / Path(written).expanduser()).resolve()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError):  # too long, unknown ~user, NUL in the name
        path, exists = base / "?", False
    if not exists:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = suggest(path.name, beside)
        document.problem(loc, f"got {show(written)}; no such file or folder below {base}{near}")
        return None
    document.put(loc, str(path))
    return path


def _read_schema(document: Document, folder: Path) -> None:
    path = _file(document, ("schema",), folder)
    loaded: Any = {}
    if path is not None:
        try:
            loaded = json.loads(path.read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
            document.problem(("schema",), f"{path.name} is not a JSON file: {error}")
        else:
            document.put(("schema",), loaded)
            return
    # The mistake is noted; a schema that allows nothing to be said about keeps the rest checkable.
    document.put(("schema",), {"type": "object", "properties": {"?": {}}})


# --- rules across fields -------------------------------------------------------------------------


def cross_problems(data: Mapping[str, Any]) -> list[Cross]:
    """Every rule that takes two fields to break. `data` may hold anything: fields are checked apart."""
    task = data.get("task")
    if not isinstance(task, str) or task not in TASK_FIELDS:
        return []
    return [
        *_required_by_task(data, task),
        *(_schema_problems(data.get("schema")) if task == "extraction" else ()),
        *_column_problems(data, task),
        *_objective_problems(data, task),
        *_metric_problems(data, task),
        *_slice_problems(data),
        *_share_problems(data),
        *_knowledge_problems(data),
        *_teaching_problems(data),
    ]


def _at(data: Any, *loc: str) -> Any:
    for part in loc:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _required_by_task(data: Mapping[str, Any], task: str) -> Iterator[Cross]:
    if data.get("schema") is not None and task != "extraction":
        yield ("schema",), f"only for task: extraction, and this task is {task}; remove it"
    # Any task may bring documents to cite from; a grounded one cannot answer without.
    for section, owner in (("schema", "extraction"), ("knowledge", "grounded")):
        if data.get(section) is None and task == owner:
            yield (section,), f"required when task is {owner}"
    if _at(data, "gate", "knowledge") and data.get("knowledge") is None:
        yield ("gate", "knowledge"), "the recipe has no knowledge to measure; remove it"


def _knowledge_problems(data: Mapping[str, Any]) -> Iterator[Cross]:
    knowledge = data.get("knowledge")
    if not isinstance(knowledge, Mapping):
        return
    if bool(knowledge.get("sources")) == bool(knowledge.get("from")):
        yield ("knowledge",), "give either sources or from, the name of a knowledge base"


def _teaching_problems(data: Mapping[str, Any]) -> Iterator[Cross]:
    """What distillation and rewards need, and nothing else takes."""
    objective = _at(data, "tune", "objective")
    teacher, rewards = _at(data, "tune", "teacher"), _at(data, "tune", "rewards")
    for name, owner, given in (("teacher", "distill", teacher), ("rewards", "grpo", rewards)):
        if given and objective != owner:
            yield ("tune", name), f"only for objective: {owner}; remove it, or set tune.objective"
        if not given and objective == owner:
            yield ("tune", name), f"required when the objective is {owner}"
    for i, grader in enumerate(rewards if isinstance(rewards, list | tuple) else ()):
        if not isinstance(grader, Mapping):
            continue
        try:
            read_grader(grader)
        except InvalidInput as error:
            message = error.message.removeprefix("grader: ")
            yield ("tune", "rewards", i), f"{message} {error.hint}"


def _schema_problems(schema: Any) -> Iterator[Cross]:
    if not isinstance(schema, Mapping):
        return
    try:
        Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        where: Loc = ("schema", *error.absolute_path)
        yield where, f"not a JSON schema: {error.message[:200]}"
        return
    if not isinstance(schema.get("properties"), Mapping) or not schema["properties"]:
        yield ("schema",), "needs `properties`: the fields to extract"
    elif schema.get("type", "object") != "object":
        yield ("schema", "type"), f"got {show(schema['type'])}; allowed object"
    for ref in _references(schema):
        if not ref.startswith("#"):
            yield ("schema",), f"got $ref {show(ref)}; allowed only references inside it (#/...)"


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            if key in {"$ref", "$dynamicRef"} and isinstance(child, str):
                yield child
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def _column_problems(data: Mapping[str, Any], task: str) -> Iterator[Cross]:
    columns = _at(data, "data", "columns")
    allowed = list(TASK_FIELDS[task])
    properties = _at(data, "schema", "properties")
    if task == "extraction" and isinstance(properties, Mapping):
        allowed += [name for name in properties if name not in allowed]
    for field in columns if isinstance(columns, Mapping) else ():
        if field not in allowed:
            message = f"{task} has no such field; allowed {', '.join(allowed)}"
            yield ("data", "columns", field), message + suggest(field, allowed)


def _objective_problems(data: Mapping[str, Any], task: str) -> Iterator[Cross]:
    chosen, fitting = _at(data, "tune", "objective"), OBJECTIVES_OF[task]
    owners = [name for name in TASK_FIELDS if chosen in OBJECTIVES_OF[name]]
    if chosen not in fitting and owners:
        message = f"got {chosen}, which rows of task: {task} cannot teach; allowed"
        yield (
            ("tune", "objective"),
            f"{message} {', '.join(fitting)}; or set task: {' or '.join(owners)}",
        )
    has_none = chosen in {"supervised", "continued", "distill"}
    if has_none and _at(data, "tune", "beta") not in {None, "auto"}:
        yield ("tune", "beta"), f"objective {chosen} has no beta; remove it"


def _metric_problems(data: Mapping[str, Any], task: str) -> Iterator[Cross]:
    metrics = _at(data, "evals", "metrics")
    if not isinstance(metrics, list | tuple):
        return
    fitting = [name for name, metric in METRICS.items() if task in metric.tasks]
    for i, name in enumerate(metrics):
        loc: Loc = ("evals", "metrics", i)
        if isinstance(name, str) and name not in fitting:
            what = f"does not fit {task}" if name in METRICS else "no such metric"
            allowed = ", ".join(fitting)
            yield loc, f"got {show(name)}; {what}; allowed {allowed}{suggest(name, fitting)}"
    chosen = _at(data, "gate", "metric")
    if isinstance(chosen, str) and chosen not in metrics and metrics:
        among = ", ".join(map(str, metrics))
        yield ("gate", "metric"), f"got {show(chosen)}; allowed one of evals.metrics: {among}"


def _slice_problems(data: Mapping[str, Any]) -> Iterator[Cross]:
    slices = _at(data, "data", "slices")
    listed = slices if isinstance(slices, list | tuple) else ()
    named = [name for name in listed if isinstance(name, str)]
    gate = _at(data, "gate", "slices")
    for name in gate if isinstance(gate, Mapping) else ():
        if name not in named:
            allowed = ", ".join(named) or "none yet"
            message = f"not among data.slices ({allowed}); add it there"
            yield ("gate", "slices", name), message + suggest(name, named)


def _share_problems(data: Mapping[str, Any]) -> Iterator[Cross]:
    parts = [_at(data, "data", "split", part) for part in ("validation", "test")]
    shares = [float(part) for part in parts if _is_number(part) and not isinstance(part, bool)]
    if sum(shares) > 0.95:
        total = f"{sum(shares):g}"
        yield ("data", "split"), f"the shares add up to {total}; allowed at most 0.95 in all"


# --- wording -------------------------------------------------------------------------------------


def describe_errors(document: Document, error: ValidationError, model: type[BaseModel]) -> None:
    """Adds pydantic's errors as problems, the branches of a union as one."""
    grouped: dict[Loc, list[Any]] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] != "recipe":  # cross-field rules are reported apart, with their lines
            grouped.setdefault(_real(document.data, detail), []).append(detail)
    for loc, details in grouped.items():
        document.problem(loc, _message(loc, details, model))


def _real(data: Any, detail: Any) -> Loc:
    """The place in the file: pydantic appends the names of union branches below a plain value."""
    loc: list[str | int] = []
    for part in detail["loc"]:
        inside = isinstance(data, list) if isinstance(part, int) else isinstance(data, dict)
        if not inside or part == "[key]":
            break
        loc.append(part)
        data = (
            data.get(part) if isinstance(data, dict) else data[part] if part < len(data) else None
        )
    return tuple(loc)


def _message(loc: Loc, details: list[Any], model: type[BaseModel]) -> str:
    first = details[0]
    keys = _keys(model, loc[:-1])
    if first["type"] == "missing":
        return "required, and missing"
    if first["type"] == "extra_forbidden":
        return f"unknown key; allowed {', '.join(keys)}{suggest(str(loc[-1]), keys)}"
    allowed = " or ".join(dict.fromkeys(_allowed(detail) for detail in details))
    near = ""
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        choices = [choice.strip("'") for choice in first["ctx"]["expected"].split(" or ")]
        near = suggest(first["input"], [part for c in choices for part in c.split("', '")])
    return f"got {show(first['input'])}; allowed {allowed}{near}"


_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "too_short": "a list that is not empty",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping of fields",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "tuple_type": "a list",
}


def _allowed(detail: Any) -> str:
    kind = detail["type"]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{words} {detail['ctx'][key]:g}"
    if kind == "literal_error":
        return str(detail["ctx"]["expected"]).replace("'", "")
    if kind == "string_pattern_mismatch":
        return str(_PATTERNS.get(detail["loc"][0], detail["ctx"]["pattern"]))
    if detail["loc"][:2] == ("data", "split") and kind == "string_type":
        return "a file"
    return _KINDS.get(kind, str(detail["msg"]))


_PATTERNS = {
    "name": "lower-case letters, digits and inner hyphens, at most 64",
    "base": "sapling, or a model as owner/name or owner/name@revision",
}


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that a section of the recipe may have."""
    for part in loc:
        field = next((f for name, f in model.model_fields.items() if part in {name, f.alias}), None)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
