"""Pickles, told by their opcodes. Nothing is ever unpickled, and no argument is too long to be passed over."""

from __future__ import annotations

import pickletools
import re
import struct
from typing import IO, NamedTuple

_MOST_OPS = 200_000
_MOST_IMPORTS = 64
_LONGEST_WORD = 1000
_CALLS = frozenset({
    "REDUCE",
    "BUILD",
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "PERSID",
    "BINPERSID",
})
_IMPORTS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_NAME = re.compile(rb"[\w.<>]{1,200}\n[\w.<>]{1,200}")
_OPS = {ord(op.code): op for op in pickletools.opcodes}
# How the length of an argument is written, by what pickletools calls it.
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}


class Pickle(NamedTuple):
    """What a pickle imports, as `module.name`; not all of it where there is very much."""

    imports: tuple[str, ...]


class _Mistake(Exception):
    """Bytes that are no opcode."""


class _Cut(Exception):
    """No more bytes, where there should be some."""


def look(file: IO[bytes], size: int, *, is_likely: bool) -> Pickle | None:
    """Whether a file is a pickle, or several.

    Args:
        file: at its start.
        size: its bytes.
        is_likely: whether its name says that somebody would unpickle it. Then it need not begin as
            pickles have since protocol 2, and not be well-formed to its end, for what comes before
            a mistake runs.
    """
    walk = _Walk(file, size)
    names = walk.names()
    has_mark = names[:1] == ["PROTO"]
    calls = bool(_CALLS & set(names)) and bool(_IMPORTS & set(names))
    ends = "STOP" in names and walk.is_whole
    # A page of text may begin with some letters that are opcodes.
    is_pickle = (
        (has_mark and ("STOP" in names or calls or walk.is_whole or walk.is_cut))
        or (calls and (is_likely or ends))
        or (is_likely and len(names) >= _MOST_OPS)
    )
    return Pickle(tuple(dict.fromkeys(walk.imports))) if is_pickle else None


class _Walk:
    """Goes from opcode to opcode through pickles that lie one behind the other."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.imports: list[str] = []
        self.is_whole = False  # nothing but opcodes up to the end
        self.is_cut = False  # up to where the bytes ended before
        self._file = file
        self._size = size
        self._at = 0
        self._words: list[str] = []
        self._memo: dict[int, str] = {}

    def names(self) -> list[str]:
        """The opcodes, up to the first mistake or the end."""
        found: list[str] = []
        try:
            while len(found) < _MOST_OPS and self._at < self._size:
                found.append(self._step())
            self.is_whole = True
        except _Cut:
            self.is_cut = True
        except _Mistake:
            pass
        return found

    def _step(self) -> str:
        op = _OPS.get(self._take(1)[0])
        if op is None:
            raise _Mistake
        argument = self._argument(op)
        if op.name == "PROTO" and argument > b"\x05":
            raise _Mistake
        self._follow(op.name, argument)
        return op.name

    def _argument(self, op: pickletools.OpcodeInfo) -> bytes:
        """The start of it; what is longer is passed over."""
        if op.arg is None:
            return b""
        if op.arg.n == pickletools.UP_TO_NEWLINE:
            lines = 2 if op.arg.name == "stringnl_noescape_pair" else 1
            words = b"\n".join(self._line() for _ in range(lines))
            if lines == 2 and not _NAME.fullmatch(words):
                raise _Mistake
            return words
        if op.arg.n >= 0:
            return self._take(op.arg.n)
        form = _LENGTHS[op.arg.n]
        (length,) = struct.unpack(form, self._take(struct.calcsize(form)))
        if length < 0:
            raise _Mistake
        if length > self._size - self._at:
            raise _Cut
        word = self._take(min(length, _LONGEST_WORD))
        self._skip(length - len(word))
        return word

    def _follow(self, name: str, argument: bytes) -> None:
        """Keep the words that STACK_GLOBAL may speak of."""
        text = argument.decode("utf-8", "replace")
        if name in {"GLOBAL", "INST"}:
            self._import(text.replace("\n", "."))
        elif name == "STACK_GLOBAL":
            self._import(".".join(self._words[-2:]))
        elif "UNICODE" in name or "STRING" in name:
            self._words = [*self._words[-1:], text.strip("'\"")]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._words[-1] if self._words else ""
        elif name in _PUTS and self._words:
            self._memo[_number(argument)] = self._words[-1]
        elif name in _GETS and (word := self._memo.get(_number(argument))):
            self._words = [*self._words[-1:], word]

    def _import(self, name: str) -> None:
        if len(self.imports) < _MOST_IMPORTS:
            self.imports.append(name[:200])

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        self._at += len(data)
        if len(data) < count:
            raise _Cut
        return data

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_WORD)
        self._at += len(line)
        whole = line
        while not whole.endswith(b"\n"):
            whole = self._file.readline(1 << 16)
            self._at += len(whole)
            if not whole:
                raise _Cut
        return line.rstrip(b"\n")

    def _skip(self, count: int) -> None:
        self._file.seek(count, 1)
        self._at += count


def _number(argument: bytes) -> int:
    text = argument.strip()
    return int(text) if text.isdigit() else int.from_bytes(argument, "little")
