"""The error tree: each leaf is a different action for whoever receives it.

BaigongError
├── InvalidInput            400  mend the named field and send again
│   ├── ContextOverflow     400  shorten the prompt
│   └── DataProblems        400  mend every listed line of a recipe or a data file
├── Unauthorized            401  send a valid key
├── NotFound                404  use one of the suggested names
├── Conflict                409  wait for, or stop, what holds the resource
├── Refused                 422  the gate or the parity check said no; live is untouched
├── Overloaded              429  send again after the seconds it names
├── Unreachable             502  check the address and the network, and try again
├── EngineUnavailable       503  try again: the engine is being restarted
├── StorageFull             507  free disk space and run the same command again
└── Unsupported             501  what was asked is not something this model or build can do
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from typing_extensions import override


class BaigongError(Exception):
    """An expected failure: `message` says what is wrong, `hint` what to do next."""

    status = 500
    code = "internal_error"
    retryable = False

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param

    @override
    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(BaigongError):
    """A field of a request, a flag or a setting is wrong."""

    status = 400
    code = "invalid_value"


class ContextOverflow(InvalidInput):
    """The prompt and the tokens asked for do not fit the model's context."""

    code = "context_length_exceeded"

    @classmethod
    def of(cls, prompt: int, context: int, *, room: int = 1, limit: str = "") -> ContextOverflow:
        """The error for a prompt of so many tokens that has to leave `room`; `limit` says whose it is."""
        limit = limit or f"the model's context is {context} tokens"
        return cls(
            f"The prompt has {prompt} tokens, and {limit}.",
            hint=f"Shorten the prompt by at least {prompt + room - context} tokens.",
            param="messages",
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a person wrote, with everything needed to mend it."""

    file: str
    line: int | None
    field: str
    message: str

    @override
    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return (
            f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"
        )


class DataProblems(InvalidInput):
    """All mistakes found in a recipe or a data file, reported at once."""

    code = "invalid_data"

    def __init__(self, problems: Sequence[Problem], *, hint: str = "", shown: int = 20) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:shown]]
        if len(self.problems) > shown:
            lines.append(f"... and {len(self.problems) - shown} more")
        super().__init__("\n".join(lines), hint=hint)


class Unauthorized(BaigongError):
    """No key, or one that is unknown or revoked."""

    status = 401
    code = "invalid_api_key"


class NotFound(BaigongError):
    """Nothing has this name."""

    status = 404
    code = "not_found"

    @classmethod
    def among(
        cls, kind: str, name: str, known: Sequence[str], *, param: str | None = None
    ) -> NotFound:
        """A NotFound that suggests the nearest of the `known` names."""
        near = get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:5]
        hint = f"Did you mean {', '.join(near)}?" if near else f"There is no {kind} yet."
        error = cls(f"The {kind} '{name}' does not exist.", hint=hint, param=param)
        error.code = f"{kind.replace(' ', '_')}_not_found"
        return error


class Conflict(BaigongError):
    """Something else holds the resource."""

    status = 409
    code = "conflict"


class Refused(BaigongError):
    """A gate or a parity check refused; what is live stays live."""

    status = 422
    code = "refused"


class Overloaded(BaigongError):
    """The queue is full; `retry_after` is in seconds."""

    status = 429
    code = "overloaded"
    retryable = True
    retry_after: float = 2.0


class Unreachable(BaigongError):
    """Another server could not be asked, or hung up in the middle. What came so far is kept."""

    status = 502
    code = "endpoint_unreachable"
    retryable = True


class EngineUnavailable(BaigongError):
    """The engine process died or cannot start."""

    status = 503
    code = "engine_unavailable"
    retryable = True


class StorageFull(BaigongError):
    """The disk (or bucket) has no room left."""

    status = 507
    code = "storage_full"


class Unsupported(BaigongError):
    """A well-formed wish that this model or installation cannot grant."""

    status = 501
    code = "unsupported"
