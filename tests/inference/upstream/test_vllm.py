"""`vllm serve` as this machine's engine, with a stand-in of that name on the PATH."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from baigong.errors import BaigongError, EngineUnavailable, InvalidInput, Unsupported
from baigong.inference.restarts import MOST
from baigong.inference.upstream.server import Adapter, Prompt
from baigong.inference.upstream.vllm import (
    VllmConfig,
    VllmEngine,
    command,
    environment,
    find_vllm,
)
from baigong.model.chat import tokenizer_of
from baigong.types import Sampling
from tests.models import make_adapter, make_model
from tests.standin import put_on_path

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(put_on_path(tmp_path / "bin")), prepend=os.pathsep)
    return make_model(tmp_path / "m")


@asynccontextmanager
async def engine(folder: Path, **config: Any) -> AsyncIterator[VllmEngine]:
    found = VllmEngine("org/m", folder, VllmConfig(**{"start_timeout_s": 60.0} | config))
    try:
        yield found
    finally:
        await found.close()


async def ask(found: VllmEngine, folder: Path, text: str, adapter: Adapter | None = None) -> str:
    tokenizer = tokenizer_of(folder)
    prompt = Prompt(tokenizer.encode_text(text), tokenizer)
    stream = found.complete(prompt, Sampling(max_tokens=99), adapter)
    return "".join([delta.text async for delta in stream])


def standins(folder: Path) -> list[psutil.Process]:
    """Those that serve this folder, without the shells and supervisors over them."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if str(folder) in line and "serve" in line and line[1:2] == [line_of_standin()]:
            found.append(process)
    return found


def line_of_standin() -> str:
    return str(Path(__file__).parents[2] / "standin.py")


async def gone(folder: Path) -> None:
    async with asyncio.timeout(20):
        while standins(folder):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_the_command_line_says_everything_and_no_key() -> None:
    config = VllmConfig(dtype="bfloat16", context=4096, max_batch=64, max_adapters=4, max_rank=32)
    line = command(Path("/models/m"), "org/m", config, 8123)
    assert line[:3] == ["vllm", "serve", "/models/m"]
    options = " ".join(line[3:])
    assert options == (
        "--served-model-name org/m --host 127.0.0.1 --port 8123 --dtype bfloat16 "
        "--max-num-seqs 64 --max-model-len 4096 --generation-config vllm "
        "--enable-lora --max-loras 4 --max-lora-rank 32"
    )
    assert "--max-model-len" not in command(Path("/m"), "m", VllmConfig(), 1)
    assert environment("secret", {"PATH": "/bin"}) == {
        "PATH": "/bin",
        "VLLM_API_KEY": "secret",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_a_dtype_that_only_our_engine_makes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="dtype is 'int8'") as caught:
        VllmConfig(dtype="int8")
    assert caught.value.param == "dtype"


def test_without_vllm_one_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="vLLM is not installed") as caught:
        find_vllm()
    assert "`pip install vllm`" in caught.value.hint


async def test_it_starts_when_asked_answers_and_takes_adapters(
    folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter("mine", make_adapter(tmp_path / "a", folder, rank=32))
    async with engine(folder, logs=tmp_path / "logs") as found:
        assert standins(folder) == []
        await found.warm(adapter)
        assert await ask(found, folder, "Hello") == "org/m says: Hello"
        assert await ask(found, folder, "Hello", adapter) == "mine says: Hello"
        (process,) = standins(folder)
        assert "VLLM_API_KEY" in process.environ()
        assert process.environ()["VLLM_API_KEY"] not in " ".join(process.cmdline())
        (log,) = (tmp_path / "logs").iterdir()
        assert "words on standard error" in log.read_text()
    await gone(folder)


async def test_one_that_dies_fails_what_it_held_and_a_fresh_one_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter("mine", make_adapter(tmp_path / "a", folder))
    async with engine(folder) as found:
        assert await ask(found, folder, "Hello", adapter) == "mine says: Hello"
        with pytest.raises(EngineUnavailable, match="vLLM for org/m"):
            await ask(found, folder, "!exit-after 3")
        await gone(folder)
        assert await until_answered(found, folder, adapter) == "mine says: Again"


async def until_answered(found: VllmEngine, folder: Path, adapter: Adapter) -> str:
    """What a client that tries again gets: the process is dead before its death is known."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask(found, folder, "Again", adapter)
            except EngineUnavailable:
                await asyncio.sleep(0.05)


async def test_one_that_cannot_start_says_the_end_of_its_log(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    async with engine(folder) as found:
        for _ in range(MOST):
            with pytest.raises(EngineUnavailable, match="ended before it was ready") as caught:
                await found.warm()
            assert "Traceback" in caught.value.hint
        with pytest.raises(EngineUnavailable, match=f"started {MOST} times within 60 s") as last:
            await found.warm()
        assert "Traceback" in last.value.hint


async def test_one_that_is_not_ready_in_time_is_ended(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "vllm"
    program.write_text("#!/bin/sh\necho loading weights\nexec sleep 600\n")
    async with engine(folder, start_timeout_s=1.0) as found:
        with pytest.raises(EngineUnavailable, match="not ready after 1 s") as caught:
            await found.warm()
    assert "loading weights" in caught.value.hint


async def test_a_client_that_does_not_wait_leaves_the_start_to_the_others(
    folder: Path, tmp_path: Path
) -> None:
    slow = (tmp_path / "bin" / "vllm").read_text().replace("exec", "sleep 1; exec", 1)
    (tmp_path / "bin" / "vllm").write_text(slow)
    async with engine(folder) as found:
        impatient = asyncio.create_task(ask(found, folder, "Hello"))
        patient = asyncio.create_task(ask(found, folder, "Hello"))
        await asyncio.sleep(0.2)
        impatient.cancel()
        assert await patient == "org/m says: Hello"


async def test_one_that_is_closed_while_it_starts_leaves_nothing_behind(folder: Path) -> None:
    async with engine(folder) as found:
        starting = asyncio.create_task(found.warm())
        async with asyncio.timeout(20):
            while not standins(folder):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await starting
    await gone(folder)


async def test_a_closed_one_starts_nothing_more(folder: Path) -> None:
    async with engine(folder) as found:
        pass
    with pytest.raises(BaigongError, match="has been closed"):
        await found.warm()


def test_it_ends_when_this_process_is_killed(folder: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from baigong.inference.upstream.vllm import VllmConfig, VllmEngine

        async def main():
            engine = VllmEngine("m", Path(sys.argv[1]), VllmConfig())
            await engine.warm()
            print("ready", flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """)
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        assert len(standins(folder)) == 1
        owner.send_signal(signal.SIGKILL)
    finally:
        owner.kill()
        owner.communicate()
    deadline = time.monotonic() + 20
    while standins(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert standins(folder) == []
