"""The `git` command, run so that a repository can do nothing but be read."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import msgspec

from baigong.errors import BaigongError, InvalidInput, NotFound, StorageFull, Unreachable
from baigong.knowledge.connectors.fetch import shown
from baigong.knowledge.connectors.public import addresses
from baigong.store.room import is_full

_REMOTE = "origin"
_TIMEOUT_S = 900.0
_MOST_PACKS = 64
_OLDEST = (2, 37)  # the first that connects to an address which is given beside the name
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "credential.interactive": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",  # another address would not have been checked
    "http.proxy": "",
    "http.lowSpeedLimit": "1000",  # bytes in a second,
    "http.lowSpeedTime": "60",  # for so many seconds
    "maintenance.auto": "false",
    "protocol.version": "2",
}


class Address(msgspec.Struct, frozen=True):
    """Where a repository is: `pin` holds the addresses that were checked, for the connection."""

    url: str
    protocol: str
    pin: str = ""


def address(url: str, allow: Sequence[str]) -> Address:
    """A repository's address, checked as every address that anybody may write.

    Raises:
        InvalidInput: its host is not public, and not allowed.
        Unreachable: its host is not known.
    """
    if url.startswith("file://"):
        return Address(url, "file")
    parsed = httpx2.URL(url)
    host, port = parsed.raw_host.decode("ascii"), parsed.port
    port = port or (443 if parsed.scheme == "https" else 80)
    found = addresses(host, port, allow)
    if not found:
        raise Unreachable(
            f"{url} could not be fetched: nothing is known by the name {host}.",
            hint="Check the address and the network, and try again.",
        )
    numbers = ",".join(f"[{each}]" if ":" in each else each for each in found)
    is_number = ":" in host  # it stands for itself
    return Address(url, parsed.scheme, "" if is_number else f"{host}:{port}:{numbers}")


class Git:
    """One bare mirror. Whoever changes it holds `alone`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: _Files | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from changing the mirror for the length of the block."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with self._folder.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def fetch(self, where: Address, branch: str, head: str) -> None:
        """Make `head` the newest commit of a branch, without its files."""
        _check_version()
        self._files = None
        if len(list(self._folder.glob("objects/pack/*.pack"))) > _MOST_PACKS:
            shutil.rmtree(self._folder)  # what is old goes, at the price of fetching the rest again
        for left in self._folder.rglob("*.lock"):  # by a process that was killed
            left.unlink()
        self._run(where, ["init", "--quiet", "--bare", "--template=", str(self._folder)])
        source = f"refs/heads/{branch}" if branch else "HEAD"
        self._run(
            where,
            [
                *("fetch", "--quiet", "--depth=1", "--filter=blob:none", "--no-tags"),
                *("--no-write-fetch-head", "--force"),
                *(_REMOTE, f"+{source}:{head}"),
            ],
        )

    def complete(self, where: Address, blobs: set[str], head: str) -> None:
        """Fetch those of `blobs` that are not here yet, in one go."""
        told = self._run(
            where, ["rev-list", "--objects", "--no-object-names", "--missing=print", head]
        )
        missing = {line[1:] for line in told.decode("ascii").split() if line.startswith("?")}
        if wanted := sorted(missing & blobs):
            self._run(
                where,
                [  # without "noop" the server is told of the commit, and takes its files as given
                    *("-c", "fetch.negotiationAlgorithm=noop"),
                    *("fetch", "--quiet", "--filter=blob:none", "--no-tags"),
                    *("--no-write-fetch-head", "--stdin", _REMOTE),
                ],
                "\n".join(wanted).encode(),
            )

    def tree(self, head: str) -> list[tuple[str, str, str]]:
        """(mode, id, path) of all that a commit holds; paths as Python's file names."""
        told = self._run(None, ["ls-tree", "-r", "-z", "--full-tree", head])
        rows = []
        for line in told.decode("utf-8", "surrogateescape").split("\0"):
            about, _, path = line.partition("\t")
            if path:
                mode, _, blob = about.split(" ")
                rows.append((mode, blob, path))
        return rows

    def blob(self, blob: str, most: int) -> bytes | None:
        """The bytes of a file; None where they are more than `most`."""
        if self._files is None:
            self._files = _Files(*self._command(None, ["cat-file", "--batch"]))
        return self._files.read(blob, most)

    def _run(self, where: Address | None, words: Sequence[str], given: bytes = b"") -> bytes:
        url = "the mirror" if where is None else where.url
        code, out, wrong = _finish(*self._command(where, words), given, url)
        if code != 0:
            raise _refusal(url, wrong.decode("utf-8", "replace"))
        return out

    def _command(
        self, where: Address | None, words: Sequence[str]
    ) -> tuple[list[str], dict[str, str]]:
        """A command line, and an environment in which it reaches that address and no other."""
        settings = dict(_SETTINGS)
        if where is not None:
            settings[f"remote.{_REMOTE}.url"] = where.url
        if where is not None and where.pin:
            settings["http.curloptResolve"] = where.pin
        command = ["git", "--git-dir", str(self._folder)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {
            "GIT_ALLOW_PROTOCOL": where.protocol if where is not None else "",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }
        return [*command, *words], environment


class _Files:
    """One process that gives files by their ids: to start one for each would take ten times as long."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        self._mutex = threading.Lock()
        weakref.finalize(self, _end, self._process)

    def read(self, blob: str, most: int) -> bytes | None:
        """The bytes of a file; None where they are more than `most`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with self._mutex:
            try:
                stdin.write(f"{blob}\n".encode())
                stdin.flush()
                about = stdout.readline().split()
            except BrokenPipeError:
                about = []
            if len(about) != 3:
                raise Unreachable(
                    "The copy of the repository that is kept here has lost files.",
                    hint="Read the source again; delete that copy if this stays so.",
                )
            size = left = int(about[2])
            if size <= most:
                data = stdout.read(size)
                stdout.read(1)  # the line's end
                return data
            while left >= 0:
                left -= len(stdout.read(min(left + 1, 1 << 20))) or left + 1
            return None


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()


def _finish(
    command: Sequence[str], environment: dict[str, str], given: bytes, url: str
) -> tuple[int, bytes, bytes]:
    """(status, output, errors) of a command; it and its children end in time."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise _no_git() from error
    with process:
        try:
            out, wrong = process.communicate(given, _TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise Unreachable(
                f"{url} could not be fetched within {_TIMEOUT_S / 60:g} minutes.",
                hint="Try again later, or name a smaller repository.",
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, wrong


def _check_version() -> None:
    if shutil.which("git") is None:
        raise _no_git()
    told = subprocess.run(["git", "--version"], capture_output=True, check=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise InvalidInput(
            f"The git command here is too old: {told.strip()}.",
            hint=f"Install {oldest} or later.",
            param="sources",
        )


def _no_git() -> InvalidInput:
    return InvalidInput(
        "Repositories are read by the git command, which is not there.",
        hint="Install git, e.g. apt-get install git.",
        param="sources",
    )


def _refusal(url: str, wrong: str) -> BaigongError:
    if is_full(OSError(wrong)):
        return StorageFull(
            "There is no room left to keep a repository.",
            hint="Free some space and run the same command again.",
        )
    lines = [line for line in wrong.splitlines() if line.startswith(("fatal: ", "error: "))]
    why = shown(lines[0].partition(": ")[2] if lines else "git says nothing")
    if "couldn't find remote ref" in wrong:
        return NotFound(
            f"{url} has no such branch.", hint="Check what stands behind #.", param="sources"
        )
    if re.search("not found|does not exist|not appear to be a git|could not read Username", wrong):
        return NotFound(
            f"There is no repository at {url}, or it asks for a login.",
            hint="Check the address; for a private one, set up a git credential helper.",
            param="sources",
        )
    status = re.search(r"returned error: ([34]\d\d)", wrong)
    if status is not None:
        return InvalidInput(
            f"{url} is not to be had there: status {status[1]}.",
            hint="Open it in a browser, and give the address where that ends.",
            param="sources",
        )
    return Unreachable(
        f"{url} could not be fetched: {why.rstrip('.')}.",
        hint="Try again later; what was read before is kept.",
    )
