"""How much memory there is, and how much of it a process has."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")  # where Linux shows control groups, version 2


def available(groups: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> float:
    """Bytes that this process and its children can still take, within the limits of its control groups.

    Args:
        groups: the folder of all control groups.
        own: the file that says which of them this process is in.
    """
    free = float(psutil.virtual_memory().available)
    lines = own.read_text().splitlines() if own.exists() else []
    inside = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if inside is None:
        return free
    group = groups / inside
    return min(
        free, *(_left(one) for one in (group, *group.parents) if groups in {one, *one.parents})
    )


def taken(pid: int) -> float:
    """Bytes that would be free if the process ended; 0 once it is gone."""
    try:
        return float(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0.0


def _left(group: Path) -> float:
    """Bytes up to a group's limit, not counting files that the system only caches for it."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:  # the outermost group has no limit, and other systems have no groups
        return math.inf
    return math.inf if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))
