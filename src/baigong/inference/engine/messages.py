"""Everything an engine process can be asked, everything it says back, and how both travel.

A message on the wire is four bytes of length (big-endian) and then msgpack. This module needs no
torch, so that both ends can read it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from baigong import errors
from baigong.errors import BaigongError, Overloaded
from baigong.types import FinishReason, Sampling

# What a model can be asked: by Submit, Embed, Choose, Classify and Look.
Task = Literal["generate", "embed", "choose", "classify", "look"]
Dtype = Literal["auto", "float32", "bfloat16", "int8", "int4"]


# Parameters up to which a model counts as small.
SMALL_MODEL = 100_000_000


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an engine runs. What is None or "auto" is chosen from the model and the machine.

    Attributes:
        dtype: of weights; "auto" is bfloat16 above 100 million parameters, else float32. int8 and int4
            are made at load time. The cache is float32 beside float32 weights, else bfloat16.
        native: use the compiled forward pass where there is one; else torch alone.
        device: "cpu", "cuda", or "auto" for whichever there is.
        threads: processor threads of one step; None is what torch thinks right.
        context: most tokens of one sequence, prompt and answer; None is what the model was made for.
        max_batch: most sequences in one step; more wait in a queue.
        max_waiting: most in that queue; more are told to come again.
        cache_tokens: room of the key-value cache in tokens, all sequences together.
        cache_mb: that room in megabytes where `cache_tokens` is None.
        adapter_mb: memory for adapters in megabytes: more may be registered, and take turns in it.
        prefill_tokens: most prompt tokens in one step.
        stall_ms: how long a step with prompt tokens may keep decoding neighbours waiting.
        lookup: guess what repeats itself and check several tokens in one step, where that is faster.
        start_timeout_s: how long loading the model may take.
        packed: where int8 and int4 weights are kept for the next start; None packs them at each.
        logs: where the process writes its log; None keeps it in memory for error messages.
    """

    dtype: Dtype = "auto"
    native: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    context: int | None = None
    max_batch: int = 64
    max_waiting: int = 1024
    cache_tokens: int | None = None
    cache_mb: int = 1024
    adapter_mb: float = 512
    prefill_tokens: int = 1024
    stall_ms: float = 150.0
    lookup: bool = True
    start_timeout_s: float = 600.0
    packed: Path | None = None
    logs: Path | None = None

    def dtype_for(self, parameters: int) -> Dtype:
        """Small models gain nothing from bfloat16 in torch, and large ones do not fit without it."""
        if self.dtype == "auto":
            return "bfloat16" if parameters > SMALL_MODEL else "float32"
        return self.dtype


class ModelFacts(msgspec.Struct, frozen=True):
    """What an engine serves: sizes in tokens, dimensions and counts; `labels` of a classifier."""

    architecture: str
    parameters: int
    layers: int
    hidden_size: int
    vocabulary: int
    context: int
    cache_tokens: int
    dtype: str
    device: str
    tasks: tuple[Task, ...] = ("generate", "embed", "choose")
    labels: tuple[str, ...] = ()


class Scores(msgspec.Struct, frozen=True, array_like=True):
    """The logprob of a token, and the likeliest ids in its place with theirs, best first."""

    logprob: float
    ids: list[int]
    logprobs: list[float]


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One generated token of the request `request`; the last one carries `finish_reason`.

    A stop id is delivered too, with the reason "stop". Where they were asked for, `scores` are the
    token's, and the first token brings those of the prompt from its second token on.
    """

    request: int
    id: int
    finish_reason: FinishReason | None = None
    scores: Scores | None = None
    prompt: list[Scores] = []


class ErrorReport(msgspec.Struct, frozen=True):
    """An expected error on its way between processes."""

    kind: str
    code: str
    message: str
    hint: str = ""
    param: str | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, error: BaigongError) -> ErrorReport:
        wait = error.retry_after if isinstance(error, Overloaded) else None
        return cls(type(error).__name__, error.code, error.message, error.hint, error.param, wait)

    def to_error(self) -> BaigongError:
        error: BaigongError = getattr(errors, self.kind)(
            self.message, hint=self.hint, param=self.param
        )
        error.code = self.code
        if isinstance(error, Overloaded) and self.retry_after is not None:
            error.retry_after = self.retry_after
        return error


# ---- to the engine


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Generate after `ids`; stop strings in `sampling` are not the engine's business."""

    id: int
    ids: list[int]
    sampling: Sampling
    stop_ids: list[int] = []
    adapter: str | None = None
    caller: str = ""


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Forget the request; nothing more is said about it."""

    id: int


class Embed(msgspec.Struct, frozen=True, tag=True):
    """Turn each list of ids into a vector."""

    id: int
    ids: list[list[int]]


class Choose(msgspec.Struct, frozen=True, tag=True):
    """How likely each of `tokens` comes after each list of ids, were there no other tokens."""

    id: int
    ids: list[list[int]]
    tokens: list[int]


class Classify(msgspec.Struct, frozen=True, tag=True):
    """How likely each label is for each list of ids; pairs say in `seconds` where the second begins."""

    id: int
    ids: list[list[int]]
    seconds: list[int] = []


class Look(msgspec.Struct, frozen=True, tag=True):
    """How likely each label is for each image; `images` are the files themselves."""

    id: int
    images: list[bytes]


class AddAdapter(msgspec.Struct, frozen=True, tag=True):
    """Load PEFT's `folder` as `name`, or replace what has that name for requests from now on."""

    id: int
    name: str
    folder: str


class RemoveAdapter(msgspec.Struct, frozen=True, tag=True):
    """Accept no more requests for `name`; done when the last running one has ended."""

    id: int
    name: str


ToEngine = Submit | Abort | Embed | Choose | Classify | Look | AddAdapter | RemoveAdapter

# ---- from the engine


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded."""

    facts: ModelFacts


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be served; the process ends."""

    error: ErrorReport


class Step(msgspec.Struct, frozen=True, tag=True):
    """What one step of the whole batch produced, and how full the engine is after it."""

    tokens: list[Token]
    running: int
    waiting: int
    cached_tokens: int


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The request `id` cannot be granted."""

    id: int
    error: ErrorReport


class Done(msgspec.Struct, frozen=True, tag=True):
    """An adapter was added, which takes `size` bytes; or removed."""

    id: int
    size: int = 0


class Rows(msgspec.Struct, frozen=True, tag=True):
    """A row of `size` float32 for each text or image, in the machine's byte order, one after the other."""

    id: int
    size: int
    data: bytes


FromEngine = Ready | Failed | Step | Rejected | Done | Rows

_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()


def encode(message: ToEngine | FromEngine) -> bytes:
    """The message as it travels, length first."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a stream of bytes back into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every body that `data` completes."""
        self._buffer += data
        start = 0
        while len(self._buffer) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[start + _LENGTH.size : end])
            start = end
        del self._buffer[:start]
