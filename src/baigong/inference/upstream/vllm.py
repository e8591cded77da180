"""`vllm serve` for a base on this machine: its command line, its life, and the upstream that it is."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

from baigong import compute
from baigong.compute import Finished
from baigong.errors import BaigongError, EngineUnavailable, InvalidInput, Unsupported
from baigong.inference.restarts import MOST, WINDOW_S, Restarts
from baigong.inference.upstream.server import Adapter, Prompt, Upstream
from baigong.inference.upstream.settings import UpstreamSettings
from baigong.types import Delta, Sampling

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
_TAIL_LINES = 40
_DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class VllmConfig:
    """How vLLM is started.

    Attributes:
        dtype: of weights; what vLLM takes of the settings', which is no int8 and no int4.
        context: most tokens of one sequence; 0 is what the model was made for.
        max_batch: most sequences in one step.
        max_adapters: adapters that may be in one step; others wait their turn.
        max_rank: the largest rank of an adapter.
        start_timeout_s: how long loading the model may take.
        logs: where it writes its log; None keeps the end of it in memory.
    """

    dtype: str = "auto"
    context: int = 0
    max_batch: int = 256
    max_adapters: int = 8
    max_rank: int = 64
    start_timeout_s: float = 1800.0
    logs: Path | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise InvalidInput(
                f"dtype is {self.dtype!r}, and vLLM does not make such weights of others.",
                hint=f"Use {', '.join(_DTYPES)}, or a model that was published in {self.dtype}.",
                param="dtype",
            )


def command(folder: Path, name: str, config: VllmConfig, port: int) -> list[str]:
    """The command line that serves a model folder under `name` on a port of loopback."""
    line = ["vllm", "serve", str(folder), "--served-model-name", name]
    line += ["--host", "127.0.0.1", "--port", str(port)]
    line += ["--dtype", config.dtype, "--max-num-seqs", str(config.max_batch)]
    if config.context:
        line += ["--max-model-len", str(config.context)]
    # What a request leaves out is ours to say, not the model's generation_config.json.
    line += ["--generation-config", "vllm"]
    line += ["--enable-lora", "--max-loras", str(config.max_adapters)]
    return [*line, "--max-lora-rank", str(config.max_rank)]


def environment(key: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of that command: the key is here, where no list of processes shows it."""
    return {
        **inherited,
        "VLLM_API_KEY": key,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def find_vllm() -> str:
    """Where the program is.

    Raises:
        Unsupported: it is not installed.
    """
    found = shutil.which("vllm")
    if found is None:
        raise Unsupported(
            "vLLM is not installed: there is no program `vllm` on the PATH.",
            hint="`pip install vllm`, here or in an environment of its own whose bin folder is on "
            "the PATH; or serve with `--engine own`.",
        )
    return found


class VllmEngine:
    """One base, served by a vLLM of its own (Remote); a fresh one is started when it has died."""

    def __init__(self, name: str, folder: Path, config: VllmConfig) -> None:
        self._name = name
        self._folder = folder
        self._config = config
        self._process: VllmProcess | None = None
        self._start: asyncio.Task[None] | None = None
        self._restarts = Restarts()
        self._last_words = ""
        self._is_closed = False

    @property
    def upstream(self) -> Upstream | None:
        """The latest one that was started."""
        return None if self._process is None else self._process.upstream

    async def complete(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None
    ) -> AsyncGenerator[Delta]:
        """Go on after a prompt.

        Raises:
            EngineUnavailable: it died, or does not start; the hint holds the end of its log.
            Unsupported, InvalidInput, ContextOverflow: as `Upstream.complete`.
        """
        upstream = await self._running()
        async with aclosing(upstream.complete(self._name, prompt, sampling, adapter)) as deltas:
            async for delta in deltas:
                yield delta

    async def warm(self, adapter: Adapter | None = None) -> None:
        """Start it, and load the adapter.

        Raises:
            EngineUnavailable, Unsupported: as `complete`.
        """
        upstream = await self._running()
        if adapter is not None:
            await upstream.add_adapter(adapter)

    async def close(self) -> None:
        """End it."""
        self._is_closed = True
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait([self._start])
        if self._process is not None:
            await self._process.close()

    async def _running(self) -> Upstream:
        if self._is_closed:
            raise EngineUnavailable(f"vLLM for {self._name} has been closed.")
        if self._process is None or not self._process.is_alive:
            if self._start is None or self._start.done():
                self._start = asyncio.create_task(self._fresh())
                self._start.add_done_callback(_seen)
            # Loading takes minutes: a client that does not wait for it must not end it for others.
            await asyncio.shield(self._start)
        assert self._process is not None
        return self._process.upstream

    async def _fresh(self) -> None:
        if self._process is not None:
            self._last_words = self._process.log_tail()
            await self._process.close()
            self._process = None
        if wait := self._restarts.wait_s():
            raise EngineUnavailable(
                f"vLLM for {self._name} was started {MOST} times within {WINDOW_S:.0f} s and died "
                f"again; the next try is in {wait:.0f} s.",
                hint=self._last_words,
            )
        self._restarts.note()
        try:
            self._process = await VllmProcess.start(self._name, self._folder, self._config)
        except EngineUnavailable as error:
            self._last_words = error.hint
            raise


def _seen(start: asyncio.Task[None]) -> None:
    """A start that failed when nobody waited for it any more is no mystery."""
    if not start.cancelled():
        start.exception()


class VllmEngines:
    """The engines by model folder."""

    def __init__(self, config: VllmConfig) -> None:
        self._config = config
        self._engines: dict[Path, VllmEngine] = {}

    def get(self, name: str, folder: Path) -> VllmEngine:
        """The engine of a base, not started before it is asked something."""
        if folder not in self._engines:
            self._engines[folder] = VllmEngine(name, folder, self._config)
        return self._engines[folder]

    def upstreams(self) -> list[Upstream]:
        """Those that have been started."""
        found = (engine.upstream for engine in self._engines.values())
        return [upstream for upstream in found if upstream is not None]

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))


class VllmProcess:
    """One life of a `vllm serve`, in a process group that cannot outlive this process."""

    def __init__(self, name: str, folder: Path, config: VllmConfig) -> None:
        find_vllm()
        port, key = _free_port(), secrets.token_urlsafe(32)
        settings = UpstreamSettings(
            url=f"http://127.0.0.1:{port}", kind="vllm", models={name: name}, adapters=True
        )
        self.upstream = Upstream(f"vLLM for {name}", settings, key=lambda: key)
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log = _log_file(folder, config)
        # Its log goes to both streams; as one they keep their order.
        line = ["sh", "-c", 'exec "$@" 2>&1', "sh", *command(folder, name, config, port)]
        self._life = asyncio.create_task(
            compute.run(line, name="vllm", on_line=self._noted, env=environment(key, os.environ))
        )
        self._life.add_done_callback(self._ended)

    @classmethod
    async def start(cls, name: str, folder: Path, config: VllmConfig) -> VllmProcess:
        """Start it and wait until it answers.

        Raises:
            EngineUnavailable: it died, or was not ready in time; the hint holds the end of its log.
            Unsupported: vLLM is not installed.
        """
        self = cls(name, folder, config)
        try:
            async with asyncio.timeout(config.start_timeout_s):
                await self._ready()
        except TimeoutError as error:
            await self.close()
            raise EngineUnavailable(
                f"vLLM for {name} was not ready after {config.start_timeout_s:.0f} s.",
                hint=self.log_tail(),
            ) from error
        except BaseException:
            await asyncio.shield(self.close())
            raise
        return self

    @property
    def is_alive(self) -> bool:
        return not self._life.done()

    def log_tail(self) -> str:
        """The end of what it has logged."""
        text = "\n".join(self._lines).strip()
        return f"The end of its log:\n{text}" if text else "It logged nothing."

    async def close(self) -> None:
        """End its process group, and wait until it is gone."""
        await self.upstream.close()
        self._life.cancel()
        await asyncio.wait([self._life])
        if self._log is not None:
            self._log.close()

    async def _ready(self) -> None:
        while self.is_alive:
            with suppress(BaigongError):  # not yet
                await self.upstream.check()
                return
            await asyncio.wait([self._life], timeout=_LOOK_EVERY_S)
        raise EngineUnavailable(
            f"{self.upstream.name} ended before it was ready.", hint=self.log_tail()
        )

    def _noted(self, line: str) -> None:
        self._lines.append(line)
        if self._log is not None:
            self._log.write(f"{line}\n")
            self._log.flush()

    def _ended(self, life: asyncio.Task[Finished]) -> None:
        if not life.cancelled() and (error := life.exception()) is not None:
            _log.warning("%s", error)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log_file(folder: Path, config: VllmConfig) -> IO[str] | None:
    if config.logs is None:
        return None
    config.logs.mkdir(parents=True, exist_ok=True)
    mark = sha256(str(folder).encode()).hexdigest()[:8]  # folders may share their last name
    return (config.logs / f"vllm-{folder.name}-{mark}.log").open("a", encoding="utf-8")
