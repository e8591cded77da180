"""A server that speaks vLLM's dialect and says what it is told to: `vllm serve FOLDER ...`.

It has FOLDER's tokenizer and no weights. To a prompt it answers `MODEL says: ` and the
prompt, a token a character. A mood, of the server or of one prompt that holds `!MOOD`, spoils that:

    !drop, !drop-after N      hang up before the first token, or after N
    !exit, !exit-after N      end the process then
    !late S, !pause S         S seconds before the first token, or between tokens
    !busy S                   429 with retry-after
    !fail, !later S           500, or 503 with retry-after
    !error-after N            an error event after N tokens
    !end-after N              an orderly end of the stream there, without a reason
    !refuse, !long            400, or 400 for the context
    !redirect                 307
    !sick                     /health answers 503, all else works

GET /seen tells the requests, POST /mood sets the server's mood. Standard library and tokenizers only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

MOOD = re.compile(r"!([a-z]+(?:-after)?)(?: ([0-9.]+))?")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.tokenizer = Tokenizer.from_file(f"{options.folder}/tokenizer.json")
        self.mood = options.mood
        self.seen: list[dict[str, Any]] = []
        self.adapters: dict[str, str] = {}
        self.key = options.api_key or os.environ.get("VLLM_API_KEY")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        match self.path:
            case "/health":
                self.send(503 if self.server.mood == "!sick" else 200, None)
            case "/seen":
                state = {"pid": os.getpid(), "seen": self.server.seen, "argv": sys.argv[1:]}
                self.send(200, state | {"adapters": self.server.adapters})
            case "/v1/models" if self.allowed():
                self.send(200, {"object": "list", "data": self.cards()})
            case _:
                self.send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/mood":
            self.server.mood = body["mood"]
            return self.send(200, None)
        if not self.allowed():
            return None
        self.note = {"path": self.path, "body": body, "state": "open"}
        self.server.seen.append(self.note)
        match self.path:
            case "/v1/completions" | "/v1/chat/completions":
                return self.answer(body)
            case "/v1/load_lora_adapter" if self.loads():
                return self.load(body)
            case "/v1/unload_lora_adapter" if self.loads():
                self.server.adapters.pop(body["lora_name"], None)
                return self.send(200, None)
        return self.send(404, {"detail": "Not Found"})

    def allowed(self) -> bool:
        given = self.headers.get("authorization")
        if self.server.key is None or given == f"Bearer {self.server.key}":
            return True
        self.fail(401, f"Incorrect key: {given}")
        return False

    def loads(self) -> bool:
        return self.server.options.enable_lora and bool(
            os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING")
        )

    def cards(self) -> list[dict[str, Any]]:
        options = self.server.options
        base = {"id": options.served_model_name, "max_model_len": options.max_model_len}
        return [base, *({"id": n, "parent": base["id"]} for n in self.server.adapters)]

    def load(self, body: dict[str, Any]) -> None:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.server.adapters:
            return self.fail(400, f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").exists():
            return self.fail(404, f"No adapter found for {folder}")
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self.server.options.max_lora_rank:
            return self.fail(400, f"LoRA rank {rank} is greater than max_lora_rank")
        self.server.adapters[name] = str(folder)
        return self.send(200, None)

    def answer(self, body: dict[str, Any]) -> None:
        is_chat = "messages" in body
        known = {self.server.options.served_model_name, *self.server.adapters}
        if body["model"] not in known:
            return self.fail(404, f"The model `{body['model']}` does not exist.")
        prompt = body["messages"][-1]["content"] if is_chat else self.text(body["prompt"])
        self.note["prompt"] = prompt
        mood = MOOD.search(self.server.mood) or MOOD.search(prompt)
        what, amount = (mood[1], float(mood[2] or 0)) if mood else ("", 0.0)
        if self.spoils(what, amount):
            return None
        return self.stream(body, prompt, what, amount)

    def spoils(self, what: str, amount: float) -> bool:
        """Whether the mood answers by itself."""
        match what:
            case "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            case "exit":
                os._exit(3)
            case "busy":
                self.fail(429, "Too many requests", {"retry-after": f"{amount:g}"})
            case "later":
                self.fail(503, "Busy", {"retry-after": f"{amount:g}"})
            case "fail":
                self.fail(500, "Broken")
            case "refuse":
                self.fail(400, "temperature is silly")
            case "long":
                self.fail(400, "This model's maximum context length is 4 tokens.")
            case "redirect":
                self.send(307, None, {"location": "/elsewhere"})
            case _:
                return False
        return True

    def stream(self, body: dict[str, Any], prompt: str, what: str, amount: float) -> None:
        time.sleep(amount if what == "late" else 0)
        self.begin()
        text = f"{body['model']} says: {prompt.strip()}"
        limit = body.get("max_tokens", 16)
        total = min(limit, len(text))
        for i, character in enumerate(text[:limit]):
            if what.endswith("-after") and i == int(amount):
                return self.spoil_stream(what)
            if not self.event(self.piece(body, character), i + 1):
                return None
            time.sleep(amount if what == "pause" else 0.002 if what else 0)
        self.event({"finish_reason": "length" if total == limit else "stop"}, total)
        self.event(None, total)
        self.write(b"data: [DONE]\n\n")
        self.write(b"")
        self.note["state"] = "done"

    def piece(self, body: dict[str, Any], character: str) -> dict[str, Any]:
        if "messages" not in body:
            return {"text": character, "logprobs": self.scores(body, character)}
        if "tools" not in body:
            return {"delta": {"role": "assistant", "content": character}}
        name = body["tools"][0]["function"]["name"]
        call = {"index": 0, "id": "call_1", "function": {"name": name, "arguments": "{}"}}
        return {
            "delta": {"reasoning_content": "hm", "tool_calls": [call] if character == " " else []}
        }

    def scores(self, body: dict[str, Any], character: str) -> dict[str, Any] | None:
        """Of each of the character's tokens, and of token 1 as the one that was likelier."""
        if body.get("logprobs") is None:
            return None
        assert body["return_tokens_as_token_ids"]
        tokens = [f"token_id:{id}" for id in self.server.tokenizer.encode(character).ids]
        top = {"token_id:1": -0.5} if body["logprobs"] else {}
        return {
            "tokens": tokens,
            "token_logprobs": [-1.5] * len(tokens),
            "top_logprobs": [{token: -1.5} | top for token in tokens],
        }

    def spoil_stream(self, what: str) -> None:
        if what == "exit-after":
            os._exit(3)
        if what in {"error-after", "end-after"}:
            if what == "error-after":
                self.write(b'data: {"error": {"message": "Broken", "code": 500}}\n\n')
            self.write(b"")
            return
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def text(self, prompt: str | list[int]) -> str:
        if isinstance(prompt, str):
            return prompt
        return str(self.server.tokenizer.decode(prompt, skip_special_tokens=True))

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def event(self, choice: dict[str, Any] | None, tokens: int) -> bool:
        choices = [] if choice is None else [{"index": 0, "finish_reason": None, **choice}]
        usage = {"prompt_tokens": 7, "completion_tokens": tokens}
        return self.write(
            b"data: " + json.dumps({"choices": choices, "usage": usage}).encode() + b"\n\n"
        )

    def write(self, data: bytes) -> bool:
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError:
            self.note["state"] = "aborted"
            self.close_connection = True
            return False
        return True

    def fail(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.send(status, {"error": {"message": message, "code": status}}, headers)

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("folder")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dtype")
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--max-model-len", type=int, default=512)
    parser.add_argument("--generation-config")
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--max-loras", type=int)
    parser.add_argument("--max-lora-rank", type=int, default=16)
    parser.add_argument("--api-key")
    parser.add_argument("--mood", default="")
    server = Server(parser.parse_args())
    sys.stdout.write(f"listening at {server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stderr.write("words on standard error\n")
    server.serve_forever()


class StandIn:
    """One that runs, as the test sees it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def mood(self, mood: str) -> None:
        request = urllib.request.Request(f"{self.url}/mood", json.dumps({"mood": mood}).encode())
        urllib.request.urlopen(request).read()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(urllib.request.urlopen(f"{self.url}/seen").read())
        return found

    def seen(self, path: str = "/v1/completions") -> list[dict[str, Any]]:
        return [note for note in self.state()["seen"] if note["path"] == path]


@contextmanager
def standing_in(
    folder: Path, name: str = "m", *options: str, **variables: str
) -> Iterator[StandIn]:
    """A process of its own for the length of the block."""
    command = [
        sys.executable,
        __file__,
        "serve",
        str(folder),
        "--served-model-name",
        name,
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **variables})
    try:
        assert process.stdout is not None
        yield StandIn(int(process.stdout.readline().split()[-1]))
    finally:
        process.kill()
        process.communicate()


def put_on_path(folder: Path) -> Path:
    """An executable `vllm` in a folder, for a PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "vllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    program.chmod(0o755)
    assert shutil.which("vllm", path=str(folder))
    return folder


if __name__ == "__main__":
    main()
