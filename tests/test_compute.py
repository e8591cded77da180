"""Processes that cannot outlive their owner, and errors that say what happened."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from baigong.compute import (
    Limits,
    OutOfMemory,
    ProcessFailed,
    TimeLimit,
    memory,
    run,
    usable_cores,
)

pytestmark = pytest.mark.anyio

# Starts a grandchild, tells its pid, and waits for ever.
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


async def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_lines_arrive_in_order_and_the_last_needs_no_line_end() -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.write('一\\ntwo\\r\\nthree')"
    finished = await run(python(code), on_line=lines.append)
    assert lines == ["一", "two", "three"]
    assert finished.seconds > 0


async def test_a_failure_ends_with_the_tail_of_stderr() -> None:
    code = "import sys; sys.stderr.write('noise\\n' * 5000 + 'the cause\\n'); sys.exit(3)"
    with pytest.raises(ProcessFailed) as caught:
        await run(python(code), name="The reader")
    assert str(caught.value).startswith("The reader ended with exit code 3.")
    assert caught.value.exit_code == 3
    assert str(caught.value).endswith("the cause")
    assert len(caught.value.tail) < 10_000


async def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(ProcessFailed, match="cannot start no-such-program"):
        await run(["no-such-program"])


async def test_a_process_killed_by_a_signal_says_which() -> None:
    with pytest.raises(ProcessFailed, match="SIGUSR1"):
        await run(python("import os, signal; os.kill(os.getpid(), signal.SIGUSR1)"))


@pytest.mark.parametrize(
    "code",
    ["raise MemoryError", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"],
    ids=["its own error", "the kernel's kill"],
)
async def test_want_of_memory_is_called_that(code: str) -> None:
    with pytest.raises(OutOfMemory):
        await run(python(code))


async def test_a_memory_limit_ends_the_group() -> None:
    code = "block = bytearray(200 << 20); import time; time.sleep(60)"
    with pytest.raises(OutOfMemory, match="64 MiB being allowed"):
        await run(python(code), limits=Limits(memory_bytes=64 << 20))


async def test_a_time_limit_ends_the_group() -> None:
    with pytest.raises(TimeLimit):
        await run(python("import time; time.sleep(60)"), limits=Limits(seconds=0.2))


async def test_cancelling_kills_the_whole_group() -> None:
    pids: asyncio.Queue[int] = asyncio.Queue()
    task = asyncio.create_task(run(python(FAMILY), on_line=lambda s: pids.put_nowait(int(s))))
    grandchild = await pids.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(grandchild)


async def test_an_error_in_the_line_handler_ends_the_group_and_is_raised() -> None:
    seen: list[int] = []

    def stumble(line: str) -> None:
        seen.append(int(line))
        raise ValueError("stumbled")

    with pytest.raises(ValueError, match="stumbled"):
        await run(python(FAMILY), on_line=stumble)
    assert await gone(seen[0])


async def test_what_a_command_leaves_behind_does_not_hold_its_end() -> None:
    code = FAMILY.replace("time.sleep(600)\n", "")
    pids: list[str] = []
    started = time.monotonic()
    await run(python(code), on_line=pids.append)
    assert time.monotonic() - started < 30
    assert await gone(int(pids[0]))


async def test_the_group_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    owner_code = f"""
import asyncio, pathlib, sys
from baigong.compute import run
place = pathlib.Path({str(place)!r})
asyncio.run(run([sys.executable, "-S", "-c", {FAMILY!r}], on_line=place.write_text))
"""
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", owner_code)
    while not (place.exists() and place.read_text()):
        assert owner.returncode is None
        await asyncio.sleep(0.05)
    owner.kill()
    await owner.wait()
    assert await gone(int(place.read_text()))


def test_there_is_a_core_to_use() -> None:
    assert usable_cores() >= 1


def test_memory_is_what_the_tightest_control_group_leaves(tmp_path):
    inner = tmp_path / "service" / "worker"
    inner.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/service/worker\n")
    free = memory.available(tmp_path, own)
    assert free > 10e6  # no limits anywhere: the whole machine's

    def limit(group, most, used, cached):
        (group / "memory.max").write_text(f"{most}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")

    limit(inner, "max", 4_000_000, 0)
    assert memory.available(tmp_path, own) > 10e6
    limit(inner.parent, 9_000_000, 5_000_000, 1_000_000)
    assert memory.available(tmp_path, own) == 5_000_000
    limit(inner, 6_000_000, 4_000_000, 0)
    assert memory.available(tmp_path, own) == 2_000_000


def test_memory_of_a_process_is_told_and_nothing_of_one_that_is_gone():
    assert 1e6 < memory.taken(os.getpid()) < 1e11
    assert memory.taken(2**30) == 0
