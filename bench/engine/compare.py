"""One peer beside ours on one shape: every side loaded, and turns taken run by run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bench.engine.peers import OURS, Peer
from bench.engine.play import CannotPlay, Heard
from bench.engine.process import SideProcess
from bench.engine.report import Row, Seen
from bench.engine.stage import Stage
from bench.engine.works import WORKS, Work

ALIKE = 4  # first tokens of each stream that are compared


@dataclass
class Turn:
    """One side in one work."""

    weights: str
    side: SideProcess | None
    note: str = ""
    seen: Seen = field(default_factory=Seen)
    answers: list[list[int]] = field(default_factory=list)

    def take(self, work: Work, stage: Stage, run: int) -> None:
        """Play once; a side that cannot says why and is asked no more."""
        if self.side is None:
            return
        play = work.play(stage, run)
        try:
            heard: Sequence[Heard] = self.side.play(play)
        except CannotPlay as error:
            self.side, self.note = None, str(error)
            return
        self.seen.add(work.rate(play, heard))
        self.answers += [one.ids for one in heard]


def compare(stage: Stage, peer: Peer, words: str, ours: Sequence[str] | None) -> Iterator[Row]:
    """Yield the rows of all works that `words` names; `ours` limits our own weights."""
    works = [WORKS[name] for name in peer.goals if words in f"{stage.shape.name}: {name}"]
    if not works:
        return
    pairs = [tuple(stage.shape.plain if w == "plain" else w for w in pair) for pair in peer.pairs]
    adapters = max(work.adapters for work in works)
    with ExitStack() as stack:
        sides: dict[tuple[str, str], SideProcess | str] = {}
        for mine, other in pairs:
            if ours is None or mine in ours:
                sides["ours", mine] = _open(stack, stage, OURS, mine, adapters)
            else:
                sides["ours", mine] = "not asked for"
            sides["theirs", other] = _open(stack, stage, peer, other, adapters)
        for work in works:
            turns = {who: _turn(who[1], side) for who, side in sides.items()}
            for run in range(stage.runs + 1):
                for turn in turns.values():
                    turn.take(work, stage, run)
            mine = [turns["ours", pair[0]] for pair in pairs]
            other = [turns["theirs", pair[1]] for pair in pairs]
            groups = [(mine, other)]
            if not peer.is_best:
                groups = [([one], [another]) for one, another in zip(mine, other, strict=True)]
            for group in groups:
                yield _row(stage, peer, work, *group)


def _row(
    stage: Stage, peer: Peer, work: Work, all_ours: Sequence[Turn], all_theirs: Sequence[Turn]
) -> Row:
    """Our best beside their best. Where one of theirs failed, nobody knows whether we are ahead."""
    ours, theirs = max(all_ours, key=_best), max(all_theirs, key=_best)
    name = f"{stage.shape.name}: {work.name} [{ours.weights} / {theirs.weights}]"
    turns = [("ours", one) for one in all_ours] + [("theirs", one) for one in all_theirs]
    row = Row.of(
        name,
        peer.name,
        ours.seen,
        theirs.seen,
        peer.goals[work.name],
        agree=_agreement(ours.answers, theirs.answers),
        note="; ".join(f"{who} {turn.weights}: {turn.note}" for who, turn in turns if turn.note),
        each={f"{who} {turn.weights}": turn.seen.best for who, turn in turns},
    )
    if row.met and any(turn.note for turn in all_theirs):
        return replace(row, met=None)
    return row


def _agreement(ours: list[list[int]], theirs: list[list[int]]) -> float | None:
    """The share of first tokens that are equal; None where a side does not tell its tokens."""
    pairs = [
        (a, b)
        for one, another in zip(ours, theirs, strict=False)
        for a, b in zip(one[:ALIKE], another[:ALIKE], strict=False)
    ]
    return round(sum(a == b for a, b in pairs) / len(pairs), 3) if pairs else None


def _open(
    stack: ExitStack, stage: Stage, peer: Peer, weights: str, adapters: int
) -> SideProcess | str:
    """The side, or why there is none."""
    try:
        return stack.enter_context(stage.side(peer, weights, adapters))
    except CannotPlay as error:
        return str(error)


def _turn(weights: str, side: SideProcess | str) -> Turn:
    if isinstance(side, str):
        return Turn(weights, None, side)
    return Turn(weights, side)


def _best(turn: Turn) -> float:
    return turn.seen.best or 0.0
