"""`upstreams.yaml` in the home: which servers answer for which models, and how they are reached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from baigong.errors import DataProblems, InvalidInput, Problem

Kind = Literal["vllm", "sglang", "llamacpp", "baigong", "openai"]
Seconds = Annotated[float, Field(gt=0, le=86400)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeySource(_Strict):
    """Where a key is kept: an environment variable or a file, never the settings themselves."""

    env: str | None = Field(default=None, description="environment variable that holds the key")
    file: Path | None = Field(default=None, description="file that holds the key")

    @model_validator(mode="after")
    def _one(self) -> KeySource:
        if (self.env is None) == (self.file is None):
            raise ValueError("expected exactly one of env and file")
        return self

    def read(self) -> str:
        """The key as it is now, so that a new one needs no restart.

        Raises:
            InvalidInput: the variable or the file is missing or empty; says which.
        """
        if self.env is not None:
            where, key = f"The environment variable {self.env}", os.environ.get(self.env, "")
        else:
            assert self.file is not None
            where, key = f"The file {self.file}", _content(self.file)
        if not key.strip():
            raise InvalidInput(f"{where} holds no key.", hint="Put the upstream's key there.")
        return key.strip()


class Timeouts(_Strict):
    """Seconds that an upstream is given."""

    connect: Seconds = Field(default=5.0, description="seconds to connect")
    first_token: Seconds = Field(
        default=120.0, description="seconds from the request to its first token"
    )
    between_tokens: Seconds = Field(default=30.0, description="seconds from one token to the next")


class UpstreamSettings(_Strict):
    """One server. Its name is the key under which it stands in the file."""

    url: str = Field(description="where it listens, with or without /v1")
    kind: Kind = Field(
        default="openai", description="what it is; openai is any other compatible server"
    )
    models: dict[str, str] = Field(
        default_factory=dict,
        description="names it answers for: a list, or a mapping from ours to its own; "
        "left out, what it lists itself",
    )
    key: KeySource | None = Field(default=None, description="where its key is kept")
    weight: float = Field(
        default=1.0, gt=0, description="its share among those that serve the same model"
    )
    adapters: bool = Field(
        default=False,
        description="load adapters of releases into it; it must see this home's cache folder",
    )
    timeouts: Timeouts = Timeouts()

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected an address such as http://10.0.0.5:8000")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("holds more than an address; a key belongs under key")
        return url.rstrip("/").removesuffix("/v1")

    @field_validator("models", mode="before")
    @classmethod
    def _names(cls, models: Any) -> Any:
        return {name: name for name in models} if isinstance(models, list) else models

    @field_validator("key", mode="before")
    @classmethod
    def _not_in_the_clear(cls, key: Any) -> Any:
        if isinstance(key, str):
            raise ValueError("a key is not written here; say {env: VARIABLE} or {file: PATH}")
        return key

    @model_validator(mode="after")
    def _can_load(self) -> UpstreamSettings:
        if self.adapters and self.kind not in {"vllm", "sglang"}:
            raise ValueError(f"adapters: a server of kind {self.kind} loads none while it runs")
        return self


def read_upstreams(path: Path) -> dict[str, UpstreamSettings]:
    """The upstreams declared in a file, by name; none where there is no file.

    Raises:
        DataProblems: every mistake in it, with its line. Values are not shown, for one may be a key.
    """
    if not path.exists():
        return {}
    found = _load(path)
    upstreams, problems = {}, []
    for name, fields in found.items():
        try:
            upstreams[str(name)] = UpstreamSettings.model_validate(fields)
        except ValidationError as error:
            problems += [
                _problem(path, found, str(name), e["loc"], e["msg"]) for e in error.errors()
            ]
    if problems:
        raise DataProblems(problems, hint="Mend the file; docs/reference.md lists the fields.")
    return upstreams


def _load(path: Path) -> Mapping[str, Any]:
    try:
        found = YAML(typ="rt", pure=True).load(path.read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else int(mark.line) + 1
        reason = getattr(error, "problem", None) or type(error).__name__
        raise DataProblems([Problem(str(path), line, "", f"not valid YAML: {reason}")]) from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        message = "expected a mapping from each upstream's name to its fields"
        raise DataProblems([Problem(str(path), 1, "", message)])
    return found


def _problem(
    path: Path, found: Mapping[str, Any], name: str, loc: tuple[int | str, ...], message: str
) -> Problem:
    """The mistake at the line of the innermost key that is written in the file."""
    where: Any = found
    line = None
    for part in (name, *loc):
        lines = getattr(where, "lc", None)
        if lines is None or not isinstance(where, Mapping) or part not in where:
            break
        line = int(lines.key(part)[0]) + 1
        where = where[part]
    field = ".".join([name, *map(str, loc)])
    return Problem(str(path), line, field, message.removeprefix("Value error, "))


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
