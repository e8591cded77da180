"""What our engine is compared with itself in: adapters, cached prefixes, the machine's limits."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator
from statistics import quantiles

from bench.engine.limits import BYTES, most
from bench.engine.play import CannotPlay, Play, Request
from bench.engine.report import Row, Seen
from bench.engine.stage import Stage
from bench.engine.works import WORKS

REGISTERED, BUSY = 1000, 20  # adapters, and those that most of the traffic is for
ADDED = 50  # adapters
PREFIX = 1000  # tokens
QUOTED, UNHEARD = "an answer quoted from the prompt", "an answer that nothing foretells"
LIMITED = ("decode, 1 stream", "decode, 32 streams")


def _row(stage: Stage, work: str, peer: str, ours: Seen, theirs: Seen, goal: float | None) -> Row:
    name = f"{stage.shape.name}: {work} [{stage.shape.plain}]"
    return Row.of(name, peer, ours, theirs, goal)


def with_adapters(stage: Stage) -> Iterator[Row]:
    """The same streams with an adapter each, and with none."""
    work, ours, theirs = WORKS["32 streams with 32 adapters"], Seen(), Seen()
    with stage.side(adapters=work.adapters) as side:
        for run in range(stage.runs + 1):
            for number, seen in enumerate((ours, theirs)):
                play = work.play(stage, 2 * run + number)
                if seen is theirs:
                    bare = [dataclasses.replace(one, adapter=None) for one in play.requests]
                    play = Play(bare)
                seen.add(work.rate(play, side.play(play)))
    yield _row(stage, work.name, "ours without adapters", ours, theirs, 0.8)


def many_registered(stage: Stage) -> Iterator[Row]:
    """A thousand registered and a tenth of the traffic all over them, beside only the busy ones."""
    if stage.shape.hidden > 256:
        return  # a thousand adapters of a larger model are a disk full of files, and prove no more
    ours, theirs = Seen(), Seen()
    with stage.side(adapters=REGISTERED) as many, stage.side(adapters=BUSY) as few:
        for run in range(stage.runs + 1):
            for side, seen, count in ((many, ours, REGISTERED), (few, theirs, BUSY)):
                draw = random.Random(run)
                requests = []
                for row in range(32):
                    number = draw.randrange(BUSY) if row % 10 else draw.randrange(count)
                    ids = stage.ids(16, run, row)
                    requests.append(Request(ids, stage.shape.new, f"adapter{number}"))
                heard = side.play(Play(requests))
                seen.add(32 * stage.shape.new / max(one.times[-1] for one in heard))
    work = f"32 streams, {REGISTERED} adapters registered"
    yield _row(stage, work, f"ours with {BUSY} registered", ours, theirs, 0.95)


def adding(stage: Stage) -> Iterator[Row]:
    """99 of 100 times between two tokens of a stream are shorter, while adapters are added or not."""
    # A folder that is loaded already would not be loaded again.
    folders = list(stage.shape.adapters(stage.home, ADDED * (stage.runs + 1)).items())
    ours, theirs = Seen("ms"), Seen("ms")
    with stage.side() as side:
        for run in range(stage.runs + 1):
            for seen in (ours, theirs):
                requests = [
                    Request(stage.ids(16, run, row), 4 * stage.shape.new) for row in range(8)
                ]
                named = dict(folders[run * ADDED : (run + 1) * ADDED])
                play = Play(requests, named if seen is ours else {}, "beside")
                gaps = []
                for one in side.play(play):
                    gaps += [b - a for a, b in zip(one.times, one.times[1:], strict=False)]
                seen.add(1000 * quantiles(gaps, n=100)[-1])
    yield _row(
        stage, "p99 between tokens, 50 adapters added", "ours, none added", ours, theirs, 1.1
    )


def cold_adapter(stage: Stage) -> Iterator[Row]:
    """From the adapter's files to its first token."""
    folders = stage.shape.adapters(stage.home, stage.runs + 1)
    ours = Seen("ms")
    with stage.side() as side:
        for run, (name, folder) in enumerate(folders.items()):
            request = Request(stage.ids(16, run), 1, name)
            heard = side.play(Play([request], {name: folder}))
            ours.add(1000 * heard[0].times[0])
    yield _row(stage, "adapter from files to first token", "the goal", ours, Seen("ms"), 150)


def shared_prefix(stage: Stage) -> Iterator[Row]:
    """Time to the first token after a prompt whose first thousand tokens another one had."""
    ours, theirs = Seen("ms"), Seen("ms")
    with stage.side() as side:
        for run in range(stage.runs + 1):
            prefix = stage.ids(PREFIX, run)
            for number, seen in enumerate((theirs, ours)):
                request = Request(prefix + stage.ids(16, run, number), 1)
                seen.add(1000 * side.play(Play([request]))[0].times[0])
    work = f"first token after a shared prefix of {PREFIX}"
    yield _row(stage, work, "ours, first request", ours, theirs, 0.2)


def looking_up(stage: Stage) -> Iterator[Row]:
    """Answers that the prompt has already, or that nothing has, with guessing and without."""
    if stage.shape.hidden > 512:
        return  # some gigabytes of a model for one row
    with stage.counting(lookup=True) as guessing, stage.counting(lookup=False) as plain:
        for name, streams in itertools.product((QUOTED, UNHEARD), (1, 8)):
            ours, theirs = Seen(), Seen()
            for run in range(stage.runs + 1):
                requests = []
                for row in range(streams):
                    start = 1 + random.Random(repr((run, row))).randrange(
                        stage.shape.vocabulary // 2
                    )
                    known = range(start, start + stage.shape.new + 8)
                    ids = [*known, 0, *known[:4]] if name == QUOTED else [*known]
                    requests.append(Request(ids, stage.shape.new))
                for side, seen in ((guessing, ours), (plain, theirs)):
                    heard = side.play(Play(requests))
                    tokens = streams * stage.shape.new
                    seen.add(tokens / max(one.times[-1] for one in heard))
            goal = 1.2 if name == QUOTED else 0.97
            yield _row(
                stage, f"{name}, {streams} streams", "ours without lookup", ours, theirs, goal
            )


def of_the_machine(stage: Stage) -> Iterator[Row]:
    """Decoding beside what reading the weights, or their products, would take alone."""
    for weights in BYTES:
        try:
            yield from _of_the_machine(stage, weights)
        except CannotPlay as error:
            for name in LIMITED:
                work = f"{stage.shape.name}: {name}, {weights}"
                yield Row.of(work, "the machine's limit", Seen(), Seen(), None, note=str(error))


def _of_the_machine(stage: Stage, weights: str) -> Iterator[Row]:
    with stage.side(weights=weights) as side:
        for name in LIMITED:
            work, ours, limit = WORKS[name], Seen(), Seen()
            for run in range(stage.runs + 1):
                play = work.play(stage, run)
                ours.add(work.rate(play, side.play(play)))
                limit.add(most(stage.limits, stage.shape, weights, work.streams))
            work_name = f"{stage.shape.name}: {name}, {weights}"
            yield Row.of(work_name, "the machine's limit", ours, limit, None)


OWN: dict[str, Callable[[Stage], Iterator[Row]]] = {
    "32 streams with 32 adapters": with_adapters,
    f"32 streams, {REGISTERED} adapters registered": many_registered,
    "p99 between tokens, 50 adapters added": adding,
    "adapter from files to first token": cold_adapter,
    f"first token after a shared prefix of {PREFIX}": shared_prefix,
    "an answer": looking_up,
    "decode": of_the_machine,
}
