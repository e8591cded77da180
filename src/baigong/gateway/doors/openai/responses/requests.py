"""What a client may ask of `/v1/responses`, checked once, and turned into our own nouns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from baigong.errors import InvalidInput
from baigong.gateway.bodies import convert, refused, shown
from baigong.gateway.doors.openai.formats import JsonSchema, ResponseFormat, grammar_of
from baigong.gateway.doors.openai.requests import HARMLESS, Effort, Positive
from baigong.gateway.doors.openai.tools import (
    FunctionItem,
    ToolItem,
    check_answered,
    tool_use,
)
from baigong.gateway.doors.openai.vector_stores.wire import RankingOptions
from baigong.types import Message, Role, Sampling, ToolCall, ToolUse

RESULTS = "file_search_call.results"
_INCLUDED = {RESULTS, "reasoning.encrypted_content"}  # of the second there is never any
# Accepted only with a value that asks for nothing: no response is kept.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "conversation": (),
    "max_tool_calls": (),
    "previous_response_id": (),
    "prompt": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
_TEXTS = {"input_text", "output_text", "text"}
_ECHOES = {"reasoning", "file_search_call"}  # of earlier answers, and nothing a model is shown


class Format(msgspec.Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct, frozen=True):
    format: Format | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct, frozen=True):
    effort: Effort | None = None
    summary: str | None = None


class FileSearch(msgspec.Struct, frozen=True):
    """The tool that looks into vector stores."""

    vector_store_ids: Annotated[list[str], Meta(min_length=1, max_length=16)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 8
    filters: dict[str, Any] | None = None
    ranking_options: RankingOptions | None = None

    @property
    def threshold(self) -> float:
        options = self.ranking_options
        return 0.0 if options is None else options.score_threshold or 0.0

    @property
    def ranker(self) -> str | None:
        return None if self.ranking_options is None else self.ranking_options.model


T = TypeVar("T", FileSearch, FunctionItem)


class ResponseRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    include: list[str] | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_output_tokens: Positive | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None  # the reply says that it was not
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    def conversation(self) -> list[Message]:
        """The turns as messages, the instructions before them.

        Raises:
            InvalidInput: an item is none that a model can be shown.
        """
        before = [Message("system", self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*before, Message("user", self.input)]
        turns = _turns(self.input)
        if not turns:
            raise InvalidInput("input: expected at least one message.", param="input")
        return [*before, *check_answered(turns)]

    def sampling(self, defaults: Sampling) -> Sampling:
        """What was asked, `defaults` filling what was left out."""
        given = {
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "grammar": grammar_of(self._format(), None),
        }
        return msgspec.structs.replace(
            defaults, **{name: value for name, value in given.items() if value is not None}
        )

    def functions(self) -> ToolUse:
        """Which functions the model may or must call.

        Raises:
            InvalidInput: a tool is of a kind that we do not have.
        """
        items, choice = [], self.tool_choice
        for i, tool in enumerate(self.tools or ()):
            kind = str(tool.get("type"))
            if kind == "function":
                items.append(ToolItem("function", _inside(tool, FunctionItem, f"tools[{i}]")))
            elif kind != "file_search":
                raise refused(
                    f"tools[{i}].type",
                    f"tools[{i}]: the tool '{kind[:40]}' is not supported.",
                    "Use 'function' and 'file_search'.",
                )
        if isinstance(choice, dict) and choice.get("type") == "function":
            choice = {"type": "function", "function": {"name": choice.get("name")}}
        elif isinstance(choice, dict) and choice.get("type") == "file_search":
            choice = None
        if choice == "required" and self.file_search() is not None:
            choice = None  # it is called in any case
        return tool_use(items, choice, self.parallel_tool_calls)

    def file_search(self) -> FileSearch | None:
        """The search to make before the answer, if there is one.

        Raises:
            InvalidInput: there are several, or it is not whole.
        """
        found = [
            (i, tool)
            for i, tool in enumerate(self.tools or ())
            if tool.get("type") == "file_search"
        ]
        if not found or self.tool_choice == "none":
            return None
        if len(found) > 1:
            raise InvalidInput(
                "tools: file_search is there twice.",
                hint="Name all vector stores in one.",
                param=f"tools[{found[1][0]}]",
            )
        return _inside(found[0][1], FileSearch, f"tools[{found[0][0]}]")

    def _format(self) -> ResponseFormat | None:
        asked = None if self.text is None else self.text.format
        if asked is None or asked.type == "text":
            return None
        if asked.type == "json_schema" and asked.schema is None:
            raise InvalidInput(
                "The field 'text.format.schema' is missing.", param="text.format.schema"
            )
        schema = JsonSchema(asked.name, asked.description, asked.schema, asked.strict)
        return ResponseFormat(asked.type, schema)


def parse_response(found: dict[str, Any]) -> ResponseRequest:
    """The request in a JSON object.

    Raises:
        InvalidInput: a field is missing, wrong, unknown, or asks for what we cannot do.
    """
    for name, value in found.items():
        if value is None or name in HARMLESS or name in ResponseRequest.__struct_fields__:
            continue
        if name not in _NEUTRAL:
            error = InvalidInput(
                f"There is no parameter '{name[:80]}'.", hint="Leave it out.", param=name
            )
            error.code = "unknown_parameter"
            raise error
        if value not in _NEUTRAL[name]:
            raise refused(
                name,
                f"The parameter '{name}' is not supported, got {shown(value)}.",
                "Leave it out, and send the whole conversation in `input`.",
            )
    asked = convert(found, ResponseRequest)
    for wanted in asked.include or ():
        if wanted not in _INCLUDED:
            raise refused("include", f"include: {shown(wanted)} is not supported.", "Leave it out.")
    return asked


def _turns(items: Sequence[dict[str, Any]]) -> list[Message]:
    turns: list[Message] = []
    for i, item in enumerate(items):
        kind, where = item.get("type", "message"), f"input[{i}]"
        if kind == "message":
            turns.append(_message(item, where))
        elif kind == "function_call":
            named = [str(item.get(key, "")) for key in ("call_id", "name", "arguments")]
            call = ToolCall(*named)
            if turns and turns[-1].role == "assistant":  # its text and calls are one turn
                before = turns.pop()
                turns.append(msgspec.structs.replace(before, tool_calls=(*before.tool_calls, call)))
            else:
                turns.append(Message("assistant", "", (call,)))
        elif kind == "function_call_output":
            text = _text(item.get("output"), f"{where}.output")
            turns.append(Message("tool", text, tool_call_id=str(item.get("call_id"))))
        elif kind not in _ECHOES:
            raise refused(
                f"{where}.type", f"{where}: items of type {shown(kind)} are not supported."
            )
    return turns


def _message(item: dict[str, Any], where: str) -> Message:
    roles: dict[str, Role] = {
        "user": "user", "assistant": "assistant", "system": "system", "developer": "system",
    }  # fmt: skip
    role = roles.get(str(item.get("role")))
    if role is None:
        raise InvalidInput(
            f"{where}.role: expected one of {', '.join(roles)}, got {shown(item.get('role'))}.",
            param=f"{where}.role",
        )
    return Message(role, _text(item.get("content"), f"{where}.content"))


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidInput(f"{where}: expected text, got {shown(content)}.", param=where)
    texts = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXTS or not isinstance(part.get("text"), str):
            raise refused(
                f"{where}[{i}].type",
                f"{where}[{i}]: expected a part of type 'input_text', got {shown(kind)}.",
                "This model reads text only.",
            )
        texts.append(part["text"])
    return "".join(texts)


def _inside(found: dict[str, Any], kind: type[T], where: str) -> T:
    try:
        return convert(found, kind)
    except InvalidInput as error:
        error.param = f"{where}.{error.param}"
        raise
