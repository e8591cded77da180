"""Files and folders as the clients know them: git's names for them, and pointers for large ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from baigong.gateway.endpoints import when
from baigong.hub.commits import Commit, Commits
from baigong.hub.manifest import Entry, Files, blob_oid, content_digest, folders_of


class Tree:
    """The files of a commit, with the folders that they are in."""

    def __init__(self, files: Files) -> None:
        """`files` are sorted by path."""
        self._files = files
        self._paths = list(files)

    def paths(self, folder: str = "", *, recursive: bool = False) -> list[str]:
        """The paths of what is in a folder, sorted; the root is ''."""
        inside = self._within(folder) if folder else self._paths
        start = len(folder) + 1 if folder else 0
        if recursive:
            folders = folders_of({path: self._files[path] for path in inside})
            return sorted([*inside, *(path for path in folders if len(path) >= start)])
        ends = {path: path.find("/", start) for path in inside}
        return sorted({path if end < 0 else path[:end] for path, end in ends.items()})

    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return path in self._files or self.has_folder(path)

    def has_folder(self, path: str) -> bool:
        return bool(self._within(path))

    def told(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        """What listings say of them."""
        return [
            file_object(path, self._files[path]) if path in self._files else self._folder(path)
            for path in paths
        ]

    def expanded(
        self, paths: Sequence[str], commits: Commits, repository: int, at: Commit
    ) -> list[dict[str, Any]]:
        """The same, with the commit that changed each last."""
        of = [
            {self._files[p].commit for p in [path, *self._within(path)] if p in self._files}
            for path in paths
        ]
        known = commits.of(repository, set().union(*of))
        told = self.told(paths)
        for each, ids in zip(told, of, strict=True):
            changed = [known[id] for id in ids if id in known]
            newest = max(changed, key=lambda commit: commit.number, default=at)
            each["lastCommit"] = {
                "id": newest.id,
                "title": newest.title,
                "date": when(newest.created_at),
            }
        return told

    def _folder(self, path: str) -> dict[str, Any]:
        within = {p: self._files[p] for p in self._within(path)}
        return {"type": "directory", "oid": content_digest(within)[:40], "size": 0, "path": path}

    def _within(self, folder: str) -> Sequence[str]:
        """The paths of all files below a folder."""
        start = bisect_left(self._paths, f"{folder}/")
        stop = bisect_left(self._paths, f"{folder}0")  # the character after the slash
        return self._paths[start:stop]


def file_object(path: str, entry: Entry) -> dict[str, Any]:
    """A file in a listing."""
    told = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.is_large:
        pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{entry.digest}\nsize {entry.size}\n"
        ).encode()
        told["oid"] = blob_oid(pointer)
        told["lfs"] = {"oid": entry.digest, "size": entry.size, "pointerSize": len(pointer)}
    return told


def sibling(path: str, entry: Entry, *, is_full: bool) -> dict[str, Any]:
    """A file in a repository's description."""
    if not is_full:
        return {"rfilename": path}
    file = file_object(path, entry)
    told = {"rfilename": path, "size": entry.size, "blobId": file["oid"]}
    if entry.is_large:
        told["lfs"] = {**file["lfs"], "sha256": entry.digest}
    return told
