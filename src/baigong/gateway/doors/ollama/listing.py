"""What is here, what is in memory, and what a model is."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baigong import __version__
from baigong.app import Platform
from baigong.errors import InvalidInput
from baigong.gateway.doors.ollama.wire import LATEST, called, opened
from baigong.gateway.endpoints import actor_of, when
from baigong.gateway.replies import json_reply
from baigong.hub.about import About
from baigong.hub.access import Actor
from baigong.hub.hub import BUILT_IN, Revision
from baigong.hub.preset import TAG, Preset
from baigong.industry.labelling import answers_of
from baigong.industry.serving import Served
from baigong.inference.engine.messages import ModelFacts
from baigong.inference.reasoning import marks_of
from baigong.inference.tools import style_of
from baigong.model.architecture import read_fields
from baigong.model.headers import Headers

_HEAD = re.compile(r"(For[A-Z][A-Za-z]*|Model|LMHeadModel)$")
_OPTIONS = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int4": 0.5}  # of a number
_SIZES = ((10**9, "B"), (10**6, "M"), (10**3, "K"))


class Named(msgspec.Struct, frozen=True):
    """A model; clients from before 0.4 call it `name`."""

    model: str = ""
    name: str = ""

    @property
    def asked(self) -> str:
        """
        Raises:
            InvalidInput: neither is there.
        """
        if not (found := self.model or self.name):
            raise InvalidInput("The field 'model' is missing.", param="model")
        return found


class ListingApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def version(self, _request: Request) -> Response:
        return json_reply({"version": __version__})

    async def tags(self, request: Request) -> Response:
        """Releases, models, adapters and presets that the caller may ask."""
        return json_reply({"models": await asyncio.to_thread(self._tags, actor_of(request))})

    async def running(self, request: Request) -> Response:
        """Engines that have a process, of models that the caller may see. They leave memory some
        time after their last answer."""
        seen = await asyncio.to_thread(self._seen, actor_of(request))
        stays = self._platform.settings.idle_minutes * 60 or 365 * 86400
        models = [
            {
                **_names(_name_of(stats.model)),
                "digest": stats.model.rpartition("@")[2],
                "size": int(stats.facts.parameters * _BYTES.get(stats.facts.dtype, 2)),
                "size_vram": 0,
                "details": _details_of(stats.facts),
                "context_length": stats.facts.context,
                "expires_at": when(time.time() + stays),
            }
            for stats in self._platform.engines.stats()
            if stats.pid is not None and _name_of(stats.model) in seen
        ]
        return json_reply({"models": models})

    def show(self, request: Request, body: Named) -> dict[str, Any]:
        """Everything that is known of a model."""
        name = called(self._platform, body.asked, actor_of(request))
        served = opened(self._platform, body.asked, name)
        fields = read_fields(served.base.folder)
        preset = _preset_of(served)
        parameters = _parameters(preset)
        writes = answers_of(served.base.folder) == "text"
        template = served.tokenizer.template_text if writes else ""
        return {
            "modelfile": _modelfile(served, preset, parameters),
            "parameters": parameters,
            "template": template,
            "system": preset.system,
            "license": _license(served.base),
            "details": {
                **_details(_family(fields), _count(served.base)),
                "parent_model": served.base.name,
            },
            "model_info": _info(fields, _count(served.base)),
            "capabilities": _capabilities(served),
            "modified_at": when((served.adapter or served.base).created_at),
        }

    def _seen(self, actor: Actor) -> set[str]:
        """The names of models in memory that the caller may see; those in the package are anyone's."""
        names = {_name_of(stats.model) for stats in self._platform.engines.stats()}
        there = self._platform.hub.repositories
        return {
            name
            for name in names
            if actor.is_operator
            or "/" not in name
            or (there.exists("model", name) and there.find("model", name).is_for(actor))
        }

    def _tags(self, actor: Actor) -> list[dict[str, Any]]:
        platform, found = self._platform, []
        live = platform.releases.live()
        listed = {one.name: one for one in platform.hub.all("model", actor)}
        for release in platform.releases.history():
            if live.get(release.name) == release.number:
                base = listed.get(release.content.base.partition("@")[0])
                about = base.about if base is not None else About()
                found.append(_tag(release.name, release.digest, release.created_at, about))
        for one in listed.values():
            owner, _, short = one.name.partition("/")
            is_short = owner in {BUILT_IN, actor.user} and short not in live
            if owner == actor.user and f"{BUILT_IN}/{short}" in listed:
                is_short = False
            about = one.about
            if owner == BUILT_IN:
                about = _about(platform.hub.get("model", one.name))
            if about.is_model or about.is_adapter or TAG in about.tags:
                name = short if is_short else one.name
                found.append(_tag(name, one.revision, one.changed_at, about))
        return found


def _tag(name: str, digest: str, modified_at: float, about: About) -> dict[str, Any]:
    family = _HEAD.sub("", about.architecture).lower()
    details = _details(family, about.parameters)
    if about.dtypes:
        details["quantization_level"] = max(about.dtypes, key=lambda dtype: about.dtypes[dtype])
    return {
        **_names(name),
        "modified_at": when(modified_at),
        "size": about.size,
        "digest": digest,
        "details": details,
    }


def _about(revision: Revision) -> About:
    """Of a model in the package."""
    fields = read_fields(revision.folder)
    return About(
        architecture=str((fields.get("architectures") or [""])[0]),
        parameters=_count(revision),
        size=revision.size_bytes,
    )


def _names(name: str) -> dict[str, str]:
    tagged = f"{name}:{LATEST}"
    return {"name": tagged, "model": tagged}


def _name_of(folder: str) -> str:
    """The repository of a checkout's folder."""
    return folder.partition("@")[0].replace("--", "/", 1)


def _details(family: str, parameters: int) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": _short(parameters),
        "quantization_level": "",
    }


def _details_of(facts: ModelFacts) -> dict[str, Any]:
    family = _HEAD.sub("", facts.architecture).lower()
    return {**_details(family, facts.parameters), "quantization_level": facts.dtype}


def _short(number: int) -> str:
    """494032768 as 494.0M."""
    for size, letter in _SIZES:
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number) if number else ""


def _family(fields: Mapping[str, Any]) -> str:
    return str(fields.get("model_type") or "")


def _count(model: Revision) -> int:
    """Its parameters, from the heads of its files; 0 where it has none that can be read."""
    try:
        return Headers.read(model.folder).parameters
    except InvalidInput:
        return 0


def _info(fields: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    """config.json in the words of GGUF."""
    family = _family(fields)
    names = {
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "vocab_size": "vocab_size",
    }
    known = {f"{family}.{ours}": fields[key] for key, ours in names.items() if key in fields}
    return {"general.architecture": family, "general.parameter_count": parameters, **known}


def _preset_of(served: Served) -> Preset:
    """What its preset or its recipe sets."""
    if served.preset is not None:
        return served.preset
    if served.content is None:
        return Preset()
    sampling = {"max_tokens": served.content.max_tokens, "temperature": served.content.temperature}
    return Preset(sampling=sampling)


def _parameters(preset: Preset) -> str:
    lines = []
    for name, value in preset.sampling.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            lines.append(f"{_OPTIONS.get(name, name):<30} {msgspec.json.encode(each).decode()}")
    return "\n".join(lines)


def _modelfile(served: Served, preset: Preset, parameters: str) -> str:
    persona = served.content.persona if served.content is not None else ""
    system = preset.system or persona or ""
    adapter = [f"ADAPTER {served.adapter.ref}"] if served.adapter is not None else []
    lines = [f"FROM {preset.base or served.base.ref}", *adapter]
    lines += [f"PARAMETER {' '.join(each.split(None, 1))}" for each in parameters.splitlines()]
    if system:
        lines.append(f'SYSTEM """{system}"""')
    return "\n".join(lines) + "\n"


def _license(model: Revision) -> str:
    path = model.folder / "LICENSE"
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def _capabilities(served: Served) -> list[str]:
    if answers_of(served.base.folder) is None:
        return ["embedding"]
    if answers_of(served.base.folder) != "text":  # it answers with a label, of text or of a picture
        return ["vision"] if served.words is None else ["completion"]
    found = ["completion"]
    try:
        style_of(served.tokenizer)
        found.append("tools")
    except InvalidInput:  # it was taught none
        pass
    return found + (["thinking"] if marks_of(served.tokenizer.template_text) is not None else [])
