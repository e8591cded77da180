"""What a repository's files say of it: its card's front matter, its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from baigong.hub.manifest import Files

CARD = "README.md"
CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
_LONGEST = 1 << 20  # bytes that are read of a card or a configuration

Read = Callable[[str, int, int], bytes]  # digest, start, stop


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is shown and searched of a repository.

    Attributes:
        commit: whose files say so.
        size: bytes of all files.
        card: the front matter of README.md.
        architecture: what transformers calls a model's.
        base: what an adapter is for, as its configuration says.
        task: such as `text-generation`, as the card says or the architecture implies.
        library: such as `transformers` or `peft`.
        license: its short name, such as `apache-2.0`.
        languages: their codes.
        tags: the card's own.
        bases: repositories that it was made from.
        datasets: those that it was made with.
        parameters: numbers in all tensors of a model; 0 where no safetensors tell.
        dtypes: how many of them are kept in which type, such as {"BF16": 600000000}.
    """

    commit: str = ""
    size: int = 0
    card: dict[str, Any] = {}
    architecture: str = ""
    is_adapter: bool = False
    base: str = ""
    task: str = ""
    library: str = ""
    license: str = ""
    languages: list[str] = []
    tags: list[str] = []
    bases: list[str] = []
    datasets: list[str] = []
    parameters: int = 0
    dtypes: dict[str, int] = {}

    @property
    def is_model(self) -> bool:
        """Whether an engine may run it by itself."""
        return bool(self.architecture) and not self.is_adapter

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> About:
        """From the column; fields that an older version wrote are passed over."""
        return msgspec.convert(found, cls)


def describe(files: Files, read: Read, commit: str) -> About:
    """What these files say; `read` gives bytes start:stop of a digest."""

    def text(path: str) -> str:
        entry = files.get(path)
        return read(entry.digest, 0, _LONGEST).decode("utf-8", "replace") if entry else ""

    config, adapter = _object(text(CONFIG)), _object(text(ADAPTER_CONFIG))
    card, named = front_matter(text(CARD))[0], config.get("architectures")
    return About(
        commit=commit,
        size=sum(entry.size for entry in files.values()),
        card=card,
        task=str(card.get("pipeline_tag") or ""),
        library=str(card.get("library_name") or ""),
        license=str(card.get("license") or ""),
        languages=_strings(card.get("language")),
        tags=_strings(card.get("tags")),
        bases=_strings(card.get("base_model")),
        datasets=_strings(card.get("datasets")),
        architecture=str(named[0]) if isinstance(named, list) and named else "",
        is_adapter=ADAPTER_CONFIG in files,
        base=str(adapter.get("base_model_name_or_path") or ""),
    )


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """A card's YAML, empty where it has none or is broken, and the text below it."""
    if not text.startswith("---"):
        return {}, text
    head, mark, body = text[3:].partition("\n---")
    if not mark:
        return {}, text
    try:
        found = YAML(typ="safe").load(StringIO(head))
    except YAMLError:
        return {}, text
    found = json.loads(json.dumps(found, default=str)) if isinstance(found, dict) else {}
    return found, body.partition("\n")[2].lstrip("\n")


def _strings(found: Any) -> list[str]:
    """What a card gives as one word or as a list."""
    return [str(each) for each in (found if isinstance(found, list) else [found]) if each]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
