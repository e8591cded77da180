"""Whether a student can learn from a teacher's distributions: both must mean the same by a token id."""

from __future__ import annotations

import json
from pathlib import Path

from baigong.errors import InvalidInput
from baigong.model.chat import ChatTokenizer
from baigong.tuning.spec import TuneSpec


def check_teacher(base: Path, spec: TuneSpec) -> None:
    """Hold the teacher's tokenizer against the base's, where a wish has a teacher.

    Raises:
        InvalidInput: they cut texts differently.
    """
    if spec.objective != "distill":
        return
    ours, theirs = (_vocabulary(folder) for folder in (base, Path(spec.teacher)))
    if ours != theirs:
        raise InvalidInput(
            "The teacher's tokenizer is not the base's, so that their distributions cannot be compared.",
            hint="Set tune.teaches: answers, which takes any teacher.",
            param="tune.teacher",
        )


def _vocabulary(folder: Path) -> tuple[object, dict[str, int]]:
    tokenizer = ChatTokenizer(folder).tokenizer
    return json.loads(tokenizer.to_str())["model"], tokenizer.get_vocab()
