"""What is in a file, by its content; its name only says what somebody would take it for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from baigong.hub.safety import archives, pickles, secrets
from baigong.hub.safety.content import Budget, Content, Exhausted
from baigong.hub.safety.findings import Finding
from baigong.model.tensors import Broken, read_layout

VERSION = 1  # of what is looked for; a newer one looks again
_BUDGET = 128 << 20  # bytes that are read of a file, and of all that is packed in it
_TEXT_BYTES = 4 << 20  # of a text that are searched for secrets
_HDF5_BYTES = 16 << 20  # of a file of Keras' that are searched for a layer with code
_DEEPEST = 3  # archives within an archive, one in the other

# By which names programs unpickle.
_PICKLED = frozenset(
    ".bin .ckpt .dat .data .dill .joblib .model .mar .npy .npz .p .pck .pickle .pkl .pt .pth .pt2"
    " .pyt .sav .th .tar".split()
)
_PICKLES = frozenset(".dill .joblib .pck .pickle .pkl".split())
_ZIPPED = frozenset(".zip .keras .npz .pt .pth .mar .whl .jar .pt2".split())
_CODE = frozenset(".class .com .dll .dylib .exe .jar .msi .py .pyc .pyd .pyo .scr .so".split())
_SCRIPTS = frozenset(".bash .bat .cmd .js .ps1 .sh .vbs".split())
_SHARED = re.compile(r"\.so(\.\d+)+$")
_MACH_O = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"Lambda"')
_FOREIGN_CODE = re.compile(rb'"auto_map"\s*:\s*\{[^{}]*"[^"]*--[^"]*"')


def suffix_of(path: str) -> str:
    """The end of a name, in lower case, by which a file is taken for something."""
    name = PurePosixPath(path).name.lower()
    return ".so" if _SHARED.search(name) else PurePosixPath(name).suffix[:16]


def look(read: Callable[[int, int], bytes], size: int, suffix: str) -> list[Finding]:
    """Findings in a file of `size` bytes whose name ends in `suffix`, each once."""
    content = Content(read, size, Budget(_BUDGET, size))
    try:
        found = list(_in_file(content, suffix))
    except Exhausted:
        found = [Finding("opaque", "is too much to be looked into.")]
    return list(dict.fromkeys(found))


def _in_file(content: Content, suffix: str) -> Iterator[Finding]:
    if suffix == ".safetensors":
        yield from _weights(content)
        return
    yield from _by_name(suffix)
    yield from _by_content(content, f"x{suffix}", 0)
    if _is_text(content.head):
        text = content.read(0, _TEXT_BYTES)
        yield from secrets.look(text)
        if suffix == ".json" and _FOREIGN_CODE.search(text):
            yield Finding("script", "has an auto_map to code of another repository.")


def _by_name(suffix: str) -> Iterator[Finding]:
    if suffix in _CODE:
        yield Finding("code", "is code.")
    elif suffix in _SCRIPTS:
        yield Finding("script", "is a script.")


def _by_content(content: Content, path: str, depth: int) -> Iterator[Finding]:
    """What is in a file, or in a member of an archive."""
    head, suffix = content.head, suffix_of(path)

    def inner(member: Content, name: str) -> list[Finding]:
        if suffix_of(name) in _PICKLES:
            return [Finding("pickle", "is a pickle by its name.")]
        return [*_by_name(suffix_of(name)), *_by_content(member, name, depth + 1)]

    is_zip = archives.is_zip(head) or (suffix in _ZIPPED and archives.ends_as_zip(content))
    if depth > _DEEPEST and (is_zip or archives.is_tar(head) or archives.is_compressed(head)):
        raise Exhausted
    if is_zip:
        yield from archives.look_zip(content, inner)
    elif archives.is_tar(head):
        yield from archives.look_tar(content, inner)
    elif archives.is_compressed(head):
        yield from archives.look_compressed(content, path, inner)
        yield from _pickle(content, suffix)  # for few bytes tell what is compressed
    else:
        yield from _in_plain(content, suffix)


def _in_plain(content: Content, suffix: str) -> Iterator[Finding]:
    head = content.head
    if (program := _program(content)) is not None:
        yield Finding("code", f"is a program ({program}).")
    elif head.startswith(b"\x89HDF\r\n\x1a\n"):
        yield from _keras(content.read(0, _HDF5_BYTES))
    elif head.startswith(b"\x93NUMPY"):
        if _has_objects(head):
            yield Finding("pickle", "is an array of Python objects, a pickle.")
    else:
        if suffix == ".json":
            yield from _keras(content.read(0, _TEXT_BYTES))
        yield from _pickle(content, suffix)


def _pickle(content: Content, suffix: str) -> Iterator[Finding]:
    found = pickles.look(content.open(), content.size, is_likely=suffix in _PICKLED or not suffix)
    if found is None:
        return
    imports = ", ".join(found.imports[:8]) + (", ..." if len(found.imports) > 8 else "")
    says = f"; it imports {imports}" if imports else ""
    yield Finding("pickle", f"is a pickle, which runs code when it is loaded{says}.")


def _weights(content: Content) -> Iterator[Finding]:
    try:
        layout = read_layout(content.read, content.size)
    except Broken as error:
        yield Finding("broken", f"is not safetensors, or was cut short: {error.message}.")
        return
    if layout.size != content.size:
        more = content.size - layout.size
        yield Finding("broken", f"has {more} bytes behind its last tensor, at {layout.size}.")


def _program(content: Content) -> str | None:
    head = content.head
    if head.startswith(b"\x7fELF"):
        return "ELF"
    if head.startswith(b"MZ") and len(head) >= 64:
        at = int.from_bytes(head[60:64], "little")
        return "PE" if content.read(at, at + 4) == b"PE\0\0" else None
    if head.startswith(_MACH_O):
        return "Mach-O"
    return None


def _keras(text: bytes) -> Iterator[Finding]:
    if _LAMBDA.search(text):
        yield Finding("code", "has a Lambda layer of Keras, which is code.")


def _has_objects(head: bytes) -> bool:
    length = int.from_bytes(head[8:10] if head[6:7] == b"\x01" else head[8:12], "little")
    described = re.search(rb"'descr'\s*:(.*?)'fortran_order'", head[: 12 + length], re.DOTALL)
    return described is None or b"O" in described[1]


def _is_text(head: bytes) -> bool:
    return b"\0" not in head[:8000]
