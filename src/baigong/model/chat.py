"""A model folder's tokenizer and chat template: the one code path from messages to token ids.

Training, evaluation and serving all come through here, and the parity check holds it against
transformers, so that a tuned model cannot meet another template when it serves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from typing_extensions import override

from baigong.errors import InvalidInput, Unsupported
from baigong.types import Message, Tool

# Private-use characters that no template emits; they mark where a {% generation %} block begins and ends.
_BEGIN, _END = "\ue0f0", "\ue0f1"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each whether the model is trained to produce it."""

    ids: list[int]
    is_answer: list[bool]


class ChatTokenizer:
    """Tokenizer and template of one model folder. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self._config = _read_json(folder / "tokenizer_config.json")
        self._generation = _read_json(folder / "generation_config.json")

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end an answer, from generation_config.json, else config.json, else the tokenizer."""
        for source in (self._generation, _read_json(self.folder / "config.json")):
            eos = source.get("eos_token_id")
            if eos is not None:
                return frozenset(eos if isinstance(eos, list) else [eos])
        token = self.tokenizer.token_to_id(_token_text(self._config.get("eos_token")) or "")
        return frozenset() if token is None else frozenset([token])

    @cached_property
    def templates(self) -> dict[str, str]:
        """The chat templates by name: `default`, and `tool_use` where tools have one of their own.

        Raises:
            Unsupported: the folder has none, so the model can only complete text.
        """
        path, found = self.folder / "chat_template.jinja", self._config.get("chat_template")
        if path.exists():
            others = (self.folder / "additional_chat_templates").glob("*.jinja")
            return {file.stem: file.read_text("utf-8") for file in others} | {
                "default": path.read_text("utf-8")
            }
        if isinstance(found, list):
            found = {entry["name"]: entry["template"] for entry in found}
        elif isinstance(found, str):
            found = {"default": found}
        if not found:
            raise Unsupported(
                f"The model in {self.folder.name} has no chat template.",
                hint="Use /v1/completions, or add chat_template.jinja to the model folder.",
            )
        return dict(found)

    @cached_property
    def template_text(self) -> str:
        """The source of all its templates, in which the marks that the model writes can be seen."""
        return "\n".join(self.templates.values())

    @cached_property
    def reads(self) -> frozenset[str]:
        """The variables that a template looks up, such as `tools` or `enable_thinking`."""
        environment = _environment()
        found: set[str] = set()
        for source in self.templates.values():
            found |= meta.find_undeclared_variables(environment.parse(source))
        return frozenset(found - set(environment.globals))

    def shown(self, marks: Iterable[str]) -> dict[int, str]:
        """Those of `marks` that are special tokens, by id: `decode` leaves them out."""
        ids = {mark: self.tokenizer.token_to_id(mark) for mark in marks}
        special = self.tokenizer.get_added_tokens_decoder()
        return {id: mark for mark, id in ids.items() if id in special and special[id].special}

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Tool] = (),
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The exact text the model sees. `options` are variables that its template reads.

        Raises:
            InvalidInput: the template refuses the messages, or does not read an option.
        """
        return _unmark(self._marked(messages, add_generation_prompt, tools, options or {}))

    def encode(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        """Token ids of a prompt."""
        return self.encode_text(self.render(messages, add_generation_prompt=add_generation_prompt))

    def encode_text(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of plain text; `special` adds what the tokenizer puts round a document (BOS)."""
        return list(self.tokenizer.encode(text, add_special_tokens=special).ids)

    def encode_pair(self, first: str, second: str) -> tuple[list[int], int]:
        """Token ids of two texts as one, and the place from which on they belong to the second.

        Where the tokenizer makes no such difference it is the end.
        """
        found = self.tokenizer.encode(first, second)
        ids, types = list(found.ids), list(found.type_ids)
        return ids, types.index(1) if 1 in types else len(ids)

    def fitting(self, text: str, most: int) -> list[int]:
        """Token ids of a document, of which the end is left out where there are more than `most`.

        What the tokenizer puts round it stays: a vector may be that of the last token.
        """
        ids = self.encode_text(text, special=True)
        while len(ids) > most and text:
            text = self.shorten(text, len(ids) - most)
            ids = self.encode_text(text, special=True)
        return ids

    def fitting_pair(self, first: str, second: str, most: int) -> tuple[list[int], int]:
        """As `encode_pair`, of which the end is left out where there are more than `most` ids.

        There may be more all the same: those of the first text.
        """
        pair = self.encode_pair(first, second)
        while len(pair[0]) > most and second:
            second = self.shorten(second, len(pair[0]) - most)
            pair = self.encode_pair(first, second)
        return pair

    def shorten(self, text: str, tokens: int) -> str:
        """The text without its last `tokens`."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets[:-tokens]
        return text[: offsets[-1][1]] if offsets else ""

    def inert(self, text: str) -> str:
        """The text with a blank in each piece that would be one of the template's own marks.

        `<|im_end|>` in a document would otherwise end the turn that quotes it. Those are the special
        tokens, and what else the tokenizer keeps whole and the template writes.
        """
        marks = self._marks
        found = self.tokenizer.encode(text, add_special_tokens=False)
        places = [
            start for id, (start, end) in zip(found.ids, found.offsets, strict=True)
            if id in marks and end > start
        ]  # fmt: skip
        for at in reversed(places):
            at += len(text[at:]) - len(text[at:].lstrip())  # some marks take blanks along
            text = f"{text[: at + 1]} {text[at + 1 :]}"
        # What stood round a mark may make another one, each time of fewer pieces.
        return self.inert(text) if places else text

    @cached_property
    def _marks(self) -> frozenset[int]:
        added = self.tokenizer.get_added_tokens_decoder()
        written = self.template_text
        return frozenset(
            id for id, token in added.items()
            if token.content.strip() and (token.special or token.content in written)
        )  # fmt: skip

    def encode_training(
        self, messages: Sequence[Message], *, unlearnt: Sequence[int] = ()
    ) -> Encoded:
        """Token ids of a whole conversation and which of them are the assistant's to be learnt.

        A template without `{% generation %}` marks is handled by comparing prefixes: what a turn adds
        to the prompt before it is its answer. Earlier turns that the template writes otherwise than
        they were said (thoughts left out) are not counted as answers; the last one must be there.
        `unlearnt` are the places of earlier turns that are not to be learnt.
        """
        marked = self._marked(messages, False)
        text = _unmark(marked)
        spans = _spans(marked)
        if spans and unlearnt:
            turns = [at for at, message in enumerate(messages) if message.role == "assistant"]
            # Where a template's marks are not one to a turn, only the last is surely known.
            each = zip(turns, spans, strict=True) if len(turns) == len(spans) else ()
            spans = [span for at, span in each if at not in unlearnt] or spans[-1:]
        spans = spans or self._answers(messages, text, unlearnt)
        cut = spans[-1][0]
        whole = self.tokenizer.encode(text, add_special_tokens=False)
        prompt = self.tokenizer.encode(text[:cut], add_special_tokens=False)
        if whole.ids[: len(prompt.ids)] == prompt.ids:
            return Encoded(list(whole.ids), _inside(spans, whole.offsets))
        # A merge across the border, such as two line ends in one token, would train on ids that
        # serving never makes, for the prompt ends there. So the answer is encoded by itself.
        answer = self.tokenizer.encode(text[cut:], add_special_tokens=False)
        offsets = [*prompt.offsets, *((cut + a, cut + b) for a, b in answer.offsets)]
        return Encoded([*prompt.ids, *answer.ids], _inside(spans, offsets))

    def _answers(
        self, messages: Sequence[Message], text: str, unlearnt: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Where the assistant's turns are in the rendered `text`, by what each adds to its prompt."""
        last, spans = len(messages) - 1, []
        for at, message in enumerate(messages):
            if message.role != "assistant" or at in unlearnt:
                continue
            before = self.render(messages[:at])
            through = text if at == last else self._rendered(messages[: at + 1])
            if text.startswith(before) and text.startswith(through):
                spans.append((len(before), len(through)))
            elif at == last:
                raise Unsupported(
                    "The chat template rewrites earlier turns, so the answer cannot be located.",
                    hint="Add {% generation %} marks to the template.",
                )
        return spans

    def _rendered(self, messages: Sequence[Message]) -> str:
        return _unmark(self._marked(messages, False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _marked(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: Sequence[Tool] = (),
        options: Mapping[str, Any] | None = None,
    ) -> str:
        _check_characters(messages)
        given: dict[str, Any] = {
            "add_generation_prompt": add_generation_prompt,
            "bos_token": _token_text(self._config.get("bos_token")),
            "eos_token": _token_text(self._config.get("eos_token")),
            "tools": [tool_object(tool) for tool in tools] or None,
            "documents": None,
        }
        given |= self._checked(options or {}, {"messages", *given})
        template = self._compiled("tool_use" if tools else "default")
        try:
            try:
                return template.render(messages=self._turns(messages, _parsed), **given)
            except TypeError:  # it joins arguments to its own text, and not every template can
                return template.render(messages=self._turns(messages, str), **given)
        except (jinja2.TemplateError, TypeError) as error:
            raise InvalidInput(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error

    def _compiled(self, name: str) -> jinja2.Template:
        templates = self.templates
        if name not in templates:
            name = "default" if "default" in templates else next(iter(templates))
        return _compile(templates[name])

    def _checked(self, options: Mapping[str, Any], ours: set[str]) -> Mapping[str, Any]:
        """The options, if the template reads them all and none of them is ours to give."""
        for name in options:
            if name in ours or name not in self.reads:
                known = ", ".join(sorted(self.reads - ours)) or "none"
                raise InvalidInput(
                    f"This model's chat template does not take '{name}'.",
                    hint=f"It takes: {known}.",
                    param=f"chat_template_kwargs.{name}",
                )
        return options

    def _turns(self, messages: Sequence[Message], write: Callable[[str], Any]) -> list[Any]:
        # Mistral's templates refuse call ids that are not nine letters and digits.
        has_nine = re.search(r"length\s*!=\s*9\b", self.template_text) is not None
        return [turn_object(message, write, _nine if has_nine else str) for message in messages]


def turn_object(
    message: Message, write: Callable[[str], Any], name_id: Callable[[str], str] = str
) -> dict[str, Any]:
    """A turn as templates read it; `write` makes what they see of a call's arguments."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:  # by both names that templates know, as transformers gives it
        turn |= dict.fromkeys(("reasoning_content", "thinking"), message.reasoning)
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": name_id(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": write(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = name_id(message.tool_call_id)
    if message.name is not None:
        turn["name"] = message.name
    return turn


def tool_object(tool: Tool) -> dict[str, Any]:
    """A tool as templates read it, its fields in the order in which models are trained on them."""
    described = {} if tool.description is None else {"description": tool.description}
    function = {"name": tool.name, **described, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _parsed(arguments: str) -> Any:
    """A call's arguments as an object, which most templates write themselves; else as they are."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments


def _nine(id: str) -> str:
    is_right = len(id) == 9 and id.isascii() and id.isalnum()
    return id if is_right else hashlib.sha256(id.encode()).hexdigest()[:9]


def _check_characters(messages: Sequence[Message]) -> None:
    for message in messages:
        calls = [part for call in message.tool_calls for part in (call.name, call.arguments)]
        for text in (message.content, message.reasoning, *calls):
            if _BEGIN in text or _END in text:
                raise InvalidInput(
                    "A message holds a reserved private-use character (U+E0F0 or U+E0F1).",
                    hint="Remove it.",
                    param="messages",
                )


@lru_cache(maxsize=64)
def _compile(source: str) -> jinja2.Template:
    return _environment().from_string(source)


@lru_cache(maxsize=64)
def tokenizer_of(folder: Path) -> ChatTokenizer:
    """The tokenizer of a folder that never changes, such as the hub's; one serves everyone."""
    if not (folder / "tokenizer.json").exists():
        raise Unsupported(
            f"The model in {folder.name} has no tokenizer.json.",
            hint="Save it with a fast tokenizer and pull it again.",
        )
    return ChatTokenizer(folder)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def _token_text(token: Any) -> str:
    """tokenizer_config.json writes a special token as text or as {"content": text}."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`, as transformers defines it, kept as two marks."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    @override
    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return [_text(_BEGIN, line), *body, _text(_END, line)]


def _text(text: str, line: int) -> nodes.Node:
    return nodes.Output([nodes.TemplateData(text)], lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    return environment


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _unmark(text: str) -> str:
    return text.replace(_BEGIN, "").replace(_END, "")


def _spans(marked: str) -> list[tuple[int, int]]:
    """Character spans, in the unmarked text, of what stood between the marks."""
    spans: list[tuple[int, int]] = []
    position = begin = 0
    for character in marked:
        if character == _BEGIN:
            begin = position
        elif character == _END:
            spans.append((begin, position))
        else:
            position += 1
    return spans


def _inside(spans: list[tuple[int, int]], offsets: list[tuple[int, int]]) -> list[bool]:
    """For each token whether it lies in a span. `offsets` of a lone space may be empty: they are
    trimmed by some tokenizers, so that a token between two of a span is in it as well."""
    inside = [False] * len(offsets)
    for begin, end in spans:
        touching = [
            index
            for index, (start, stop) in enumerate(offsets)
            if start < end and stop > begin and stop > start
        ]
        if touching:
            first, last = touching[0], touching[-1]
            inside[first : last + 1] = [True] * (last + 1 - first)
    return inside
