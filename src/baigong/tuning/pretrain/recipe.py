"""The pretraining recipe: what text, what tokenizer, what shape, for how long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from baigong.errors import DataProblems, NotFound, Problem

Language = Literal["en", "zh"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """One file of text. `pairs` are aligned segments, everything else is documents."""

    name: str
    path: str
    kind: Literal["documents", "pairs", "text"]
    language: Language | None = None
    languages: tuple[Language, Language] | None = None
    text_field: str = "text"
    title_field: str | None = None
    markdown: bool = False
    simplified_only: bool = False
    translate: bool = False
    weight: Annotated[float, Field(gt=0.0)] = 1.0
    licence: str
    credit: str
    label: dict[Language, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _languages_fit_the_kind(self) -> Source:
        if self.kind == "pairs" and self.languages is None:
            raise ValueError("a source of kind 'pairs' needs 'languages', for example [en, zh]")
        if self.kind != "pairs" and self.language is None:
            raise ValueError(f"a source of kind {self.kind!r} needs 'language'")
        return self


class TokenizerPlan(_Strict):
    vocabulary: Positive = 8192
    sample_characters: Positive = 6_000_000  # per language
    reserved: int = 5


class Shape(_Strict):
    """Qwen3 sizes; the defaults are the model that ships."""

    hidden: Positive = 256
    layers: Positive = 6
    heads: Positive = 4
    kv_heads: Positive = 2
    head_dim: Positive = 64
    intermediate: Positive = 704
    context: Positive = 2048
    rope_theta: float = 10_000.0


class Mix(_Strict):
    """How much of every batch is chat-shaped tasks, and what each kind of token weighs in the loss."""

    structure: Share = 0.4
    kinds: dict[str, float] = Field(default_factory=dict)
    # Until this share of the budget, copying takes this share of the tasks: the rest needs it.
    drill_until: Share = 0.45
    drill: Share = 0.5
    held_back: Share = 0.005
    prompt_weight: Share = 0.2
    answer_weight: float = 3.0
    answer_floor: int = 12  # a shorter answer weighs as much as one of this many tokens


class Schedule(_Strict):
    """Rows are packed; the last part of the run uses longer ones so that long prompts work too."""

    sequence: Positive = 512
    long_sequence: Positive = 1280
    long_from: Share = 0.55
    batch_tokens: Positive = 8192
    micro_tokens: Positive = 4096
    warmup_steps: int = 40
    cooldown: Share = 0.6
    matrix_lr: float = 0.02
    embedding_lr: float = 0.003
    weight_decay: float = 0.05
    clip: float = 1.0


class Budget(_Strict):
    """Minutes of computing, or steps. Time spent paused is not counted."""

    minutes: float | None = 80.0
    steps: int | None = None
    checkpoint_s: float = 120.0
    export_s: float = 600.0
    evaluate_steps: int = 100
    evaluate_tokens: int = 32_768  # per language
    exam_tasks: int = 200  # per kind and language, once at the end; 0 for none

    @model_validator(mode="after")
    def _something_ends_it(self) -> Budget:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either 'minutes' or 'steps', and set the other to null")
        return self


class PretrainRecipe(_Strict):
    name: str
    summary: str = ""
    licence: str
    seed: int = 1
    sources: tuple[Source, ...] = Field(min_length=1)
    tokenizer: TokenizerPlan = TokenizerPlan()
    shape: Shape = Shape()
    mix: Mix = Mix()
    schedule: Schedule = Schedule()
    budget: Budget = Budget()
    device: str = "cpu"
    threads: int | None = None
    compile: bool = True


def read_recipe(path: Path) -> PretrainRecipe:
    """Every mistake of the file at once, each with its line."""
    try:
        raw = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no recipe at {path}.", hint="Give the path of a file.") from error
    except YAMLError as error:
        raise DataProblems([Problem(str(path), None, "", f"not valid YAML: {error}")]) from error
    try:
        return PretrainRecipe.model_validate(raw)
    except ValidationError as error:
        problems = [
            Problem(
                str(path),
                _line_of(raw, item["loc"]),
                ".".join(map(str, item["loc"])),
                item["msg"].removeprefix("Value error, "),
            )
            for item in error.errors()
        ]
        raise DataProblems(problems, hint="Mend the file and run the same command.") from error


def _line_of(node: object, keys: Sequence[int | str]) -> int | None:
    """The line of the deepest key that the file has: a missing one is told at its parent."""
    line: int | None = None
    for key in keys:
        if isinstance(node, CommentedMap) and key in node:
            line = node.lc.key(key)[0] + 1
        elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line = node.lc.item(key)[0] + 1
        else:
            break
        node = node[key]
    return line
