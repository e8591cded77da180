"""A preset: a model under another name, with turns and settings of its own, in one small file.

Its repository may hold nothing else, so that any number of them stand on one model in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import InvalidInput
from baigong.types import Message, Sampling

PRESET = "preset.json"
_MOST_BYTES = 1 << 20
TAG = "preset"  # of its card, by which lists know one


class Preset(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file holds.

    Attributes:
        base: what answers, by a name that never changes its meaning; empty for the repository's own
            model.
        messages: turns before those of a caller, whose own system turn is taken instead of theirs.
        sampling: fields of `Sampling` that hold where the caller leaves them out.
    """

    base: str = ""
    messages: tuple[Message, ...] = ()
    sampling: dict[str, Any] = {}

    @property
    def system(self) -> str:
        """The first system turn."""
        return next((m.content for m in self.messages if m.role == "system"), "")

    def before(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation with the preset's turns in it."""
        own = [message for message in messages if message.role == "system"]
        if not own:
            return [*self.messages, *messages]
        turns = [message for message in self.messages if message.role != "system"]
        return [own[0], *turns, *(message for message in messages if message is not own[0])]

    def over(self, defaults: Sampling) -> Sampling:
        """The settings for what a caller leaves out.

        Raises:
            InvalidInput: the file holds others than there are.
        """
        known = {name: getattr(defaults, name) for name in Sampling.__struct_fields__}
        try:
            return msgspec.convert({**msgspec.to_builtins(known), **self.sampling}, Sampling)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{PRESET}: {error}.", param="sampling") from error


def preset_file(preset: Preset) -> bytes:
    """What its file holds.

    Raises:
        InvalidInput: it is too long for one.
    """
    data = msgspec.json.format(msgspec.json.encode(preset), indent=2)
    _check_length(data)
    return data


def preset_of(folder: Path) -> Preset | None:
    """The preset in a repository's folder.

    Raises:
        InvalidInput: the file is none, or too long for one.
    """
    path = folder / PRESET
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    _check_length(data)
    try:
        return msgspec.json.decode(data, type=Preset)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{PRESET} of {folder.name} is no preset: {error}.") from error


def _check_length(data: bytes) -> None:
    if len(data) > _MOST_BYTES:
        raise InvalidInput(
            f"{PRESET} is longer than {_MOST_BYTES} bytes.", hint="Leave some of its messages out."
        )
