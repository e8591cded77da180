"""What office files of every kind say of themselves."""

from __future__ import annotations

from datetime import datetime

from baigong.knowledge.formats.archive import Archive
from baigong.knowledge.formats.document import known, one_line
from baigong.knowledge.titles import is_telling
from baigong.knowledge.where import Scalar

_DC = "{http://purl.org/dc/elements/1.1/}"
_TERMS = "{http://purl.org/dc/terms/}"


def properties(archive: Archive) -> tuple[str, dict[str, Scalar], float | None]:
    """Title, metadata and time of an office file, from its core properties."""
    if "docProps/core.xml" not in archive.names:
        return "", {}, None
    core = archive.xml("docProps/core.xml")
    said = {name: one_line(core.findtext(_DC + name) or "") for name in ("creator", "subject")}
    facts = known(author=said["creator"], subject=said["subject"])
    when = core.findtext(f"{_TERMS}modified") or core.findtext(f"{_TERMS}created") or ""
    title = one_line(core.findtext(f"{_DC}title") or "")
    return title if is_telling(title) else "", facts, iso_time(when)


def iso_time(text: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 time with a zone; None for anything else."""
    try:
        when = datetime.fromisoformat(text.strip())
        return when.timestamp() if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
