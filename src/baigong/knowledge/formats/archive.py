"""Zip archives of untrusted files: no entry is inflated further than the bound on all of them."""

from __future__ import annotations

import copy
import io
import zipfile
import zlib

from lxml import etree

from baigong.knowledge.formats.document import Unreadable

MAX_INFLATED_BYTES = 512 << 20  # of all entries together; office files of text are far below
MAX_ENTRIES = 20_000
_BLOCK = 1 << 20
_BROKEN = (  # whatever zipfile says of one, e.g. of sizes that lead out of the file
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    ValueError,
)


OLE = b"\xd0\xcf\x11\xe0"  # how office files of before 2007, and those with a password, begin


def refuse_old(data: bytes) -> None:
    """Say what an office file is that is no archive.

    Raises:
        Unreadable: it has a password, or is of the old kind under a new name.
    """
    if data.startswith(OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise Unreadable("is protected by a password; save a copy without one.")
        raise Unreadable("is an office file of the old kind; save it as .docx, .pptx or .xlsx.")


class Archive:
    """The entries of a zip file, counted as they are inflated. Nested archives stay closed."""

    def __init__(self, data: bytes, kind: str) -> None:
        """`kind` names what it should be, e.g. "a Word file".

        Raises:
            Unreadable: it is no archive, is locked, or declares more than the bound.
        """
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except _BROKEN as error:
            refuse_old(data)
            raise Unreadable(f"is not {kind}, or is cut off.") from error
        entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise Unreadable(f"holds {len(entries):,} entries; {kind} has a few hundred.")
        if sum(entry.file_size for entry in entries) > MAX_INFLATED_BYTES:
            raise _too_large()
        self._left = MAX_INFLATED_BYTES
        self.names = frozenset(entry.filename for entry in entries)

    def read(self, name: str) -> bytes:
        """The bytes of an entry.

        Raises:
            Unreadable: it is missing, corrupt, locked, or larger than it declares or we allow.
        """
        try:
            declared = self._zip.getinfo(name)
        except KeyError as error:
            raise Unreadable(f"has no part '{name}': it is cut off, or of another kind.") from error
        if declared.flag_bits & 1:
            raise Unreadable("is protected by a password; save a copy without one.")
        # zipfile stops at the declared size; libraries need not, so we look at what is really there.
        entry = copy.copy(declared)
        entry.file_size = self._left + 1
        blocks = []
        try:
            with self._zip.open(entry) as stream:
                while block := stream.read(_BLOCK):
                    blocks.append(block)
                    self._left -= len(block)
                    if self._left < 0:
                        raise _too_large()
        except _BROKEN as error:
            raise Unreadable(f"is corrupt in its part '{name}': {error}") from error
        data = b"".join(blocks)
        if len(data) != declared.file_size:
            raise Unreadable(f"is corrupt: its part '{name}' is not as long as it declares.")
        return data

    def check(self) -> None:
        """Inflate every entry once, before a library does.

        Raises:
            Unreadable: as `read`.
        """
        for name in sorted(self.names):
            self.read(name)

    def xml(self, name: str) -> etree._Element:
        """The root of an XML entry.

        Raises:
            Unreadable: as `read`, or it is not whole XML.
        """
        return parse_xml(self.read(name), name)


def parse_xml(data: bytes, name: str) -> etree._Element:
    """The root of an XML text; entities are left alone and nothing is fetched.

    Raises:
        Unreadable: it is not whole XML.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(f"is corrupt in its part '{name}': {error}") from error
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise Unreadable(f"declares entities in its part '{name}', as no program does.")
    return root


def _too_large() -> Unreadable:
    limit = MAX_INFLATED_BYTES >> 20
    return Unreadable(f"unpacks to more than {limit} MB; split it, or remove its pictures.")
