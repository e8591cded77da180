"""What a job used and made, and where a reader opens it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from baigong.console.hub.places import Place
from baigong.console.view import short
from baigong.console.words import Language, speaker
from baigong.hub.names import Kind
from baigong.industry.releases import Content
from baigong.jobs import Output


class Used(NamedTuple):
    """A repository at a revision, or a release; `word` is what it was to the job."""

    word: str
    kind: Kind | None
    ref: str
    step: str = ""  # of a checkpoint


@dataclass(frozen=True, slots=True)
class LinkView:
    """`url` is empty where the reader may not open it."""

    what: str
    name: str
    url: str


def used_of(outputs: Mapping[str, Output], made: Content | None) -> list[Used]:
    """The release, what was tuned, the rows, the base, and kept checkpoints.

    Args:
        outputs: of the steps that are done.
        made: what the release serves, whose adapter is the one with figures in its card.
    """
    tune = outputs.get("tune", {})
    is_whole = str(tune.get("folder", "")).endswith("model")
    tuned = made and (made.adapter or made.base)
    found: list[tuple[str, Kind | None, str | None]] = [
        ("release", None, outputs.get("release", {}).get("ref")),
        ("tuned" if is_whole else "adapter", "model", tuned or tune.get("result")),
        ("dataset", "dataset", outputs.get("prepare", {}).get("dataset")),
        ("base_model", "model", outputs.get("plan", {}).get("base")),
    ]
    kept = tune.get("checkpoints", {}).items()
    return [
        *(Used(word, kind, ref) for word, kind, ref in found if ref),
        *(Used("checkpoint_of", "model", ref, step) for step, ref in kept),
    ]


def link_of(used: Used, language: Language, *, can_open: bool) -> LinkView:
    what = speaker(language)(used.word, step=used.step)
    if used.kind is None:
        return LinkView(what, used.ref, f"/?release={quote(used.ref)}")
    name, _, revision = used.ref.partition("@")
    url = Place(used.kind, name, revision).card if can_open else ""
    return LinkView(what, short(used.ref), url)
