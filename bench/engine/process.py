"""A side of the comparison from outside: its environment, its process, its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.engine.peers import Peer
from bench.engine.play import CannotPlay, Heard, Job, Play
from bench.environment import CannotInstall, interpreter

ROOT = Path(__file__).resolve().parents[2]
EXIT_S = 20


class SideProcess:
    """A side that has loaded its model. Leaving the context ends the process.

    Raises:
        CannotPlay: it refuses the job, or died while loading; the message says why.
    """

    def __init__(self, peer: Peer, job: Job) -> None:
        self.peer, self.job = peer, job
        home = Path(job.home)
        self._log = home / "logs" / f"{peer.name.replace(' ', '-')}-{job.weights}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(python(peer, home)), "-m", f"bench.engine.peers.{peer.module}"]
        threads = str(job.threads)
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [*command, json.dumps(asdict(job))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": threads},
                text=True,
            )
        try:
            self.versions: dict[str, str] = self._answer()["versions"]
        except CannotPlay:
            self.close()
            raise

    def play(self, play: Play) -> list[Heard]:
        """Play, and see that every request got all its tokens."""
        assert self._popen.stdin
        if self._popen.poll() is None:
            self._popen.stdin.write(json.dumps(asdict(play)) + "\n")
            self._popen.stdin.flush()
        heard = [Heard(**one) for one in self._answer()["heard"]]
        for request, one in zip(play.requests, heard, strict=True):
            if one.count != request.new:
                raise CannotPlay(f"made {one.count} tokens where {request.new} were asked for")
        return heard

    def close(self) -> None:
        """End its input, at which it ends itself."""
        with self._popen:
            try:
                self._popen.communicate(timeout=EXIT_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()

    def _answer(self) -> dict[str, Any]:
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line:
            tail = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise CannotPlay(f"its process ended: {' '.join(tail)}")
        answer: dict[str, Any] = json.loads(line)
        if "cannot" in answer:
            raise CannotPlay(answer["cannot"])
        return answer

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def python(peer: Peer, home: Path) -> Path:
    """The interpreter of the peer's own environment, which is made on first use.

    Raises:
        CannotPlay: a package could not be installed.
    """
    if not peer.packages:
        return Path(sys.executable)
    try:
        return interpreter(home, peer.module, peer.packages, bare=peer.bare, unwanted=peer.unwanted)
    except CannotInstall as error:
        raise CannotPlay(str(error)) from error
