"""Where processes run: on this machine, in a process group that cannot outlive its owner.

`run` starts a command under a small supervisor (supervise.py) that puts it into a process group.
The group ends when the command ends, when the caller is cancelled, when a limit is passed, or when
the calling process dies in whatever way: the supervisor then reads the end of its standard input.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from baigong.errors import BaigongError

_SUPERVISOR = Path(__file__).with_name("supervise.py")
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 20  # a longer line of output is passed on in pieces of this size
_TAIL_BYTES = 6000
_SAMPLE_S = 0.5  # how often the group's memory is measured
_GRACE_S = 1.0  # between asking a group to end and ending it
# What runtimes say on standard error when they get no memory: Python, torch, C++, CUDA.
_MEMORY_SIGNS = (
    "MemoryError",
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "std::bad_alloc",
)
_BFLOAT16 = re.compile(r"\b(avx512_bf16|amx_bf16)\b")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process group may use; None is no limit. Memory is resident, summed over the group."""

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command that ended well has used."""

    seconds: float
    peak_memory_bytes: int


class ProcessFailed(BaigongError):
    """A process ended badly. `exit_code` is negative for a signal, `tail` the end of its stderr."""

    code = "process_failed"

    def __init__(self, message: str, *, exit_code: int, tail: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{tail}" if tail else message, hint=hint)
        self.exit_code = exit_code
        self.tail = tail


class OutOfMemory(ProcessFailed):
    """A process asked for more memory than there is or than it was allowed."""

    code = "out_of_memory"


class TimeLimit(ProcessFailed):
    """A process ran past its limit of seconds."""

    code = "time_limit"


def usable_cores() -> int:
    """Physical cores that this process may run on: more compute threads than that only wait."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products in bfloat16."""
    told = Path("/proc/cpuinfo")
    return told.exists() and bool(_BFLOAT16.search(told.read_text()))


def gpus() -> int:
    """How many GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() and one.strip() != "-1"])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return listed.stdout.count(b"GPU ")


async def run(
    command: Sequence[str],
    *,
    name: str = "",
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limits: Limits = Limits(),
    grace_s: float = _GRACE_S,
) -> Finished:
    """Run a command to its end. Cancelling ends the whole process group.

    Args:
        command: the program and its arguments; it reads nothing on standard input.
        name: what errors call it; the program's own name if empty.
        on_line: gets each line of standard output as it comes, without its line end.
        cwd: working folder.
        env: the whole environment; None is this process's own.
        limits: passing one kills the group.
        grace_s: between asking the group to end and killing it.

    Raises:
        OutOfMemory, TimeLimit: a limit was passed, or the process found no memory.
        ProcessFailed: any other bad end; the message closes with the last lines of stderr.
    """
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", str(_SUPERVISOR), *command),
        stdin=asyncio.subprocess.PIPE,  # held open as a sign of life, never written to
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    group = _Group(process, limits, grace_s)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_each_line(process.stdout, on_line or _ignore))
            tail = tasks.create_task(_tail(process.stderr))
            watch = tasks.create_task(group.watch(started))
            code = await process.wait()
            watch.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several.exceptions[0].__cause__
    finally:
        await asyncio.shield(group.end())
    name = name or Path(command[0]).name
    if group.breach is not None:
        raise group.breach(name, code, tail.result())
    if code != 0:
        raise _failure(name, code, tail.result())
    return Finished(time.monotonic() - started, group.peak_bytes)


class _Group:
    """The process group that a supervisor leads, seen from its owner."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits, grace_s: float) -> None:
        self.peak_bytes = 0
        self.breach: Callable[[str, int, str], ProcessFailed] | None = None
        self._process = process
        self._limits = limits
        self._grace_s = grace_s

    async def end(self) -> None:
        """End the group if it still runs: asked first, so that locks and temporary files go."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._grace_s)
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        """The supervisor kills the group as soon as it reads the end of its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def watch(self, started: float) -> None:
        """Measure the group's memory and time, and end it when it passes a limit."""
        while self.breach is None:
            self.peak_bytes = max(self.peak_bytes, _resident(self._process.pid))
            if (allowed := self._limits.memory_bytes) and self.peak_bytes > allowed:
                self.breach = _over_memory(self.peak_bytes, allowed)
            elif (seconds := self._limits.seconds) and time.monotonic() - started > seconds:
                self.breach = _over_time(seconds)
            else:
                await asyncio.sleep(_SAMPLE_S)
        self.kill()


def _resident(pid: int) -> int:
    """Bytes resident in a process and its descendants; those that just ended count nothing."""
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        total = 0
        for process in [leader, *leader.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_info().rss
        return total
    return 0


def _over_memory(used: int, allowed: int) -> Callable[[str, int, str], ProcessFailed]:
    return lambda name, code, tail: OutOfMemory(
        f"{name} used {used / 2**20:.0f} MiB of memory, {allowed / 2**20:.0f} MiB being allowed.",
        exit_code=code,
        tail=tail,
    )


def _over_time(seconds: float) -> Callable[[str, int, str], ProcessFailed]:
    return lambda name, code, tail: TimeLimit(
        f"{name} ran past its limit of {seconds:g} seconds.", exit_code=code, tail=tail
    )


def _failure(name: str, code: int, tail: str) -> ProcessFailed:
    if code == -signal.SIGKILL:
        return OutOfMemory(
            f"{name} was killed, most often by the system for want of memory.",
            exit_code=code,
            tail=tail,
            hint="Give it more memory, or less work at once.",
        )
    if any(sign in tail for sign in _MEMORY_SIGNS):
        return OutOfMemory(f"{name} ran out of memory.", exit_code=code, tail=tail)
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return ProcessFailed(f"{name} ended {how}.", exit_code=code, tail=tail)


async def _each_line(stream: asyncio.StreamReader | None, on_line: Callable[[str], None]) -> None:
    assert stream is not None
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            on_line(line.decode("utf-8", "replace").rstrip("\r"))
    if rest:
        on_line(rest.decode("utf-8", "replace"))


async def _tail(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    kept = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        kept = (kept + chunk)[-_TAIL_BYTES:]
    text = kept.decode("utf-8", "replace").strip()
    return text.partition("\n")[2] if len(kept) == _TAIL_BYTES else text


def _ignore(_line: str) -> None:
    pass
