"""A peer's own environment, so that no two of them, nor Baigong, meet each other's versions."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path


class CannotInstall(Exception):
    """A package could not be installed; the message says why."""


def interpreter(
    home: Path,
    name: str,
    packages: Sequence[str],
    *,
    bare: Sequence[str] = (),
    unwanted: Sequence[str] = (),
) -> Path:
    """The interpreter of the environment `name` below `home`, made on first use.

    Args:
        packages: what pip is to install.
        bare: what it is to install without what that needs.
        unwanted: what came along and is to go.

    Raises:
        CannotInstall: pip failed.
    """
    folder = home / "venv" / name
    python = folder / "bin" / "python"
    wanted = "\n".join([*packages, *bare])
    mark = folder / "packages.txt"
    if mark.exists() and mark.read_text("utf-8") == wanted:
        return python
    print(f"Installing {name} into {folder} ...", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    quiet = ("--quiet", "--disable-pip-version-check")
    steps = [("install", *quiet, *packages)]
    steps += [("install", *quiet, "--no-deps", *bare)] if bare else []
    steps += [("uninstall", "--yes", *unwanted)] if unwanted else []
    for step in steps:
        pip = [python, "-m", "pip", *step]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotInstall(f"pip could not install it: {done.stderr[-300:]}")
    mark.write_text(wanted, "utf-8")
    return python
