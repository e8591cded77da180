"""Repositories in one file, for a machine without a network: a tar of blobs, a list, a signature.

The list (`bundle.json`) names every repository, its commit and its files by sha256; the signature
(`bundle.sig`) is Ed25519 over the sha256 of the list, so whoever trusts the signer's key can trust
every byte. Blobs follow in the order of the list, each once.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from typing_extensions import override

from baigong.errors import InvalidInput, NotFound, Refused
from baigong.hub.commits import Commit, Put, Words
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.names import Kind, check_name
from baigong.hub.repositories import Repository, Settings
from baigong.store.blobs import Blobs
from baigong.store.room import room_for
from baigong.store.secret import Secret
from baigong.types import Progress, Report

_LIST, _SIGNATURE = "bundle.json", "bundle.sig"
_LONGEST_LIST = 256 << 20
_PIECE = 1 << 20
FORMAT = 1


class Packed(msgspec.Struct, frozen=True):
    """A repository of a bundle at one commit."""

    kind: Kind
    name: str
    private: bool
    commit: str
    title: str
    author: str
    facts: dict[str, Any]
    files: dict[str, Entry]


class Contents(msgspec.Struct, frozen=True):
    """What a bundle lists; `made_at` in seconds since the epoch."""

    format: int
    made_at: float
    repositories: list[Packed]

    @property
    def size(self) -> int:
        """Bytes of its blobs."""
        return sum(size for _, size in self.blobs())

    def blobs(self) -> Iterator[tuple[str, int]]:
        """(sha256, bytes) of each, in the order in which they lie there."""
        entries = (entry for one in self.repositories for entry in one.files.values())
        yield from {entry.digest: entry.size for entry in entries}.items()


class Signed(msgspec.Struct, frozen=True):
    """Who vouches for a list: a public key and its signature, in hex."""

    key: str
    signature: str


def signer_of(secret: Secret) -> str:
    """The public key by which this installation's bundles are known, in hex."""
    return _public(_key(secret))


def pack(
    hub: Hub,
    secret: Secret,
    wanted: Sequence[tuple[Repository, Commit]],
    into: Path,
    report: Report,
) -> Contents:
    """Write a bundle; half a bundle never has that name.

    Raises:
        NotFound: a file of a mirrored repository has not been brought here.
        StorageFull: there is no room for it.
    """
    repositories = [
        Packed(
            one.kind,
            one.name,
            one.private,
            commit.id,
            commit.title,
            commit.author,
            commit.facts,
            dict(hub.commits.files(commit)),
        )
        for one, commit in wanted
    ]
    contents = Contents(FORMAT, time.time(), repositories)
    missing = [digest for digest, _ in contents.blobs() if not hub.blobs.has(digest)]
    if missing:
        raise NotFound(
            f"{len(missing)} files are not here yet.",
            hint="Bring them first: `baigong pull NAME --whole`.",
        )
    listed = msgspec.json.encode(contents)
    key = _key(secret)
    signed = Signed(_public(key), key.sign(hashlib.sha256(listed).digest()).hex())
    partial = into.with_name(into.name + ".partial")
    try:
        with room_for(into.name), tarfile.open(partial, "w") as tar:
            _add(tar, _LIST, len(listed), io.BytesIO(listed))
            signature = msgspec.json.encode(signed)
            _add(tar, _SIGNATURE, len(signature), io.BytesIO(signature))
            done, total, began = 0, contents.size, time.monotonic()
            for digest, size in contents.blobs():
                _add(
                    tar,
                    f"blobs/{digest}",
                    size,
                    io.BufferedReader(_Raw(hub.blobs, digest, size), _PIECE),
                )
                done += size
                report(Progress(done, total, "bytes", done / (time.monotonic() - began + 1e-6)))
        partial.replace(into)
    finally:
        partial.unlink(missing_ok=True)
    return contents


def unpack(hub: Hub, path: Path, trusted: Sequence[str], report: Report) -> Contents:
    """Bring a bundle's repositories into the hub, each when all of its bytes are here.

    Args:
        hub: where to.
        path: the bundle.
        trusted: public keys in hex whose bundles are taken.
        report: hears of bytes.

    Raises:
        InvalidInput: it is no bundle, or is cut off, or a byte of it is wrong; what was checked
            before is kept, and no repository is half there.
        Refused: nobody trusted has signed it.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            contents = _opened(tar, trusted)
            _take_blobs(hub.blobs, tar, contents, report)
    except (tarfile.TarError, EOFError, msgspec.DecodeError) as error:
        raise InvalidInput(
            f"{path.name} is not a whole bundle: {error}.", hint="Copy it again.", param="bundle"
        ) from error
    for one in contents.repositories:
        _keep(hub, one)
    return contents


def _opened(tar: tarfile.TarFile, trusted: Sequence[str]) -> Contents:
    listed = _small(tar, _LIST)
    signed = msgspec.json.decode(_small(tar, _SIGNATURE), type=Signed)
    if signed.key not in trusted:
        raise Refused(
            f"The bundle is signed by {signed.key}, who is not trusted here.",
            hint=f"If that is who you got it from: `--trust {signed.key}`.",
        )
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.key))
        public.verify(bytes.fromhex(signed.signature), hashlib.sha256(listed).digest())
    except (InvalidSignature, ValueError) as error:
        raise Refused(
            "The bundle's list is not what its signer signed.", hint="Get the bundle again."
        ) from error
    contents = msgspec.json.decode(listed, type=Contents)
    if contents.format != FORMAT:
        raise InvalidInput(
            f"The bundle has format {contents.format}, and this version reads {FORMAT}.",
            hint="Use the version that made it, or a newer one.",
        )
    return contents


def _take_blobs(blobs: Blobs, tar: tarfile.TarFile, contents: Contents, report: Report) -> None:
    wanted = dict(contents.blobs())
    done, total, began = 0, contents.size, time.monotonic()
    for member in tar:
        digest = member.name.removeprefix("blobs/")
        size = wanted.pop(digest, None)
        if size is None:
            continue
        file = tar.extractfile(member)
        if file is None or member.size != size:
            raise InvalidInput(f"blobs/{digest} is not the file that is listed.", param="bundle")
        if not blobs.has(digest):
            with blobs.receive() as incoming:
                while piece := file.read(_PIECE):
                    incoming.write(piece)
                incoming.finish(digest)
        done += size
        report(Progress(done, total, "bytes", done / (time.monotonic() - began + 1e-6)))
    if wanted:
        raise InvalidInput(
            f"The bundle lacks {len(wanted)} of its files.", hint="Copy it again.", param="bundle"
        )


def _keep(hub: Hub, one: Packed) -> None:
    check_name(one.name)
    puts = [Put(path, entry) for path, entry in one.files.items()]
    words = Words(one.title, one.author, facts=one.facts)
    try:
        here = hub.repositories.find(one.kind, one.name)
    except NotFound:
        hub.repositories.create(
            one.kind,
            one.name,
            puts,
            words,
            private=one.private,
            settings=Settings(pinned=True),
            elsewhere=one.commit,
        )
    else:
        hub.commits.mirror(here.id, one.commit, puts, words, "main")
    hub.refresh(one.kind, one.name)


def _small(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.next()
    file = tar.extractfile(member) if member is not None and member.name == name else None
    if member is None or file is None or member.size > _LONGEST_LIST:
        raise InvalidInput(f"The bundle has no {name} where it should be.", param="bundle")
    return file.read()


def _add(tar: tarfile.TarFile, name: str, size: int, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    tar.addfile(member, file)


class _Raw(io.RawIOBase):
    """A blob as a file that is read once."""

    def __init__(self, blobs: Blobs, digest: str, size: int) -> None:
        self._pieces = blobs.pieces(digest, 0, size)
        self._rest = memoryview(b"")

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, target: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        count = min(len(self._rest), len(target))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _key(secret: Secret) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(secret.derive("bundle signatures"))


def _public(key: Ed25519PrivateKey) -> str:
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    return key.public_key().public_bytes(*raw).hex()
