"""Pairs of texts as a JSONL file holds them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from baigong.errors import DataProblems, NotFound, Problem

_HINT = 'Each line is {"a": "...", "b": "..."}, two texts that belong together.'
_TOLD = 20  # problems that are worth reading at once


class Pair(msgspec.Struct, frozen=True):
    """Two texts that belong together: a question and its answer, a sentence and its translation.

    `source` says where it comes from; pairs of one source meet as each other's wrong answers.
    `weight` is how often it is read in one pass.
    """

    a: str
    b: str
    source: str = ""
    weight: int = 1


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a JSONL file.

    Raises:
        NotFound: there is no such file.
        DataProblems: the lines that are not pairs, by their numbers.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", hint=_HINT)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    decoder = msgspec.json.Decoder(Pair)
    with path.open("rb") as file:  # by "\n" alone: texts may hold other ends of lines
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                pair = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                problems.append(Problem(path.name, number, "", str(error)))
                continue
            if pair.a.strip() and pair.b.strip():
                pairs.append(pair)
            else:
                problems.append(Problem(path.name, number, "a or b", "is empty."))
    if problems or len(pairs) < 2:
        raise DataProblems(
            problems[:_TOLD] or [Problem(path.name, None, "", "holds fewer than two pairs.")],
            hint=_HINT,
        )
    return pairs
