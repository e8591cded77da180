"""What an OpenAI client may ask, checked once, and turned into our own nouns.

A parameter that would change the answer and that we cannot honour is refused by name: an answer
that silently ignores it would look like the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from typing_extensions import override

from baigong.errors import InvalidInput
from baigong.gateway.bodies import convert, refused, shown
from baigong.gateway.doors.openai.formats import ResponseFormat, StructuredOutputs, grammar_of
from baigong.gateway.doors.openai.tools import CallItem, ToolItem, calls_of, check_answered
from baigong.inference.text import MOST_LOGPROBS
from baigong.types import Message, Role, Sampling

Positive = Annotated[int, Meta(ge=1, le=1 << 24)]
Int64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Prompt = str | list[int]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

MOST_PROMPTS = 2048  # in one request, as at OpenAI
COMPLETION_TOKENS = 16  # OpenAI's default for /completions

# Accepted without effect: they label, route or bill, and the answer is the same without them.
HARMLESS = frozenset({
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
})

# Accepted only with a value that asks for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "store": (False,),
    "suffix": ("",),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Part(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None


class Turn(msgspec.Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[CallItem] | None = None
    function_call: dict[str, Any] | None = None
    reasoning_content: str | None = None  # DeepSeek's and vLLM's name, and vLLM's newer one
    reasoning: str | None = None


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and completions share."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None  # not OpenAI's; vLLM's name for it
    seed: Int64 | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    # These too are vLLM's.
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    structured_outputs: StructuredOutputs | None = None

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def num_logprobs(self) -> int | None:
        """How many tokens are told beside each one; None where nothing is."""
        raise NotImplementedError

    @property
    def grammar_field(self) -> str:
        """The field that says what the answer must look like."""
        return "response_format" if self.structured_outputs is None else "structured_outputs"

    @property
    def num_choices(self) -> int:
        return self.n or 1

    def sampling(self, defaults: Sampling) -> Sampling:
        """What was asked, `defaults` filling what was left out."""
        given = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "seed": self.seed,
            "stop": _stops(self.stop),
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": _biases(self.logit_bias or {}),
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "logprobs": self.num_logprobs,
            "grammar": grammar_of(self.response_format, self.structured_outputs),
        }
        return msgspec.structs.replace(
            defaults, **{name: value for name, value in given.items() if value is not None}
        )


class ChatRequest(Generation, frozen=True, kw_only=True):
    messages: Annotated[list[Turn], Meta(min_length=1)]
    max_completion_tokens: Positive | None = None
    tools: list[ToolItem] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # vLLM's: variables of the template
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MOST_LOGPROBS)] | None = None

    @property
    @override
    def num_logprobs(self) -> int | None:
        if not self.logprobs:
            if self.top_logprobs:
                raise InvalidInput(
                    f"top_logprobs is {self.top_logprobs}, and logprobs is not true.",
                    hint="Send both.",
                    param="top_logprobs",
                )
            return None
        return self.top_logprobs or 0

    def conversation(self) -> list[Message]:
        """The turns as messages.

        Raises:
            InvalidInput: a turn holds what is not text, or answers a call that was not made.
        """
        turns = [_message(turn, f"messages[{i}]") for i, turn in enumerate(self.messages)]
        return check_answered(turns)


class CompletionRequest(Generation, frozen=True, kw_only=True):
    prompt: str | list[str | int | list[int]]
    max_tokens: Annotated[int, Meta(ge=0, le=1 << 24)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MOST_LOGPROBS)] | None = None
    echo: bool | None = None
    best_of: int | None = None

    @property
    @override
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @override
    def sampling(self, defaults: Sampling) -> Sampling:
        if self.max_tokens == 0 and not self.echo:
            raise InvalidInput(
                "max_tokens is 0, and echo is not true.", hint="Send 1 or more.", param="max_tokens"
            )
        if self.best_of not in (None, self.num_choices):
            raise refused(
                "best_of",
                f"best_of is {self.best_of}, and n is {self.num_choices}.",
                "Leave best_of out, and choose among n answers.",
            )
        sampling = Generation.sampling(self, defaults)
        return msgspec.structs.replace(sampling, scores_prompt=bool(self.echo))


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Positive | None = None


class Document(msgspec.Struct, frozen=True):
    text: str


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    query: Annotated[str, Meta(min_length=1)]
    documents: list[str | Document]
    top_n: Positive | None = None
    return_documents: bool | None = None


class ClassifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    input: str | list[str | int | list[int]]


T = TypeVar("T", ChatRequest, CompletionRequest, EmbeddingRequest, RerankRequest, ClassifyRequest)


def parse(found: dict[str, Any], kind: type[T]) -> T:
    """The request in a JSON object.

    Raises:
        InvalidInput: a field is missing, wrong, unknown, or asks for what we cannot do.
    """
    fields = kind.__struct_fields__
    for name, value in found.items():
        if name not in fields:
            _check_other(name, value, fields)
    request = convert(found, kind)
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        return msgspec.structs.replace(request, max_tokens=request.max_completion_tokens)
    return request


def prompts(field: str, given: str | Sequence[str | int | list[int]]) -> list[Prompt]:
    """The prompts in one of OpenAI's four forms: text, texts, token ids, lists of token ids.

    Raises:
        InvalidInput: it is empty, mixed or too long.
    """
    found: list[Prompt] = []
    if isinstance(given, str):
        found = [given]
    elif ids := [item for item in given if isinstance(item, int)]:
        found = [ids] if len(ids) == len(given) else []
    elif len({type(item) for item in given}) == 1:
        found = [item for item in given if not isinstance(item, int)]
    if given and not found:
        raise InvalidInput(
            f"{field}: texts and token ids are mixed.",
            hint="Send a text, a list of texts, a list of token ids, or a list of such lists.",
            param=field,
        )
    if not 1 <= len(found) <= MOST_PROMPTS:
        raise InvalidInput(
            f"{field}: expected 1 to {MOST_PROMPTS} entries, got {len(found)}.", param=field
        )
    return found


def check_ids(field: str, ids: Sequence[int], vocabulary: int) -> None:
    """Refuse what is not a non-empty list of the model's own token ids."""
    if not ids:
        raise InvalidInput(f"{field}: an entry is empty.", hint="Leave it out.", param=field)
    wrong = next((i for i in ids if not 0 <= i < vocabulary), None)
    if wrong is not None:
        raise InvalidInput(
            f"{field}: {wrong} is not a token id of this model, which has {vocabulary}.",
            hint="Use the model's own tokenizer, or send text.",
            param=field,
        )


def _check_other(name: str, value: Any, fields: Sequence[str]) -> None:
    if value is None or name in HARMLESS:
        return
    if name not in NEUTRAL:
        near = get_close_matches(name, [*fields, *NEUTRAL, *HARMLESS], n=1)
        error = InvalidInput(
            f"There is no parameter '{name[:80]}'.",
            hint=f"Did you mean '{near[0]}'?" if near else "Leave it out.",
            param=name,
        )
        error.code = "unknown_parameter"
        raise error
    # By type too: `logprobs: 0` asks for something and `logprobs: false` does not.
    if not any(value == good and type(value) is type(good) for good in NEUTRAL[name]):
        raise refused(
            name, f"The parameter '{name}' is not supported, got {shown(value)}.", "Leave it out."
        )


def _message(turn: Turn, where: str) -> Message:
    if turn.function_call:
        field = f"{where}.function_call"
        raise refused(field, f"{field}: 'functions' are not supported.", "Use tool_calls.")
    role: Role = "system" if turn.role == "developer" else turn.role
    calls = calls_of(turn.tool_calls or [], role, f"{where}.tool_calls")
    if turn.content is None and not calls:
        raise InvalidInput(f"{where}.content: expected text, got null.", param=f"{where}.content")
    is_tool = role == "tool"
    return Message(
        role,
        _text(turn.content or "", f"{where}.content"),
        calls,
        turn.tool_call_id if is_tool else None,
        turn.name if is_tool else None,
        (turn.reasoning_content or turn.reasoning or "") if role == "assistant" else "",
    )


def _text(content: str | list[Part], where: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for i, part in enumerate(content):
        if part.type != "text" or part.text is None:
            field = f"{where}[{i}]"
            raise refused(
                f"{field}.type",
                f"{field}: expected a part of type 'text', got '{part.type[:40]}'.",
                "This model reads text only.",
            )
        texts.append(part.text)
    return "".join(texts)


def _biases(given: dict[str, float]) -> dict[int, float]:
    wrong = next((key for key in given if not (key.isascii() and key.isdigit())), None)
    if wrong is not None:
        raise InvalidInput(
            f"logit_bias: expected token ids as keys, got {shown(wrong)}.", param="logit_bias"
        )
    return {int(key): bias for key, bias in given.items()}


def _stops(given: str | list[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    stops = (given,) if isinstance(given, str) else tuple(given)
    if len(stops) > 16 or not all(stops):
        raise InvalidInput(
            f"stop: expected up to 16 texts that are not empty, got {shown(given)}.", param="stop"
        )
    return stops


def seeded(sampling: Sampling, count: int) -> list[Sampling]:
    """The same settings for each of several answers, with a seed of its own where there is one."""
    if sampling.seed is None or count == 1:
        return [sampling] * count
    return [
        msgspec.structs.replace(sampling, seed=_wrapped(sampling.seed + i)) for i in range(count)
    ]


def _wrapped(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
