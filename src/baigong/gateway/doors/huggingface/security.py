"""What was found in files, as the clients know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from baigong.hub.safety.findings import Finding


def file_status(found: Sequence[Finding]) -> dict[str, Any]:
    """`safe`, or `unsafe` where something runs, breaks or cannot be looked into."""
    grave = [finding for finding in found if finding.is_grave]
    pickles = [finding for finding in grave if finding.what == "pickle"]
    scan = {"status": "unsafe", "message": pickles[0].said} if pickles else None
    return {
        "status": "unsafe" if grave else "safe",
        "avScan": None,
        "pickleImportScan": scan,
        "message": " ".join(finding.said for finding in found),
    }
