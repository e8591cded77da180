"""Tool calls in a model's text: one row for each way of writing them, and one parser for all.

A row holds the marks round a call; what stands between them is a JSON object with the tool's name
and its arguments. Which row a model follows is seen in its chat template, for that is what it was
trained on.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from typing import Any, NamedTuple

from baigong.errors import InvalidInput
from baigong.inference.text import overlap
from baigong.model.chat import ChatTokenizer
from baigong.types import CallDelta


class Style(NamedTuple):
    """How a family of models writes `begin` {"name": ..., `key`: {...}} `end`."""

    name: str
    sign: str  # in the template, tells the style
    begin: str
    end: str
    key: str = "arguments"
    is_list: bool = False  # the calls are one JSON list
    may_be_bare: bool = False  # a call that begins the answer needs no mark

    @property
    def marks(self) -> tuple[str, str]:
        """Its marks without the white space that may or may not come."""
        return self.begin.strip(), self.end.strip()


STYLES = (
    Style("mistral", "[TOOL_CALLS]", "[TOOL_CALLS]", "", is_list=True),
    Style("hermes", "<tool_call>", "<tool_call>\n", "\n</tool_call>"),
    Style("llama", '"parameters": ', "<|python_tag|>", "", key="parameters", may_be_bare=True),
)
# Signs of ways that no row describes, though they share a mark with one that does.
_OTHERS = ("[ARGS]", "<function=", "<arg_key>")

_HEADER = re.compile(
    r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"([^"\\]*)"\s*,'
    r'\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


def style_of(tokenizer: ChatTokenizer) -> Style:
    """How this model writes its calls.

    Raises:
        InvalidInput: its template takes no tools, or has it write calls in a way not known here.
    """
    text = tokenizer.template_text
    found = next((style for style in STYLES if style.sign in text), None)
    if "tools" in tokenizer.reads and found and not any(sign in text for sign in _OTHERS):
        return found
    knows = "writes tool calls in a way that is not known here" if found else "was taught no tools"
    error = InvalidInput(
        f"The model {knows}, by its chat template, so 'tools' is not supported.",
        hint="Use a model whose template takes `tools` (Qwen2.5, Qwen3, Llama 3, Mistral), "
        "or describe the tools in a system turn and read the answer yourself.",
        param="tools",
    )
    error.code = "unsupported_parameter"
    raise error


class Calls:
    """Takes tool calls out of a text that comes in pieces; any pieces give the same calls.

    Text before a call is told at once, never half a mark. A call is told once its name is known to
    be one of `names`, and its arguments as they come, right or wrong. What looks like a call and is
    none, for it is no JSON or names no tool, is text.
    """

    def __init__(self, style: Style, names: Collection[str]) -> None:
        self._style = style
        self._names = names
        self._begin, self._end = style.marks
        self._step = self._start if style.may_be_bare else self._text
        self._held = ""
        self._opened = ""  # what led into the call that is being read
        self._is_listed = False
        self._json = _Json()
        self._said: list[str] = []
        self._calls: list[CallDelta] = []
        self.count = 0

    @property
    def is_between(self) -> bool:
        """Whether the last call is complete."""
        return self.count > 0 and self._step == self._after

    def push(self, text: str) -> tuple[str, tuple[CallDelta, ...]]:
        """The text and the pieces of calls that this piece makes certain."""
        self._held += text
        while self._step():
            pass
        return self._told()

    def finish(self) -> tuple[str, tuple[CallDelta, ...]]:
        """What was held back and turned out to be no call."""
        if self._step not in (self._arguments, self._rest, self._after):
            self._said.append(self._opened + self._held)
        self._held = self._opened = ""
        return self._told()

    def _told(self) -> tuple[str, tuple[CallDelta, ...]]:
        said, calls = "".join(self._said), tuple(self._calls)
        self._said, self._calls = [], []
        return said, calls

    # Each step takes what it can from what is held, and says whether another should be tried.

    def _start(self) -> bool:
        """Before anything was said, `{` is enough to begin a call."""
        text = self._held.lstrip()
        if not text:
            return False
        if text.startswith("{"):
            self._open(len(self._held) - len(text), 0)
        else:
            self._step = self._text
        return True

    def _text(self) -> bool:
        at = self._held.find(self._begin)
        end = at if at >= 0 else len(self._held) - overlap(self._held, self._begin)
        certain = self._held[:end].rstrip()
        self._said.append(certain)
        self._held = self._held[len(certain) :]
        if at < 0:
            return False
        self._open(at - len(certain), len(self._begin))
        return True

    def _open(self, space: int, mark: int) -> None:
        self._opened, self._held = self._held[: space + mark], self._held[space + mark :]
        self._is_listed = False
        self._step = self._body

    def _body(self) -> bool:
        """After a mark: white space, one `[` at most, and the object."""
        text = self._held.lstrip()
        if not text:
            return False
        self._opened += self._held[: len(self._held) - len(text)]
        self._held = text
        if text.startswith("[") and not self._is_listed:
            self._is_listed = True
            self._opened, self._held = self._opened + "[", text[1:]
        elif text.startswith("{"):
            self._json = _Json()
            self._step = self._object
        else:
            self._fail()
        return True

    def _object(self) -> bool:
        """In the object, before its arguments are known."""
        if header := _HEADER.match(self._held):
            if header[1] not in self._names:
                return self._fail()
            self._begin_call(header[1])
            self._held = self._held[header.end() :]
            self._json = _Json()
            self._step = self._arguments
            return True
        end = self._json.end(self._held)
        if end is None:
            return False
        call = _read(self._held[:end])
        if call is None or call[0] not in self._names:
            return self._fail()
        self._begin_call(call[0])
        self._calls.append(CallDelta(self.count - 1, arguments=call[1]))
        self._held = self._held[end:]
        self._step = self._after
        return True

    def _fail(self) -> bool:
        """It was no call: its mark is text, and so may be the rest."""
        self._said.append(self._opened)
        self._opened = ""
        self._step = self._text
        return True

    def _begin_call(self, name: str) -> None:
        id = f"call_{secrets.token_hex(12)}"
        self._calls.append(CallDelta(self.count, id, name))
        self.count += 1
        self._opened = ""

    def _arguments(self) -> bool:
        end = self._json.end(self._held)
        piece = self._held if end is None else self._held[:end]
        self._json.forget()
        if piece:
            self._calls.append(CallDelta(self.count - 1, arguments=piece))
        self._held = self._held[len(piece) :]
        if end is None:
            return False
        self._json = _Json(depth=1)
        self._step = self._rest
        return True

    def _rest(self) -> bool:
        """The object's end. Small models forget it, so anything else ends it too."""
        text = self._held.lstrip()
        if not text:
            return False
        self._step = self._fields if text[0] in ",}" else self._after
        return True

    def _fields(self) -> bool:
        """Fields after the arguments, such as an id of the model's own, are let go."""
        end = self._json.end(self._held)
        piece = self._held if end is None else self._held[:end]
        self._json.forget()
        self._held = self._held[len(piece) :]
        if end is None:
            self._opened += piece
            return False
        self._opened = ""
        self._step = self._after
        return True

    def _after(self) -> bool:
        """Between calls: the end mark, commas of a list, white space."""
        self._held = text = self._held.lstrip()
        if not text:
            return False
        if self._end and self._end.startswith(text):
            self._held = self._held if text != self._end else ""
            return False
        if self._end and text.startswith(self._end):
            self._held = text[len(self._end) :]
        elif self._is_listed and text[0] == "]":
            self._held = text[1:]
            self._is_listed = False
        elif (self._is_listed and text[0] == ",") or (self._style.may_be_bare and text[0] == ";"):
            self._opened, self._held = text[0], text[1:]
            self._step = self._body
        else:
            self._step = self._text
        return True


_BARE = {"name", "type", "id", "arguments", "parameters"}  # fields of a call without arguments


class _Json:
    """Finds where an object ends in a text that grows, looking at no character twice."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._at = 0
        self._in_string = self._is_escaped = False

    def forget(self) -> None:
        """What was looked at is taken from the text."""
        self._at = 0

    def end(self, text: str) -> int | None:
        """The place after the object; None while it goes on."""
        for at in range(self._at, len(text)):
            character = text[at]
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return at + 1
        self._at = len(text)
        return None


def _read(text: str) -> tuple[str, str] | None:
    """(name, arguments) of a call that is written in an unusual way; None if it is no call."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name = found.get("name")
    arguments = found.get("arguments", found.get("parameters"))
    if not isinstance(name, str) or (arguments is None and not found.keys() <= _BARE):
        return None
    if isinstance(arguments, str):
        return name, arguments
    return name, json.dumps(arguments or {}, ensure_ascii=False)
