"""`.gitattributes` and `.gitignore`: which files are large whatever they hold, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from baigong.hub.names import Kind

ATTRIBUTES = ".gitattributes"
IGNORED = ".gitignore"
_LARGE = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lz4 *.model *.msgpack"
    " *.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors"
    " saved_model/**/* *.tar *.tar.* *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*"
)
_MEDIA = "*.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.jpeg *.jpg *.png *.tiff *.webp *.mp4 *.webm"
_LINES = 2000  # of a file that are read
_LINE = 500  # characters


def first_attributes(kind: Kind) -> bytes:
    """What a new repository begins with."""
    patterns = _LARGE.split() + (_MEDIA.split() if kind == "dataset" else [])
    return "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in patterns).encode()


class Attributes:
    """Which files git keeps as large ones, as gitattributes(5) says it."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[_Pattern, bool]] = []
        for line in _lines(text):
            pattern, *words = line.split()
            for word in words:
                if word.lstrip("-!").partition("=")[0] == "filter":
                    self._rules.append((_Pattern(pattern), word == "filter=lfs"))

    def is_large(self, path: str) -> bool:
        return next((large for p, large in reversed(self._rules) if p.matches(path)), False)


class Ignored:
    """Which files are left out, as gitignore(5) says it."""

    def __init__(self, text: str) -> None:
        self._rules = [
            (_Pattern(line.lstrip("!")), not line.startswith("!")) for line in _lines(text)
        ]

    def covers(self, path: str) -> bool:
        """Whether it, or a folder that it is in, is left out."""
        parts = path.split("/")
        folders = ("/".join(parts[:end]) for end in range(1, len(parts)))
        return any(self._names(folder, is_folder=True) for folder in folders) or self._names(path)

    def _names(self, path: str, *, is_folder: bool = False) -> bool:
        found = (out for p, out in reversed(self._rules) if p.matches(path, is_folder=is_folder))
        return next(found, False)


class _Pattern:
    """A pattern of either file. It takes time in proportion to pattern and path, whatever they are."""

    def __init__(self, text: str) -> None:
        self._only_folders = text.endswith("/")
        text = text.rstrip("/")
        parts = text.lstrip("/").split("/")
        self._parts = parts if "/" in text else ["**", *parts]

    def matches(self, path: str, *, is_folder: bool = False) -> bool:
        if self._only_folders and not is_folder:
            return False
        names = path.split("/")
        reached = {0}  # how many names what was seen of the pattern may stand for
        for part in self._parts:
            if part == "**":
                reached = set(range(min(reached, default=len(names) + 1), len(names) + 1))
            else:
                reached = {n + 1 for n in reached if n < len(names) and fnmatchcase(names[n], part)}
        return len(names) in reached


def _lines(text: str) -> Iterable[str]:
    lines = (line.strip()[:_LINE] for line in text.splitlines()[:_LINES])
    return (line for line in lines if line and not line.startswith("#"))
