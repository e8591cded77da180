"""What is played: each work is a row of numbers, and its prompts are fresh in every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.engine.play import Heard, Play, Request
from bench.engine.stage import Stage


@dataclass(frozen=True)
class Work:
    """`streams` prompts of `prompt` tokens each, and `late` ones of 512 once all have begun.

    Attributes:
        new: tokens of each stream; None is what the shape says. Late prompts get one.
        adapters: how many different ones the streams use.
    """

    name: str
    streams: int
    prompt: int = 16
    new: int | None = None
    late: int = 0
    adapters: int = 0

    def play(self, stage: Stage, run: int) -> Play:
        """The requests of a run: the same for every side, and never the same again."""
        first = [
            Request(
                stage.ids(self.prompt, self.prompt, run, row), self.new or stage.shape.new, name
            )
            for row, name in enumerate(self._adapters())
        ]
        late = [Request(stage.ids(512, run, row), 1, wave=1) for row in range(self.late)]
        return Play(first + late)

    def _adapters(self) -> list[str | None]:
        if not self.adapters:
            return [None] * self.streams
        return [f"adapter{row % self.adapters}" for row in range(self.streams)]

    def rate(self, play: Play, heard: Sequence[Heard]) -> float:
        """Tokens a second from the call to the last token.

        What counts is a prompt's tokens where only one new token is made, else the new ones.
        """
        tokens = sum(len(one.ids) if one.new == 1 else one.new for one in play.requests)
        return tokens / max(one.times[-1] for one in heard)


WORKS = {
    work.name: work
    for work in (
        Work("decode, 1 stream", 1),
        Work("decode, 8 streams", 8),
        Work("decode, 32 streams", 32),
        Work("prefill 512", 1, 512, 1),
        Work("prefill 8 x 512", 8, 512, 1),
        Work("prefill 8 x 512 beside 32 streams", 32, late=8),
        Work("32 streams with 32 adapters", 32, new=16, adapters=32),
    )
}
