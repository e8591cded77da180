"""Compiles the C++ beside this file for this very processor, once, and loads it."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

_log = logging.getLogger(__name__)
_FLAGS = ("-std=c++20", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")
_LINK = ("-shared", "-fPIC", "-pthread")


@cache
def library(folder: Path) -> ctypes.CDLL | None:
    """The compiled forward pass, kept in `folder`; None where it cannot be had, which the log explains.

    The file's name covers the source, the flags, the compiler and the processor, so that a folder may
    be carried to another machine.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        _log.warning("There is no C++ compiler, so the engine runs on torch alone, more slowly.")
        return None
    try:
        path = _compiled(compiler, folder)
        found = ctypes.CDLL(str(path))
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", "") or str(error)
        _log.warning("The native forward pass cannot be built; torch runs alone.\n%s", said[-2000:])
        return None
    if found.bg_prepare() != 0:
        _log.warning("The system refuses its matrix tiles; torch runs alone.")
        return None
    found.bg_open.restype = ctypes.c_void_p
    found.bg_open.argtypes = [ctypes.c_void_p, ctypes.c_int]
    found.bg_close.argtypes = [ctypes.c_void_p]
    found.bg_forward.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    found.bg_decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    found.bg_pack.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    found.bg_pack_lora.argtypes = [ctypes.c_void_p]
    return found


def _compiled(compiler: str, folder: Path) -> Path:
    source = Path(__file__).parent
    files = sorted((*source.glob("*.h"), *source.glob("*.cpp")))
    # What `native` means here: the macros that the compiler defines for this processor.
    about = subprocess.run(
        [compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    mark = sha256("\n".join((about, *_FLAGS, *_LINK)).encode())
    for file in files:
        mark.update(file.read_bytes())
    path = folder / f"forward-{mark.hexdigest()[:16]}.so"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # nobody else may put code there
        with tempfile.TemporaryDirectory(dir=folder) as room:
            made = Path(room, path.name)
            command = [compiler, *_FLAGS, *_LINK, str(source / "forward.cpp"), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            made.replace(path)  # whole or not at all, whoever else compiles it now
    return path
