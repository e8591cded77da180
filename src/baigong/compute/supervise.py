"""Run a command and end its process group when standard input closes. Standard library only.

Started as `python -I -S supervise.py COMMAND...`. Each death is covered: the owner's (standard input
closes, the command's group is killed), the supervisor's own (the command asked the kernel to be
killed with its parent), and the command's (what it left behind is killed, its end passed on as it
was). SIGTERM is handed to the group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
_CANNOT_START = 127


def main(command: list[str]) -> int:
    """Exit code of the command; one killed by a signal makes the supervisor die by it too."""
    # A handler, not SIG_IGN, which the command would inherit; it waits until there is a group.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_in_the_child
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return _CANNOT_START
    signal.signal(signal.SIGTERM, lambda *_: _signal_group(child.pid, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_kill_at_end_of_input, args=(child.pid,), daemon=True).start()
    code = child.wait()
    _signal_group(child.pid, signal.SIGKILL)  # what it left behind would hold the pipes open
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _signal_group(group: int, sign: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
        os.killpg(group, sign)


def _in_the_child() -> None:
    # Between fork and exec, while this process has a single thread, so that nothing can be locked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_at_end_of_input(group: int) -> None:
    while os.read(0, 1024):
        pass
    _signal_group(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
