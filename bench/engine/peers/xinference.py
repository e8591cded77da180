"""Xinference's server with its default engine, transformers. It takes text: one letter is one token."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import string
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from xinference.client import Client

from bench.engine.play import CannotPlay, Heard, Job, Play, Request, one_wave, serve

NAME = "benched"
START_S = 120


class Xinference:
    def __init__(self, job: Job) -> None:
        if job.adapters:
            raise CannotPlay("Xinference chooses an adapter as it loads a model")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        home = Path(job.home) / "xinference"
        shutil.rmtree(home, ignore_errors=True)  # it would remember models of other runs
        # Else it would install torch again, for each model.
        own = {"XINFERENCE_HOME": str(home), "XINFERENCE_ENABLE_VIRTUAL_ENV": "0"}
        own["XINFERENCE_AUTH_ADVANCED"] = "0"  # nobody else reaches this one
        command = [str(Path(sys.executable).with_name("xinference-local")), "-H", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, "-p", str(port)], env=os.environ | own, stdin=subprocess.DEVNULL
        )
        try:
            self._model = self._launched(f"http://127.0.0.1:{port}", job)
        except Exception:
            self.close()
            raise

    def play(self, play: Play) -> list[Heard]:
        heard: list[Heard | None] = [None] * len(play.requests)
        began = time.perf_counter()

        def ask(row: int, request: Request) -> None:
            said = self._model.generate(
                _text(request), {"max_tokens": request.new, "temperature": 0.0, "stream": False}
            )
            count = said["usage"]["completion_tokens"]
            heard[row] = Heard(count, [time.perf_counter() - began])

        threads = [threading.Thread(target=ask, args=each) for each in enumerate(one_wave(play))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [one or Heard(0, []) for one in heard]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _launched(self, url: str, job: Job) -> Any:
        client = _connected(url, self._process)
        family = {
            "version": 2,
            "model_name": NAME,
            "model_family": NAME,
            "model_lang": ["en"],
            "model_ability": ["generate"],
            "context_length": 2048,
            "model_specs": [
                {
                    "model_format": "pytorch",
                    "model_size_in_billions": 1,
                    "quantization": "none",
                    "model_uri": str(_endless(job)),
                }
            ],
        }
        client.register_model("LLM", json.dumps(family), persist=False)
        uid = client.launch_model(
            NAME,
            model_engine="transformers",
            model_format="pytorch",
            model_size_in_billions=1,
            quantization="none",
            torch_dtype=job.weights,
        )
        return client.get_model(uid)


def _connected(url: str, process: subprocess.Popen[bytes]) -> Client:
    for _ in range(START_S):
        if process.poll() is not None:
            break
        try:
            client = Client(url)
            client.list_models()
            return client
        except (OSError, RuntimeError):
            time.sleep(1)
    raise CannotPlay("Xinference did not start")


def _endless(job: Job) -> Path:
    """The model without a token that ends an answer, since no request can ask for that."""
    folder = job.converted("endless")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(job.model, folder, copy_function=os.link)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        fields = json.loads((folder / name).read_text("utf-8"))
        (folder / name).unlink()
        kept = {key: value for key, value in fields.items() if not key.startswith("eos_token")}
        (folder / name).write_text(json.dumps(kept), "utf-8")
    return folder


def _text(request: Request) -> str:
    draw = random.Random(repr(request.ids))
    return "".join(draw.choices(string.ascii_letters, k=len(request.ids)))


if __name__ == "__main__":
    serve(Xinference, "xinference", "transformers", "torch")
