"""The nouns that every layer shares, and the Protocols by which the pillars meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "abort"]

# Who asks, for taking turns; set where a request comes in, and read where it meets the others.
caller: ContextVar[str] = ContextVar("caller", default="")


class ToolCall(msgspec.Struct, frozen=True):
    """A call that an assistant made. `arguments` is JSON text as the model wrote it, right or wrong."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation.

    Attributes:
        tool_calls: what an assistant's turn called.
        tool_call_id: the call that a tool's turn answers; `name` is the tool's.
        reasoning: what an assistant thought before its answer.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )


class ToolUse(msgspec.Struct, frozen=True):
    """Which tools a model may call. One of `forced`, where there are any, it must call."""

    tools: tuple[Tool, ...] = ()
    forced: tuple[str, ...] = ()
    is_parallel: bool = True  # more than one call in a turn


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an answer must look like: `source` is a JSON schema, a regular expression or Lark rules."""

    kind: Literal["json_schema", "regex", "lark"]
    source: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the next token is chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 are off.

    Attributes:
        min_p: tokens less likely than this share of the likeliest are left out.
        presence_penalty: taken from the logit of every token that the answer holds already.
        frequency_penalty: the same, once for each time it occurs.
        repetition_penalty: divides (or, below zero, multiplies) logits of prompt and answer tokens.
        logit_bias: added to the logits of these token ids.
        logprobs: how many of the likeliest tokens are told beside each one; None tells nothing,
            0 the token's own alone.
        scores_prompt: tells the same of the prompt's tokens.
        grammar: what the answer must look like.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None
    scores_prompt: bool = False
    grammar: Grammar | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a request cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0  # of the completion's

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Passage(msgspec.Struct, frozen=True):
    """A chunk of a document, as found by a search. `start:end` are byte offsets in `document`'s text.

    `document` is its name, e.g. the path below the source folder; `page` is 1-based where the format
    has pages. `published_at` is in seconds since the epoch, `url` where a person may open it.
    `lead` is what stands above the table that it begins in: caption, head and rule, not in `text`.
    `score` ranks it among those found with it: by its words, whose BM25 is `matched`, and where there
    are vectors by its `nearness` too, the cosine.
    """

    knowledge: str
    document: str
    title: str
    text: str
    start: int
    end: int
    page: int | None = None
    score: float = 0.0
    published_at: float | None = None
    url: str | None = None
    matched: float = 0.0
    nearness: float | None = None
    lead: str = ""

    @property
    def whole(self) -> str:
        """The text under its headings, and under the head of its table."""
        return "\n".join(filter(None, [self.title, self.lead, self.text]))


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of the turn's tool call number `index`: first its id and name, then its arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Candidate(msgspec.Struct, frozen=True):
    """A token and how likely the model held it: `logprob` is the natural logarithm of its share.

    Shares are the model's own, before temperature, penalties and grammar. `bytes` may be a part of
    a character and is empty for a special token. The first token of a prompt has no logprob.
    """

    text: str
    bytes: bytes
    logprob: float | None


class Scored(Candidate, frozen=True):
    """A token that is in the text, and the `likeliest` ones in its place, best first."""

    likeliest: tuple[Candidate, ...] = ()


class Delta(msgspec.Struct, frozen=True):
    """A piece of generated text; the last one carries `finish_reason`.

    Where they were asked for, `scored` are the tokens of the text, and the first piece has those of
    the prompt too. `reasoning_tokens` of the `tokens` were thoughts, and `reasoning` is their text.
    `prompt_tokens` is told by whoever alone has counted them: an upstream with a tokenizer of its own.
    """

    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None
    scored: tuple[Scored, ...] = ()
    prompt: tuple[Scored, ...] = ()
    reasoning: str = ""
    reasoning_tokens: int = 0
    calls: tuple[CallDelta, ...] = ()
    prompt_tokens: int = 0


class Progress(msgspec.Struct, frozen=True):
    """How far a long step has come. `rate` is `unit`s per second; `metrics` e.g. {"loss": 1.2}."""

    done: float
    total: float
    unit: str = "rows"
    rate: float = 0.0
    metrics: dict[str, float] = {}
    note: str = ""


class Report(Protocol):
    """Where a long step says how far it has come."""

    def __call__(self, progress: Progress, /) -> None: ...


class Generate(Protocol):
    """Turns a conversation into text, piece by piece. Closing the iterator aborts the work."""

    def __call__(self, messages: Sequence[Message], sampling: Sampling) -> AsyncIterator[Delta]: ...


class Embed(Protocol):
    """Turns texts into vectors of `size` floats and of length 1, (texts, size) of them."""

    size: int
    name: str

    async def __call__(
        self, texts: Sequence[str], /
    ) -> Sequence[Sequence[float]] | NDArray[np.float32]: ...


class Vectors(Protocol):
    """Unit vectors of texts, (texts, size), at once and in any thread: of a table, not of a model."""

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]: ...


class Embedders(Protocol):
    """Finds the embedder of a name, as a knowledge base remembers it."""

    def __call__(self, name: str, /) -> Embed: ...


class Rank(Protocol):
    """How well texts answer a question: a score for each, higher is better."""

    async def __call__(self, question: str, texts: Sequence[str], /) -> Sequence[float]: ...


class Retrieve(Protocol):
    """Finds the passages that answer a question, best first."""

    async def __call__(self, question: str, limit: int) -> list[Passage]: ...


Split = Literal["train", "validation", "test"]


class Row(msgspec.Struct, frozen=True):
    """One example of a trade's task: a prompt and the answer wanted.

    `id` is a hash of the content, so that the same row falls into the same split for ever.
    `slices` names the groups it belongs to, e.g. {"language": "zh"}. `document` is the one whose
    passage answers it, where the row says so. `rejected` is an answer that is worse than `answer`, in
    rows that compare two; `is_good` says whether `answer` is one to give, in rows that only judge it.
    `image` is the path of a picture that the prompt shows. `unlearnt` are the places in `messages` of
    assistant's turns that are read and not learnt.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    split: Split = "train"
    slices: dict[str, str] = {}
    document: str | None = None
    source: str = ""
    rejected: str | msgspec.UnsetType = msgspec.UNSET
    is_good: bool | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType = msgspec.UNSET
    unlearnt: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
