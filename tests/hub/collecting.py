"""Collects an installation's garbage, and dies where it is told to."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from baigong.hub.garbage.collect import Garbage
from baigong.hub.hub import Hub
from baigong.hub.xet.store import Xorbs
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.store.leaving import Leaving

STEPS = {
    "rows": (Garbage, "_delete_rows"),
    "pages": (Garbage, "_delete_pages"),
    "blobs": (Leaving, "let_go"),
    "forget": (Xorbs, "forget"),
    "empty": (Leaving, "empty"),
    "checkouts": (Xorbs, "clear_leftovers"),
    "rename": (Path, "rename"),
    "unlink": (Path, "unlink"),
}


def open_hub(database: Database, root: Path) -> tuple[Hub, Garbage]:
    """The installation of the tests."""
    hub = Hub(database, Blobs(str(root / "blobs")), root / "cache")
    return hub, Garbage(hub, database, root / "cache")


def die_at(step: str, count: int) -> None:
    """Be killed after a step was done so often."""
    owner, name = STEPS[step]
    real, done = getattr(owner, name), []

    def wrapped(*args: object, **options: object) -> object:
        found = real(*args, **options)
        done.append(1)
        if len(done) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    url, root, step, count = sys.argv[1:]
    _, garbage = open_hub(Database(url), Path(root))
    die_at(step, int(count))
    garbage.collect(lambda _progress: None, 0)
