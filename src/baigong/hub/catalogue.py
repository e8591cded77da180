"""Well-known open models (models.yaml), and what this platform can do with each."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from ruamel.yaml import YAML

from baigong.errors import InvalidInput
from baigong.hub.names import check_name
from baigong.model.abilities import ability_of, is_served, is_tuned, takes_adapters
from baigong.model.architecture import is_own
from baigong.model.terms import LICENSES, TASKS

FILE = Path(__file__).with_name("models.yaml")

Use = Literal["serve", "tune", "adapters"]
USES: tuple[Use, ...] = ("serve", "tune", "adapters")

_Some = Annotated[str, msgspec.Meta(min_length=1)]
_VECTORS = {"feature-extraction", "sentence-similarity"}


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model; see models.yaml. Unknown numbers are 0, unknown words empty."""

    name: _Some
    family: _Some
    modelscope: str = ""
    license: _Some
    task: _Some
    architecture: str = ""
    type: str = ""
    billions: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    context: Annotated[int, msgspec.Meta(ge=0)] = 0
    languages: tuple[_Some, ...] = ()
    code: bool = False
    quantised: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """What its config.json says, of what decides who can run it."""
        found: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.type}
        if self.type == "gemma3_text" and self.task in _VECTORS:
            found["use_bidirectional_attention"] = True
        if self.type in {"gemma3", "mistral3"}:
            found["text_config"] = {
                "model_type": {"gemma3": "gemma3_text"}.get(self.type, "mistral")
            }
        if self.code:
            found["auto_map"] = {}
        if self.quantised:
            found["quantization_config"] = {"quant_method": "published so"}
        return found

    @property
    def uses(self) -> tuple[Use, ...]:
        """What can be done with it here beyond keeping it."""
        ability = ability_of(self.fields, has_pooling=self.task in _VECTORS)
        can = {"serve": is_served(self.task, ability), "tune": is_tuned(self.task, self.fields)}
        can["adapters"] = can["tune"] and takes_adapters(self.task, ability)
        return tuple(use for use in USES if can[use])

    @property
    def is_native(self) -> bool:
        """Whether the engine's own decoder runs it."""
        return "serve" in self.uses and is_own(self.fields)


@lru_cache(maxsize=1)
def models() -> tuple[Model, ...]:
    """All of them, in the order of the file."""
    return read(FILE.read_text("utf-8"))


def read(text: str) -> tuple[Model, ...]:
    """The models that a text in the form of models.yaml names.

    Raises:
        InvalidInput: names the model and the field.
    """
    found = [model for family in YAML(typ="safe").load(text) for model in _of(family)]
    seen: set[str] = set()
    for model in found:
        for name in filter(None, {f"hf {model.name}", model.modelscope}):
            if name in seen:
                raise InvalidInput(f"{model.name}: it is there twice.", param="names")
            seen.add(name)
    return tuple(found)


def _of(family: dict[str, Any]) -> list[Model]:
    shared = {key: value for key, value in family.items() if key != "models"}
    return [
        _model({**shared, **entry}, name) for entry in family["models"] for name in entry["names"]
    ]


def _model(given: dict[str, Any], short: str) -> Model:
    name = f"{given.pop('owner')}/{short}"
    given.pop("names")
    owner, there = given.pop("modelscope", ""), given.pop("modelscope_name", "")
    modelscope = there or (f"{owner}/{short}" if owner else "")
    try:
        model = msgspec.convert({**given, "name": name, "modelscope": modelscope}, Model)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{name}: {error}", param="models") from error
    for where in filter(None, (model.name, model.modelscope)):
        check_name(where)
    for field, value, known in (("license", model.license, LICENSES), ("task", model.task, TASKS)):
        if value not in known:
            raise InvalidInput(f"{name}: the {field} '{value}' is not known.", param=field)
    return model
