"""The grammar of an answer that must be a tool call, in llguidance's Lark.

The call's frame is written out in the way of the model's style, and inside it stands the tool's
own schema, whose `$ref`s keep their root.
"""

from __future__ import annotations

import json

from baigong.inference.reasoning import Thoughts
from baigong.inference.tools import Style
from baigong.model.chat import ChatTokenizer
from baigong.types import Grammar, Tool, ToolUse

# As templates write JSON; without white space of its own choice a model cannot go on for ever.
_WRITING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def forced_grammar(
    style: Style, use: ToolUse, thoughts: Thoughts | None, tokenizer: ChatTokenizer
) -> Grammar:
    """One of `use.forced`, or more where calls may be parallel; thoughts first where they may be."""
    tools = [tool for tool in use.tools if tool.name in use.forced]
    start, rules = _thoughts(thoughts, tokenizer)
    rules += _calls(style, tools, tokenizer, is_parallel=use.is_parallel)
    return Grammar("lark", "\n".join([start, *rules]))


def _thoughts(thoughts: Thoughts | None, tokenizer: ChatTokenizer) -> tuple[str, list[str]]:
    if thoughts is None or thoughts.is_over:
        return "start: calls", []
    begin, end = thoughts.marks
    known = tokenizer.tokenizer.token_to_id(end)
    is_special = bool(tokenizer.shown([end]))
    ends = ["until"] if not is_special else []
    ends += [f"TEXT <[{known}]>"] if known is not None else []
    rules = [
        f"thought: ({' | '.join(ends)}) SPACE",
        f"until[suffix={json.dumps(end)}]: TEXT",
        "TEXT: /(?s:.*)/",
        r"SPACE: /\s*/",
    ]
    begun = "thought" if thoughts.is_open else f"({_written(begin, tokenizer)} thought)?"
    return f"start: {begun} calls", rules


def _calls(
    style: Style, tools: list[Tool], tokenizer: ChatTokenizer, *, is_parallel: bool
) -> list[str]:
    begin, end = _written(style.begin, tokenizer), _written(style.end, tokenizer)
    if style.may_be_bare:  # Llama makes one call a turn
        calls = "call"
    elif style.is_list:
        more = ' (", " call)*' if is_parallel else ""
        calls = f'{begin} "[" call{more} "]"'
    else:
        one = f"{begin} call {end}"
        calls = f'{one} ("\\n" {one})*' if is_parallel else one
    rules = [
        f"calls: {calls}",
        "call: " + " | ".join(f"call_{i}" for i in range(len(tools))),
    ]
    for i, tool in enumerate(tools):
        head = f'{{"name": {json.dumps(tool.name)}, "{style.key}": '
        schema = {"type": "object", **tool.parameters, "x-guidance": _WRITING}
        rules.extend((
            f'call_{i}: {json.dumps(head)} arguments_{i} "}}"',
            f"arguments_{i}: %json {json.dumps(schema)}",
        ))
    return rules


def _written(text: str, tokenizer: ChatTokenizer) -> str:
    """A mark, with white space round it, in a rule.

    A mark that is one token is named by its id, for llguidance lets no text stand for a special
    token, nor for one that looks special, as `<tool_call>` does.
    """
    mark = text.strip()
    id = tokenizer.tokenizer.token_to_id(mark) if mark else None
    if id is None:
        return json.dumps(text)
    before, _, after = text.partition(mark)
    one = f"<[{id}]>" if tokenizer.shown([mark]) else f"(<[{id}]> | {json.dumps(mark)})"
    spaces = [json.dumps(space) if space else "" for space in (before, after)]
    return f"{spaces[0]} {one} {spaces[1]}".strip()
