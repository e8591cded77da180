"""Pictures with their classes: a folder of class folders, a tar of one, or a CSV of path,label.

Every picture goes into its row as a data URL, so that a frozen dataset is whole. No path leads out of
the folder that the recipe names, and nothing of a tar is written to the disk.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from baigong.errors import InvalidInput
from baigong.industry.data.tables import Table, read_tables
from baigong.industry.recipe import visible_files
from baigong.model.data_url import data_url
from baigong.model.picture import read_picture

MAX_BYTES = 1024**3  # of all pictures together: rows are held in memory
MAX_PICTURE = 32 * 1024**2

_TARS = (".tar", ".tar.gz", ".tgz")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_STARTS = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"RIFF": "webp",
    b"GIF8": "gif",
    b"BM": "bmp",
}


def read_pictures(path: Path) -> list[Table]:
    """One table of `image` and `label`; what is wrong is in its `problems`."""
    if path.is_file() and not path.name.lower().endswith(_TARS):
        return [_listed(table, path.parent.resolve()) for table in read_tables(path)]
    table = Table(str(path), path.name)
    files = _in_folder(table, path) if path.is_dir() else _in_tar(table, path)
    total = 0
    for line, (name, data) in enumerate(files, 1):
        total += len(data)
        if total > MAX_BYTES:
            table.bad(line, f"more than {MAX_BYTES / 2**30:g} GiB of pictures; use data.limit")
            break
        label = PurePosixPath(name).parent.name
        if not label:
            table.bad(line, f"{name} is in no folder that would name its class", "label")
        _add(table, line, name, data, label)
    if not table.records and not table.problems:
        table.bad(None, f"holds no pictures; allowed {', '.join(_PICTURES)} in folders of classes")
    return [table]


def _add(table: Table, line: int, name: str, data: bytes, label: str) -> None:
    kind = next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)
    if kind is None:
        table.bad(line, f"{name} is no picture; allowed JPEG, PNG, WebP, GIF and BMP", "image")
        return
    try:
        read_picture(data, is_tried=True)
    except InvalidInput as error:
        table.bad(line, f"{name} cannot be read: {error.message}; replace it", "image")
        return
    table.add(line, {"image": data_url(data, kind), "label": label})


def _in_folder(table: Table, root: Path) -> Iterator[tuple[str, bytes]]:
    inside = root.resolve()
    for file in sorted(visible_files(root)):
        name = file.relative_to(root).as_posix()
        if not name.lower().endswith(_PICTURES):
            continue
        if not file.resolve().is_relative_to(inside):
            table.bad(None, f"{name} is a link that leads out of the folder; copy the file")
        elif file.stat().st_size > MAX_PICTURE:
            table.bad(None, f"{name} has more than {MAX_PICTURE >> 20} MiB")
        else:
            yield name, file.read_bytes()


def _in_tar(table: Table, path: Path) -> Iterator[tuple[str, bytes]]:
    """The regular files of a tar, in the order of their names; links and devices are passed over."""
    try:
        with tarfile.open(path) as tar:
            members = [m for m in tar if m.isreg() and m.name.lower().endswith(_PICTURES)]
            for member in sorted(members, key=lambda m: m.name):
                stream = tar.extractfile(member)
                if member.size > MAX_PICTURE or stream is None:
                    table.bad(None, f"{member.name} has more than {MAX_PICTURE >> 20} MiB")
                else:
                    yield member.name, stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        table.bad(None, f"not a whole tar file: {error}")


def _listed(listing: Table, root: Path) -> Table:
    """A table of `path` and `label` with the pictures themselves; paths are relative to its folder."""
    table = Table(listing.file, listing.name, warnings=listing.warnings, problems=listing.problems)
    for column in ("path", "label"):
        if listing.records and column not in listing.columns:
            table.bad(None, f"no such column; the file has {', '.join(listing.columns)}", column)
            return table
    total = 0
    for record in listing.records:
        written = str(record.values["path"] or "")
        file = (root / written).resolve()
        if not file.is_relative_to(root):
            table.bad(record.line, f"{written} leads out of the folder of {table.name}", "path")
        elif not file.is_file() or file.stat().st_size > MAX_PICTURE:
            table.bad(record.line, f"{written} is no file of at most 32 MiB", "path")
        elif (total := total + file.stat().st_size) > MAX_BYTES:
            table.bad(record.line, f"more than {MAX_BYTES / 2**30:g} GiB of pictures", "path")
            break
        else:
            label = str(record.values["label"] or "")
            _add(table, record.line, written, file.read_bytes(), label)
    return table
