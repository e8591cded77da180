"""Where a comparison takes place: one shape on this machine, and the sides that are opened there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.engine.peers import OURS, Peer
from bench.engine.play import Job
from bench.engine.process import SideProcess
from bench.engine.shapes import Shape


@dataclass(frozen=True)
class Stage:
    """Attributes:
    limits: what bench.engine.limits measured.
    versions: of every side that was opened here.
    """

    shape: Shape
    home: Path
    threads: int
    runs: int
    limits: dict[str, float]
    versions: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def counting(self, *, lookup: bool) -> Iterator[SideProcess]:
        """Ours with a model of the shape that counts, so that one knows what it will write."""
        model, home = str(self.shape.counter(self.home)), str(self.home)
        job = Job(model, self.shape.plain, self.threads, home, lookup=lookup)
        with SideProcess(OURS, job) as side:
            yield side

    @contextmanager
    def side(
        self, peer: Peer = OURS, weights: str | None = None, adapters: int = 0
    ) -> Iterator[SideProcess]:
        """A loaded side with the first `adapters` of the shape's adapters.

        Raises:
            CannotPlay: it does not start; the message says why.
        """
        registered = self.shape.adapters(self.home, adapters)
        model, home = str(self.shape.model(self.home)), str(self.home)
        job = Job(model, weights or self.shape.plain, self.threads, home, registered)
        with SideProcess(peer, job) as side:
            self.versions.update(side.versions)
            yield side

    def ids(self, count: int, *seed: int) -> list[int]:
        """Random token ids, the same for the same seed."""
        draw = random.Random(repr(seed))
        # The last id ends an answer; llama.cpp would not go on after it.
        return [draw.randrange(self.shape.vocabulary - 1) for _ in range(count)]
