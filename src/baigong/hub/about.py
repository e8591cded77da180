"""What a repository's files say of it: its card's front matter, its configuration."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from baigong.errors import NotFound
from baigong.hub.cards import front_matter, strings, whole
from baigong.hub.manifest import Entry, Files
from baigong.model.tensors import Broken, read_layout
from baigong.model.terms import task_of, task_of_adapter

CARD = "README.md"
CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
INDEX = "model.safetensors.index.json"
_LONGEST = 1 << 20  # bytes that are read of a card or a configuration
_INDEX_BYTES = 1 << 25
_MOST_SHARDS = 1000
_AT_ONCE = 8
_LIBRARIES = {  # by a file that each leaves, the most telling first
    "model_index.json": "diffusers",
    "modules.json": "sentence-transformers",
    "adapter_config.json": "peft",
}

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
    """What these files say, and those that are broken or not here yet nothing.

    `read` gives bytes start:stop of a digest.
    """
    read = _of_what_is_here(read)

    def text(path: str) -> str:
        entry = files.get(path)
        return read(entry.digest, 0, _LONGEST).decode("utf-8", "replace") if entry else ""

    config, adapter = _object(text(CONFIG)), _object(text(ADAPTER_CONFIG))
    card, named = front_matter(text(CARD))[0], config.get("architectures")
    architecture = whole(str(named[0])) if isinstance(named, list) and named else ""
    library = str(card.get("library_name") or _library(files, architecture))
    dtypes = _dtypes(files, read)
    return About(
        commit=commit,
        size=sum(entry.size for entry in files.values()),
        card=card,
        task=str(card.get("pipeline_tag") or _task(library, architecture, config, adapter)),
        library=library,
        license=next(iter(strings(card.get("license"))), ""),
        languages=strings(card.get("language")),
        tags=strings(card.get("tags")),
        bases=strings(card.get("base_model")),
        datasets=strings(card.get("datasets")),
        architecture=architecture,
        is_adapter=ADAPTER_CONFIG in files,
        base=_base(adapter),
        parameters=sum(dtypes.values()),
        dtypes=dtypes,
    )


def _of_what_is_here(read: Read) -> Read:
    """Of a mirrored repository some files come later."""

    def reading(digest: str, start: int, stop: int) -> bytes:
        try:
            return read(digest, start, stop)
        except NotFound:
            return b""

    return reading


def adapter_base(text: str) -> str:
    """What an adapter is for, as the text of its configuration says; empty where that is broken."""
    return _base(_object(text))


def _base(adapter: Mapping[str, Any]) -> str:
    return whole(str(adapter.get("base_model_name_or_path") or ""))


def _library(files: Files, architecture: str) -> str:
    left = next((library for file, library in _LIBRARIES.items() if file in files), "")
    return left or ("transformers" if architecture else "")


def _task(
    library: str, architecture: str, config: Mapping[str, Any], adapter: Mapping[str, Any]
) -> str:
    if library == "sentence-transformers":
        return "sentence-similarity"
    return task_of_adapter(adapter) if adapter else task_of(config, architecture)


def _dtypes(files: Files, read: Read) -> dict[str, int]:
    """How many numbers a model has in each type; none where a file of weights is broken."""

    def count(entry: Entry) -> Counter[str]:
        layout = read_layout(lambda start, stop: read(entry.digest, start, stop), entry.size)
        counted: Counter[str] = Counter()
        for tensor in layout.tensors.values():
            counted[tensor.dtype] += math.prod(tensor.shape)
        return counted

    shards = [files[path] for path in _weights(files, read)]
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(sum(pool.map(count, shards), Counter()))
    except Broken:
        return {}


def _weights(files: Files, read: Read) -> list[str]:
    """The files that hold a model's weights, each of them once."""
    if (index := files.get(INDEX)) is not None:
        named = _object(read(index.digest, 0, _INDEX_BYTES).decode("utf-8", "replace"))
        shards = named.get("weight_map")
        found = list(map(str, shards.values())) if isinstance(shards, dict) else []
        return sorted(files.keys() & set(found))[:_MOST_SHARDS]
    for usual in ("model.safetensors", "adapter_model.safetensors"):
        if usual in files:
            return [usual]
    return [path for path in files if path.endswith(".safetensors")][:_MOST_SHARDS]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
