"""Tools and tool calls in OpenAI's words, in requests and in replies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from baigong.errors import InvalidInput
from baigong.gateway.bodies import refused, shown
from baigong.types import CallDelta, Delta, Message, Tool, ToolCall, ToolUse

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_TOOLS = 128  # as at OpenAI


class FunctionItem(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolItem(msgspec.Struct, frozen=True):
    type: str
    function: FunctionItem | None = None


class CalledItem(msgspec.Struct, frozen=True):
    name: str
    arguments: str | dict[str, Any] = "{}"


class CallItem(msgspec.Struct, frozen=True):
    id: str
    function: CalledItem | None = None
    type: str = "function"


def tool_use(
    tools: Sequence[ToolItem], choice: str | dict[str, Any] | None, is_parallel: bool | None
) -> ToolUse:
    """What the model may call, from `tools`, `tool_choice` and `parallel_tool_calls`.

    With the choice "none" the model is shown no tools at all, so that it cannot call one.

    Raises:
        InvalidInput: a tool is of another kind or ill named, or the choice names none of them.
    """
    found = _tools(tools)
    forced = _forced(choice, [tool.name for tool in found])
    if choice == "none":
        return ToolUse()
    return ToolUse(found, forced, is_parallel is not False)


def calls_of(items: Sequence[CallItem], role: str, where: str) -> tuple[ToolCall, ...]:
    """The calls in an assistant's turn; arguments may be JSON text or an object.

    Raises:
        InvalidInput: another role makes them, or one is not of a function.
    """
    if items and role != "assistant":
        raise InvalidInput(f"{where}: a turn of role '{role}' makes no calls.", param=where)
    found = []
    for i, item in enumerate(items):
        field = f"{where}[{i}]"
        if item.function is None:
            raise refused(
                f"{field}.type",
                f"{field}: expected type 'function', got '{item.type[:40]}'.",
            )
        _check_name(item.function.name, f"{field}.function.name")
        given = item.function.arguments
        text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
        found.append(ToolCall(item.id, item.function.name, text))
    return tuple(found)


def check_answered(turns: Sequence[Message]) -> list[Message]:
    """The same turns, each tool's turn with the name of the tool that it answers for.

    Raises:
        InvalidInput: a tool's turn answers no call that was made before it.
    """
    names: dict[str, str] = {}
    checked = []
    for i, turn in enumerate(turns):
        names |= {call.id: call.name for call in turn.tool_calls}
        if turn.role != "tool":
            checked.append(turn)
            continue
        if turn.tool_call_id not in names:
            field = f"messages[{i}].tool_call_id"
            raise InvalidInput(
                f"{field}: {shown(turn.tool_call_id)} is not the id of a call made before it.",
                hint="Send the assistant's turn with its tool_calls first.",
                param=field,
            )
        checked.append(msgspec.structs.replace(turn, name=turn.name or names[turn.tool_call_id]))
    return checked


def call_deltas(calls: Sequence[CallDelta]) -> list[dict[str, Any]]:
    """Pieces of calls as a chunk's `tool_calls`."""
    return [_call_delta(call) for call in calls]


class Gathered:
    """A whole answer, put together from its deltas."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[tuple[CallDelta, list[str]]] = []

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self._reasoning.append(delta.reasoning)
        for call in delta.calls:
            if call.name is not None:
                self._calls.append((call, []))
            self._calls[call.index][1].append(call.arguments)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def fields(self) -> dict[str, Any]:
        """What a message has beside its text; a turn of calls alone has no text."""
        found: dict[str, Any] = {}
        if reasoning := "".join(self._reasoning):
            found["reasoning_content"] = reasoning
        if self._calls:
            found["tool_calls"] = [_call(call, "".join(parts)) for call, parts in self._calls]
            found["content"] = self.text or None
        return found


def _call(call: CallDelta, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _call_delta(call: CallDelta) -> dict[str, Any]:
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    return {"index": call.index, **_call(call, call.arguments)}


def _tools(items: Sequence[ToolItem]) -> tuple[Tool, ...]:
    if len(items) > MOST_TOOLS:
        raise InvalidInput(
            f"tools: expected at most {MOST_TOOLS}, got {len(items)}.", param="tools"
        )
    found: dict[str, Tool] = {}
    for i, item in enumerate(items):
        field = f"tools[{i}]"
        if item.type != "function" or item.function is None:
            raise refused(
                f"{field}.type",
                f"{field}: expected a tool of type 'function', got '{item.type[:40]}'.",
                "Describe it as a function.",
            )
        function = item.function
        _check_name(function.name, f"{field}.function.name")
        if function.name in found:
            raise InvalidInput(
                f"{field}.function.name: '{function.name}' is the name of another tool.",
                hint="Rename one.",
                param=f"{field}.function.name",
            )
        given = {"parameters": function.parameters} if function.parameters else {}
        found[function.name] = Tool(function.name, function.description, **given)
    return tuple(found.values())


def _check_name(name: str, field: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{field}: {shown(name)} is not a tool's name.",
            hint="Use 1 to 64 of the letters A-Z and a-z, digits, '_' and '-'.",
            param=field,
        )


def _forced(choice: str | dict[str, Any] | None, names: Sequence[str]) -> tuple[str, ...]:
    """The tools of which one must be called."""
    if choice is None or choice in ("none", "auto"):
        return ()
    if choice == "required":
        if not names:
            raise InvalidInput(
                "tool_choice is 'required', and there are no tools.",
                hint="Send some in `tools`.",
                param="tool_choice",
            )
        return tuple(names)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise refused(
            "tool_choice",
            f"tool_choice: {shown(choice)} is not supported.",
            "Send 'none', 'auto', 'required' or {'type': 'function', 'function': {'name': ...}}.",
        )
    if name not in names:
        raise InvalidInput(
            f"tool_choice: there is no tool '{name[:80]}' in this request.",
            hint=f"There are: {', '.join(names)}." if names else "Send some in `tools`.",
            param="tool_choice",
        )
    return (name,)
