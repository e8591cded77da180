"""The recipe: one YAML file that is an industry model. Read, checked and named by its content.

`load_recipe` reports every mistake at once, each with file, line and what would be allowed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from baigong.errors import DataProblems
from baigong.evals.metrics import DEFAULT_METRICS, Task
from baigong.industry.recipe_checks import (
    OBJECTIVES_OF,
    cross_problems,
    describe_errors,
    resolve_files,
)
from baigong.industry.yaml_lines import (
    Document,
    apply_overrides,
    read_yaml,
    refuse_unusable_text,
)
from baigong.store.blobs import digest_file
from baigong.tuning.spec import WHOLE, Goal

DATASET_PREFIX = "dataset://"
MODEL_NAME = r"^(sapling|[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[A-Za-z0-9][\w.-]*)?)$"

_MAX_TOKENS: dict[Task, int] = {
    "chat": 512,
    "classification": 64,
    "extraction": 512,
    "grounded": 256,
    "regression": 1,
    "pairs": 1,
    "images": 1,
    "text": 256,
    "preference": 512,
}


def _no_bool(value: Any) -> Any:
    """YAML's true is Python's 1; a recipe that says `rank: true` is mistaken."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("number", "a finite number")
    return value


def _share(value: Any) -> Any:
    """`--set data.split.test=0.3` arrives as text, and text that is a number is a share."""
    try:
        return float(value) if isinstance(value, str) else _no_bool(value)
    except ValueError:
        return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]
Auto = Literal["auto"]
File = Annotated[str, Field(min_length=1)]
Column = Annotated[str, Field(min_length=1)]


# What `with_defaults` fills in by task: whoever writes a recipe may leave these out.
_FILLED = {"evals", "gate", "serve", "metrics", "metric", "max_tokens"}


def _optional_where_filled(schema: dict[str, Any]) -> None:
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if name not in _FILLED]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        json_schema_extra=_optional_where_filled,
    )


class Bilingual(_Part):
    """A text in English and Chinese; where one is missing, the other stands for it."""

    en: str = ""
    zh: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"en": value, "zh": value}
        if isinstance(value, dict) and ("en" in value) != ("zh" in value):
            only = value.get("en", value.get("zh"))
            return {"en": only, "zh": only, **value}
        return value


_TEXT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"en": {"type": "string"}, "zh": {"type": "string"}},
            "additionalProperties": False,
        },
    ]
}
Text = Annotated[Bilingual, WithJsonSchema(_TEXT_SCHEMA)]


class SplitSpec(_Part):
    """How rows divide: shares by content hash, or files of their own."""

    validation: Annotated[Annotated[float, Field(ge=0, le=0.5)] | File, BeforeValidator(_share)] = (
        Field(default=0.1, description="A share of the rows, or a file of its own.")
    )
    test: Annotated[Annotated[float, Field(gt=0, le=0.9)] | File, BeforeValidator(_share)] = Field(
        default=0.2, description="A share of the rows, or a file of its own. Never trained on."
    )


class Data(_Part):
    """The rows: where they are and which columns hold what."""

    rows: File = Field(
        description="JSONL, JSON, CSV, TSV (each also .gz), Parquet or a spreadsheet; a folder of them; or "
        "dataset://owner/name. With task: text also .txt and .md."
    )
    columns: dict[str, Column] = Field(
        default={}, description="Field of the task -> column of the file."
    )
    split: SplitSpec = SplitSpec()
    slices: tuple[Column, ...] = Field(
        default=(),
        description="Columns whose values name slices. `language` is worked out if absent.",
    )
    limit: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="Use at most so many rows: a sample by hash."
    )


class Tune(_Part):
    """How the base is tuned."""

    objective: Goal = Field(
        default="supervised",
        description="What the rows teach: `supervised` their answers, `distill` what a teacher makes of them, `grpo` "
        "what earns a reward. task: preference has `dpo` (its default) and `orpo` for pairs of answers, `kto` for "
        "answers judged one by one; task: text has `continued`; task: classification has `classify`, a head whose "
        "likeliest label is the answer; task: pairs has `embed` and `rerank`.",
    )
    teacher: str | None = Field(
        default=None, description="distill: the model that teaches, a name that can be asked."
    )
    teaches: Literal["answers", "logits"] = Field(
        default="answers",
        description="distill: its answers to the training rows, or its distribution at every token of the "
        "rows' own answers, which takes a model of this machine with the base's tokenizer.",
    )
    mix: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="distill by logits: the teacher's share of the loss; the rest is the rows'.",
    )
    rewards: tuple[dict[str, Any], ...] = Field(
        default=(), description="grpo: graders, whose mean is what an answer is worth. See Graders."
    )
    group: Annotated[Whole, Field(ge=2, le=256)] = Field(
        default=8, description="grpo: answers that are sampled for each prompt."
    )
    answer_tokens: Auto | Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        default="auto", description="grpo: the longest of them; what serve.max_tokens says."
    )
    temperature: Annotated[Number, Field(ge=0.05, le=10)] = Field(
        default=1.0,
        description="grpo samples with it; distill by logits softens by it.",
    )
    method: Literal["lora", "dora", "full"] = Field(
        default="lora",
        description="An adapter on the base, one of DoRA merged into it, or all of its weights.",
    )
    rank: Auto | Annotated[Whole, Field(ge=1, le=1024)] = Field(
        default="auto", description="Of the adapter's matrices."
    )
    alpha: Auto | Annotated[Number, Field(gt=0, le=8192)] = Field(
        default="auto", description="The adapter is scaled by alpha / rank."
    )
    epochs: Auto | Annotated[Number, Field(gt=0, le=1000)] = Field(
        default="auto", description="Passes over the training rows."
    )
    learning_rate: Auto | Annotated[Number, Field(gt=0, le=1)] = Field(
        default="auto", description="The highest, between warm-up and decay."
    )
    batch_size: Auto | Annotated[Whole, Field(ge=1, le=4096)] = Field(
        default="auto", description="Rows in one step."
    )
    augment: bool = Field(
        default=True, description="task: images. Train on moved, turned and otherwise lit ones too."
    )
    flip: bool = Field(
        default=False, description="And on mirrored ones: not where left and right differ."
    )
    beta: Auto | Annotated[Number, Field(ge=1e-4, le=10)] = Field(
        default="auto",
        description="dpo, kto: how strongly the model is held to its base. orpo: how much the odds weigh.",
    )
    max_minutes: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="The run is planned, and if need be shortened, to end in time."
    )
    trials: Annotated[Whole, Field(ge=1, le=100)] = Field(
        default=1,
        description="How many settings to try of those left `auto`; the best on the validation rows is kept.",
    )
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Of everything random in the tuning."
    )
    checkpoints: Annotated[Whole, Field(ge=0, le=100)] = Field(
        default=0, description="Adapters of the last evaluations that are kept in the hub as well."
    )

    @property
    def makes_adapter(self) -> bool:
        """Whether an adapter is what comes out, and not a whole model."""
        return self.method == "lora" and self.objective not in WHOLE


class Knowledge(_Part):
    """The documents that answers are grounded in."""

    sources: tuple[File, ...] = Field(
        default=(), description="Files and folders of documents; or give `from`."
    )
    from_: str | None = Field(
        default=None,
        alias="from",
        description="A knowledge base that lives on its own: the release keeps its present version.",
    )
    passages: Annotated[Whole, Field(ge=1, le=50)] = Field(
        default=3, description="Found for each question, and cited."
    )
    questions: File | None = Field(
        default=None,
        description="Questions with their document, to measure by; else they are made from the documents.",
    )
    decline: bool = Field(
        default=True,
        description="task: grounded. Say that it is not in the documents, and ask no model, where no passage"
        " answers. Words and nearness decide, the latter alone where question and document differ in language.",
    )
    rerank: str | None = Field(
        default=None,
        description="A model of the hub that reads each passage with the question and orders them anew.",
    )
    embedder: Literal["builtin", "none", "base"] = Field(
        default="builtin",
        description="Vectors beside full text: those of the package's embedder, none, or the base's hidden "
        "states. A knowledge base of `from` has its own.",
    )


class Evals(_Part):
    """What is measured."""

    metrics: tuple[str, ...] = Field(
        min_length=1, description="See Metrics; the task has its own default."
    )
    max_rows: Annotated[Whole, Field(ge=20)] | None = Field(
        default=None, description="Ask at most so many test rows: the same ones every time."
    )


KnowledgeFigure = Literal[
    "recall_at_1",
    "recall_at_3",
    "recall_at_10",
    "mrr",
    "ndcg_at_10",
    "answered",
    "cited",
    "declined",
]


class Gate(_Part):
    """What a release must prove to become live; the rule is written down in `gate.judge`."""

    metric: str = Field(description="What decides; the first of the metrics if not given.")
    minimum: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.0, description="What a candidate must reach."
    )
    rows: Annotated[Whole, Field(ge=1)] = Field(
        default=20,
        description="The least test rows that a verdict is made of: with 20, a difference of some 25 points"
        " is the least that shows.",
    )
    margin: Annotated[Number, Field(ge=-1, le=1)] = Field(
        default=0.0, description="How far above live a candidate must be."
    )
    confidence: Annotated[Number, Field(ge=0.5, lt=1)] = Field(
        default=0.95, description="Of intervals and tests."
    )
    slices: dict[str, Annotated[Number, Field(ge=0, le=1)]] = Field(
        default={}, description="Slice column -> how far the metric may drop in any of its slices."
    )
    knowledge: dict[KnowledgeFigure, Annotated[Number, Field(ge=0, le=1)]] = Field(
        default={},
        description="Figure of `baigong eval` -> what the knowledge base must reach, e.g. {recall_at_3: 0.8}.",
    )
    beat_baseline: bool = Field(
        default=False, description="Refuse a candidate that a plain baseline outdoes."
    )
    weights: Annotated[Number, Field(ge=0)] = Field(
        default=0.1,
        description="How far int8 or int4 weights may raise the perplexity of the wanted answers, as a share.",
    )


class Serve(_Part):
    """How the release answers unless a request says otherwise."""

    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] = Field(
        description="The longest answer; the task has its own default."
    )
    temperature: Annotated[Number, Field(ge=0, le=2)] = Field(
        default=0.0, description="0 always takes the likeliest token."
    )


_SCHEMA_FIELD = WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]})


class Recipe(_Part):
    """An industry model, declared. Paths in a loaded recipe are absolute."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")] = Field(
        description="What applications call: small letters, digits and `-`."
    )
    title: Text = Field(default=Bilingual(), description="For people; one text, or en and zh.")
    description: Text = Field(default=Bilingual(), description="For people, likewise.")
    base: Annotated[str, Field(pattern=MODEL_NAME)] = Field(
        default="sapling", description="A model in the hub, owner/name[@revision]."
    )
    task: Task = Field(description="What a row is, and what an answer is.")
    persona: str = Field(default="", description="The system message, where a caller gives none.")
    answer_schema: Annotated[dict[str, Any], _SCHEMA_FIELD] | None = Field(
        default=None, alias="schema", description="Extraction: a JSON schema, or the path of one."
    )
    data: Data
    tune: Tune = Tune()
    knowledge: Knowledge | None = None
    evals: Evals
    gate: Gate
    serve: Serve

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        return with_defaults(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _agree(self) -> Recipe:
        """The same checks as in a file, for a recipe that was made in code."""
        problems = cross_problems(self.model_dump(mode="json", by_alias=True))
        if problems:
            text = "; ".join(f"{'.'.join(map(str, loc))}: {message}" for loc, message in problems)
            raise PydanticCustomError("recipe", "{text}", {"text": text})
        return self


def with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with what its task implies filled in. An empty section means its defaults."""
    filled = {key: value for key, value in data.items() if value is not None}
    task = filled.get("task")
    if not isinstance(task, str) or task not in DEFAULT_METRICS:
        # The unknown task is the mistake to report, not the sections that follow from it.
        filled.setdefault("evals", {"metrics": ("?",)})
        task = "chat"
    _section(filled, "tune", {"objective": OBJECTIVES_OF[task][0]})
    evals = _section(filled, "evals", {"metrics": DEFAULT_METRICS[task]})  # type: ignore[index]
    metrics = evals.get("metrics") if isinstance(evals, dict) else None
    first = metrics[0] if isinstance(metrics, list | tuple) and metrics else "?"
    _section(filled, "gate", {"metric": first})
    _section(filled, "serve", {"max_tokens": _MAX_TOKENS[task]})  # type: ignore[index]
    if task == "text":
        _section(filled, "tune", {"objective": "continued"})
    return filled


def _section(data: dict[str, Any], name: str, defaults: dict[str, Any]) -> Any:
    given = data.get(name, {})
    if isinstance(given, dict):
        given = defaults | {key: value for key, value in given.items() if value is not None}
    data[name] = given
    return given


def load_recipe(path: Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Reads and checks a recipe file.

    `overrides` maps a dotted key to its value (`data.rows` -> `/path/file.csv.gz`), or the name of a
    `${name}` in the file. Paths in the file are relative to its folder; those in overrides to the
    current directory, where whoever typed them stands.

    Raises:
        DataProblems: with every mistake, its line and what is allowed.
    """
    return recipe_of_document(read_yaml(path), path.resolve().parent, overrides or {})


def recipe_of_document(
    document: Document, folder: Path, overrides: Mapping[str, str] | None = None
) -> Recipe:
    """Checks a recipe that was read, or made in code; `folder` is what its paths are relative to.

    Raises:
        DataProblems: as `load_recipe`.
    """
    if overrides is not None:
        apply_overrides(document, overrides)
    refuse_unusable_text(document)
    resolve_files(document, folder)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        describe_errors(document, error, Recipe)
    for loc, message in cross_problems(with_defaults(document.data)):
        document.problem(loc, message)
    if document.problems or recipe is None:
        unique = dict.fromkeys(document.problems)
        in_order = sorted(unique, key=lambda problem: (problem.line is not None, problem.line or 0))
        raise DataProblems(in_order, hint="Mend these and run the same command again.")
    return recipe


def recipe_digest(recipe: Recipe) -> str:
    """sha256, in hex, of what the recipe says and of every data file it names.

    Where the files lie does not count, so a recipe that moves, or whose rows are given by
    `--set data.rows=`, keeps its digest while the contents are the same.

    Raises:
        OSError: a file has gone since the recipe was loaded.
    """
    content = recipe.model_dump(mode="json", by_alias=True)
    data, split = content["data"], content["data"]["split"]
    data["rows"] = _content(data["rows"])
    for part in ("validation", "test"):
        if isinstance(split[part], str):
            split[part] = _content(split[part])
    if knowledge := content["knowledge"]:
        # Document names are part of the answers (citations), so here they do count.
        sources = [[Path(path).name, _content(path)] for path in knowledge["sources"]]
        knowledge["sources"] = sources
        knowledge["questions"] = knowledge["questions"] and _content(knowledge["questions"])
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _content(path: str) -> str:
    """Digest of a file, or of a folder with the names in it; a hub dataset stands for itself."""
    if path.startswith(DATASET_PREFIX):
        return path
    root = Path(path)
    if root.is_file():
        return digest_file(root)
    total = hashlib.sha256()
    for file in visible_files(root):
        total.update(f"{file.relative_to(root).as_posix()}\0{digest_file(file)}\n".encode())
    return total.hexdigest()


def visible_files(root: Path) -> list[Path]:
    """All files below a folder in a fixed order, hidden ones (`.git`, `.DS_Store`) left out."""
    files = (file for file in root.rglob("*") if file.is_file())
    shown = (
        file
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    return sorted(shown, key=lambda file: file.relative_to(root).as_posix())
