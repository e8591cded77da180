"""llama.cpp: its own batched benchmark for plain batches, its server for everything else.

A native build is used where LLAMACPP_BUILD names its folder or HOME/llama.cpp/build is there; else
the server of the xllamacpp wheel does all, which is slower, and the versions say so.

GCC 12 drops the stores that fill AMX's tile configuration (ggml-cpu/amx/mmq.cpp), and quantized models
then crash at ldtilecfg: a compiler barrier before _tile_loadconfig there mends it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.engine.peers.gguf_files import write_adapter, write_model
from bench.engine.play import CannotPlay, Heard, Job, Play, Request, serve

SLOTS, SLOT_TOKENS = 40, 768  # tokens in multiples of 256


class LlamaCpp:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._build = native_build(job)
        self._model = converted(job, self._build)
        self._adapters = {name: _adapter(job, name, path) for name, path in job.adapters.items()}
        self._server: Server | None = None
        self.versions = {"llama.cpp": _version(self._build)}

    def play(self, play: Play) -> list[Heard]:
        if play.adapters:
            raise CannotPlay("llama.cpp's server loads adapters only as it starts")
        shapes = {(len(one.ids), one.new, one.adapter, one.wave) for one in play.requests}
        if self._build and len(shapes) == 1 and not self._adapters:
            return self._batched_bench(self._build, play.requests)
        if self._server is None:
            self._server = Server(self._job, self._build, self._model, self._adapters)
        return self._server.play(play)

    def close(self) -> None:
        if self._server:
            self._server.close()

    def _batched_bench(self, build: Path, requests: list[Request]) -> list[Heard]:
        """The bare loop, which neither samples nor talks. The prompt's step makes the first token."""
        prompt, new, rows = len(requests[0].ids), requests[0].new, len(requests)
        command = [build / "llama-batched-bench", "-m", self._model, "-t", self._job.threads]
        command += ["-tb", self._job.threads, "-npp", prompt, "-ntg", max(new - 1, 1)]
        # Twice the same, because the first warms up.
        command += ["-npl", f"{rows},{rows}", "-c", rows * SLOT_TOKENS, "--output-format", "jsonl"]
        *_, line = [line for line in _run(command).splitlines() if line.startswith("{")]
        spent = json.loads(line)
        first = spent["t_pp"]
        times = [first, first + spent["t_tg"]] if new > 1 else [first]
        return [Heard(new, times) for _ in requests]


class Server:
    """llama-server with a slot for every stream, and adapters that are off unless asked for."""

    def __init__(
        self, job: Job, build: Path | None, model: Path, adapters: dict[str, Path]
    ) -> None:
        self._numbers = {name: number for number, name in enumerate(adapters)}
        self._port = _free_port()
        if build:
            program = [str(build / "llama-server")]
        else:
            program = [sys.executable, "-m", "bench.engine.peers.xllamacpp_server"]
        # A scale other than 0 at the start puts the adapter on every request that names none.
        scaled = [f"{path}:0.0" for path in adapters.values()]
        options: list[Any] = ["-m", model, "-t", job.threads, "-tb", job.threads]
        options += ["-np", SLOTS, "-c", SLOTS * SLOT_TOKENS, "--port", self._port]
        options += ["--cache-ram", 0] + (["--lora-scaled", ",".join(scaled)] if scaled else [])
        log = (Path(job.home) / "logs" / "llama-server.log").open("wb")
        command = [*program, *(str(option) for option in options)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        self._wait()

    def play(self, play: Play) -> list[Heard]:
        began = time.perf_counter()
        started = threading.Semaphore(0)
        heard, threads = [], []
        for request in sorted(play.requests, key=lambda one: one.wave):
            if request.wave and not any(one.wave for one in play.requests[: len(heard)]):
                for _ in heard:
                    started.acquire()
            heard.append(Heard(0, []))
            threads.append(
                threading.Thread(target=self._ask, args=(request, heard[-1], began, started))
            )
            threads[-1].start()
        for thread in threads:
            thread.join()
        return [Heard(len(one.ids), one.times, one.ids) for one in heard]

    def _ask(
        self, request: Request, heard: Heard, began: float, started: threading.Semaphore
    ) -> None:
        """Send one request and note its tokens as they come; `started` is told of the first."""
        loras = []
        if request.adapter:
            loras = [{"id": self._numbers[request.adapter], "scale": 1.0}]
        body = {
            "prompt": request.ids,
            "n_predict": request.new,
            "temperature": 0.0,
            "samplers": ["top_k"],
            "top_k": 1,
            "ignore_eos": True,
            "stream": True,
            "return_tokens": True,
            "cache_prompt": False,
            "lora": loras,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("POST", "/completion", json.dumps(body))
        for line in connection.getresponse():
            if not line.startswith(b"data: {"):
                continue
            said = json.loads(line[6:])
            if said.get("stop"):  # repeats what came before
                break
            if not heard.ids:
                started.release()
            heard.ids.extend(said["tokens"])
            heard.times.extend([time.perf_counter() - began] * len(said["tokens"]))
        connection.close()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _wait(self) -> None:
        while self._process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == http.client.OK:
                    return
            except ConnectionError:
                pass
            time.sleep(0.2)
        raise CannotPlay("llama.cpp's server ended while it loaded; see logs/llama-server.log")


def native_build(job: Job) -> Path | None:
    """The folder of llama.cpp's programs, if there are any."""
    named = os.environ.get("LLAMACPP_BUILD")
    for build in [Path(named)] if named else [Path(job.home) / "llama.cpp" / "build"]:
        if (build / "bin" / "llama-server").exists():
            return build / "bin"
    if named:
        raise CannotPlay(f"LLAMACPP_BUILD={named} holds no bin/llama-server")
    return None


def converted(job: Job, build: Path | None) -> Path:
    """The model as GGUF: in bfloat16, and quantized from there by llama.cpp's own program."""
    base = job.converted("BF16.gguf")
    if not base.exists():
        _through(base, lambda part: write_model(Path(job.model), part))
    if job.weights == "BF16":
        return base
    path = job.converted(f"{job.weights}.gguf")
    if not path.exists():
        if build is None:
            raise CannotPlay(f"{job.weights} is made by llama-quantize, which needs a native build")
        command = [build / "llama-quantize", "--pure", base, None, job.weights, job.threads]
        _through(path, lambda part: _run([part if one is None else one for one in command]))
    return path


def _adapter(job: Job, name: str, folder: str) -> Path:
    path = job.converted(f"{name}.gguf")
    if not path.exists():
        _through(path, lambda part: write_adapter(Path(folder), part))
    return path


def _through(path: Path, write: Callable[[Path], object]) -> None:
    """Write it beside its place first, so that half a file is never taken for a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    write(part)
    part.rename(path)


def _run(command: Sequence[object]) -> str:
    parts = [str(part) for part in command]
    done = subprocess.run(parts, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.splitlines()[-1:])
        raise CannotPlay(f"{Path(parts[0]).name} ended with {done.returncode}: {last}")
    return done.stdout


def _version(build: Path | None) -> str:
    if build is None:
        return f"xllamacpp {version('xllamacpp')} (wheel)"
    done = subprocess.run(
        [build / "llama-server", "--version"], capture_output=True, text=True, check=False
    )
    return f"native, {(done.stderr + done.stdout).strip().splitlines()[0]}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    serve(LlamaCpp)
