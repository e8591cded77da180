"""What each side of the comparison is asked to play, and what was heard: JSON lines over a pipe.

A side is a process: `python -m bench.engine.peers.NAME JOB`. It loads the job's model, says that it
is ready, and then answers every Play on its input with what it heard. This module and the sides run
in environments that hold little else, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Job:
    """What a side loads.

    Attributes:
        model: folder of the model in safetensors.
        weights: how the side is to hold them, in its own words.
        threads: processor threads.
        home: folder that keeps what the side converts or builds.
        adapters: name to PEFT folder of those registered from the start.
        lookup: whether ours guesses what repeats itself. It does not beside others: random weights
            write in loops, which would flatter it.
    """

    model: str
    weights: str
    threads: int
    home: str
    adapters: dict[str, str] = field(default_factory=dict)
    lookup: bool = False

    def converted(self, ending: str) -> Path:
        """Where this model is kept in the side's own format."""
        return Path(self.home) / "converted" / f"{Path(self.model).name}-{ending}"


@dataclass(frozen=True)
class Request:
    """`new` greedy tokens after `ids`, whatever they are.

    A request of wave 1 begins when every one of wave 0 has its first token.
    """

    ids: list[int]
    new: int
    adapter: str | None = None
    wave: int = 0


@dataclass(frozen=True)
class Play:
    """Requests, and adapters that are added as the play begins or beside running streams."""

    requests: list[Request]
    adapters: dict[str, str] = field(default_factory=dict)
    adding: Literal["first", "beside"] = "first"

    @classmethod
    def of(cls, value: dict[str, Any]) -> Play:
        requests = [Request(**one) for one in value.pop("requests")]
        return cls(requests, **value)


@dataclass(frozen=True)
class Heard:
    """One request's answer: how many tokens, when (seconds since the play began), and which.

    A side that cannot tell each token's time or id leaves those out; the last time is always there.
    """

    count: int
    times: list[float]
    ids: list[int] = field(default_factory=list)


class Side(Protocol):
    """A loaded engine."""

    def play(self, play: Play) -> Sequence[Heard]: ...

    def close(self) -> None: ...


class CannotPlay(Exception):
    """The side has no such weights, or no such play; the message says why."""


def serve(start: Callable[[Job], Side], *packages: str) -> None:
    """Be a side: load, then play whatever is asked until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not end up among the answers

    def say(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    try:
        side = start(Job(**json.loads(sys.argv[1])))
    except CannotPlay as error:
        say({"cannot": str(error)})
        return
    say({"versions": {name: version(name) for name in packages} | getattr(side, "versions", {})})
    for line in sys.stdin:
        try:
            say({"heard": [asdict(heard) for heard in side.play(Play.of(json.loads(line)))]})
        except CannotPlay as error:
            say({"cannot": str(error)})
    side.close()


def one_wave(play: Play) -> list[Request]:
    """The requests of a play that a side with static batches can do.

    Raises:
        CannotPlay: requests come later, or differ in length.
    """
    shapes = {(len(one.ids), one.new, one.wave) for one in play.requests}
    if len(shapes) > 1 or play.adapters:
        raise CannotPlay("takes whole batches of one length, and nothing beside them")
    return play.requests
