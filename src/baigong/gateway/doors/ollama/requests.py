"""What an Ollama client may ask, turned into our own nouns.

Options that say how another engine should use its machine are taken without effect; one that would
change the answer and cannot be honoured is refused by name.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import msgspec

from baigong.errors import InvalidInput
from baigong.gateway.bodies import refused, shown
from baigong.gateway.doors.openai.tools import ToolItem
from baigong.model.data_url import data_url
from baigong.types import Grammar, Message, Role, Sampling, ToolCall

_ANY_OBJECT = '{"type":"object"}'
_MOST_TOKENS = 1 << 24  # the engine stops at the end of its context
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}

# Of options, those with another name here.
_NAMES = {"num_predict": "max_tokens", "repeat_penalty": "repetition_penalty"}
_SAME = {"temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty"}
_WITHOUT_EFFECT = {
    "numa",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mmap",
    "use_mlock",
    "embedding_only",
    "num_thread",
    "num_keep",
    "repeat_last_n",
}
_OFF = {"mirostat": 0, "typical_p": 1, "tfs_z": 1}  # kinds of sampling that are not here


class Called(msgspec.Struct, frozen=True):
    name: str
    arguments: dict[str, Any] = {}


class Call(msgspec.Struct, frozen=True):
    function: Called
    id: str | None = None


class Turn(msgspec.Struct, frozen=True):
    role: Role
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and generate share. `keep_alive` is taken: models leave memory by themselves."""

    model: str
    stream: bool | None = None
    format: Literal[""] | str | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def effort(self) -> str | None:
        """The reasoning effort that `think` means; None leaves it to the model."""
        if isinstance(self.think, bool):
            return "medium" if self.think else "none"
        return self.think or None

    @property
    def unloads(self) -> bool:
        return self.keep_alive in {0, "0", "0s"}

    def sampling(self, defaults: Sampling, *, is_bounded: bool) -> Sampling:
        """What was asked; what was left out as `defaults` say.

        Args:
            defaults: of the model that was asked.
            is_bounded: whether they say how long an answer may be. Else it ends with the context.

        Raises:
            InvalidInput: an option is unknown, wrong, or cannot be honoured.
        """
        given = sampling_of(self.options or {})
        if not is_bounded:
            given.setdefault("max_tokens", _MOST_TOKENS)
        if (grammar := _grammar(self.format)) is not None:
            given["grammar"] = grammar
        if self.logprobs:
            given["logprobs"] = self.top_logprobs or 0
        return msgspec.structs.replace(defaults, **given)


class ChatAsked(Asked, frozen=True, kw_only=True):
    messages: list[Turn] = []
    tools: list[ToolItem] | None = None


class GenerateAsked(Asked, frozen=True, kw_only=True):
    prompt: str = ""
    system: str | None = None
    images: list[str] | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None

    def turns(self) -> list[Turn]:
        """The same as a conversation.

        Raises:
            InvalidInput: it asks for what only its own templates can do.
        """
        for name in ("suffix", "template", "context"):
            if getattr(self, name):
                hint = "Send the turns to /api/chat." if name == "context" else "Leave it out."
                raise refused(name, f"'{name}' is not supported.", hint)
        turns = [Turn("system", self.system)] if self.system else []
        return [*turns, Turn("user", self.prompt, images=self.images)]


def sampling_of(options: dict[str, Any]) -> dict[str, Any]:
    """Options as fields of `Sampling`.

    Raises:
        InvalidInput: as `Asked.sampling`.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if value is None or name in _WITHOUT_EFFECT or _OFF.get(name) == value:
            continue
        if name == "stop":
            found["stop"] = (value,) if isinstance(value, str) else tuple(value)
        elif name in _SAME or name in _NAMES:
            found[_NAMES.get(name, name)] = value
        elif name == "penalize_newline":
            continue
        else:
            raise refused(f"options.{name}", f"The option '{name}' is not supported.")
    if found.get("max_tokens", 1) < 0:  # -1 and -2: until it ends by itself, or the context does
        found["max_tokens"] = _MOST_TOKENS
    try:
        msgspec.convert(found, Sampling)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"options: {error}.", param="options") from error
    return found


def conversation(turns: list[Turn], *, looks: bool) -> list[Message]:
    """Turns as messages. Calls have no ids here, so a tool's turn answers the first call of its name
    that nothing has answered yet.

    Args:
        turns: as they came.
        looks: the model is asked with a picture instead of words.

    Raises:
        InvalidInput: a picture for a model that reads; a tool's turn that answers nothing.
    """
    messages: list[Message] = []
    waiting: list[ToolCall] = []
    for i, turn in enumerate(turns):
        calls = tuple(
            ToolCall(
                call.id or f"call_{i}_{n}",
                call.function.name,
                msgspec.json.encode(call.function.arguments).decode(),
            )
            for n, call in enumerate(turn.tool_calls or [])
        )
        waiting += calls
        text, answers = turn.content or "", None
        if turn.images:
            text = _picture(turn.images, f"messages[{i}].images", looks=looks)
        if turn.role == "tool":
            answers = _answered(turn, waiting, f"messages[{i}]")
            waiting.remove(answers)
        messages.append(
            Message(
                turn.role,
                text,
                calls,
                answers.id if answers else None,
                answers.name if answers else None,
                turn.thinking or "",
            )
        )
    return messages


def _answered(turn: Turn, waiting: list[ToolCall], where: str) -> ToolCall:
    for call in waiting:
        if turn.tool_call_id in {None, call.id} and turn.tool_name in {None, "", call.name}:
            return call
    raise InvalidInput(
        f"{where}: this tool's turn answers no call that was made before it.",
        hint="Send the assistant's turn with its tool_calls first.",
        param=where,
    )


def _picture(images: list[str], where: str, *, looks: bool) -> str:
    if not looks:
        raise refused(where, f"{where}: this model reads text only.")
    if len(images) != 1:
        raise refused(where, f"{where}: expected one picture, got {len(images)}.")
    try:
        data = base64.b64decode(images[0], validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{where}: {shown(images[0])} is not base64.", param=where) from error
    kind = next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), "png")
    return data_url(data, kind)


def _grammar(format: str | dict[str, Any] | None) -> Grammar | None:
    if not format:
        return None
    if isinstance(format, dict):
        return Grammar("json_schema", msgspec.json.encode(format).decode())
    if format == "json":
        return Grammar("json_schema", _ANY_OBJECT)
    raise InvalidInput(
        f"format: expected 'json' or a JSON schema, got {shown(format)}.", param="format"
    )
