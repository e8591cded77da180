"""The engine process: `python -m baigong.inference.engine FD FOLDER CONFIG`, started by a client.

FD is an inherited socket. When its other end closes, for whatever reason, this process ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from threading import Thread

import msgspec
import torch

from baigong.errors import BaigongError, InvalidInput
from baigong.inference.engine import messages
from baigong.inference.engine.cache import ArenaCache, token_bytes
from baigong.inference.engine.config import ModelConfig
from baigong.inference.engine.decoder import Decoder
from baigong.inference.engine.grammar import Grammars
from baigong.inference.engine.loop import Inbox, Loop, choose_dtype
from baigong.inference.engine.messages import (
    EngineConfig,
    ErrorReport,
    Failed,
    FromEngine,
    ModelFacts,
    Ready,
    ToEngine,
)
from baigong.inference.engine.weights import Weights

_decoder = msgspec.msgpack.Decoder(ToEngine)


def main() -> None:
    """Load the model, say so, and serve until the parent goes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl+C goes to the whole group; the parent decides
    wire = socket.socket(fileno=int(sys.argv[1]))
    config = msgspec.json.decode(sys.argv[3], type=EngineConfig)
    inbox = Inbox()
    Thread(target=_read, args=(wire, inbox), daemon=True).start()

    def send(message: FromEngine) -> None:
        wire.sendall(messages.encode(message))

    try:
        with torch.inference_mode():
            folder = Path(sys.argv[2])
            decoder, cache, facts = load(folder, config)
            grammars = Grammars(folder, facts.vocabulary)
            send(Ready(facts))
            Loop(decoder, cache, config, inbox, send, grammars).run()
    except BaigongError as error:
        send(Failed(ErrorReport.of(error)))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent went while we were talking
    # At once: a thread that still reads an adapter must not keep a dead parent's engine alive.
    sys.stderr.flush()
    os._exit(0)


def load(folder: Path, config: EngineConfig) -> tuple[Decoder, ArenaCache, ModelFacts]:
    """The model, its cache, and what there is to know about them.

    Raises:
        Unsupported, InvalidInput: the model cannot be served; the message says why.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    model = ModelConfig.read(folder)
    weights = Weights(folder)
    dtype = choose_dtype(config, weights.size)
    device = torch.device(_device(config))
    tokens = config.cache_tokens or config.cache_mb * 2**20 // token_bytes(model, dtype)
    # No more than the largest batch can use, nor less than one short sequence.
    context = min(config.context or model.context, model.context)
    tokens = max(64, min(tokens, config.max_batch * _power_of_two(context)))
    cache = ArenaCache(model, tokens, dtype, device)
    context = min(context, cache.longest)
    model = msgspec.structs.replace(model, context=context)
    decoder = Decoder(model, weights, dtype, device)
    facts = ModelFacts(
        architecture=model.architecture,
        parameters=decoder.num_parameters,
        layers=model.layers,
        hidden_size=model.hidden_size,
        vocabulary=model.vocabulary,
        context=context,
        cache_tokens=tokens,
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
    )
    return decoder, cache, facts


def _device(config: EngineConfig) -> str:
    if config.device != "auto":
        if config.device == "cuda" and not torch.cuda.is_available():
            raise InvalidInput("There is no CUDA device.", hint='Use device "auto" or "cpu".')
        return config.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _read(wire: socket.socket, inbox: Inbox) -> None:
    """Turn what comes in into messages; the end of it into None."""
    frames = messages.Frames()
    try:
        while data := wire.recv(1 << 16):
            for body in frames.feed(data):
                inbox.put(_decoder.decode(body))
    finally:
        inbox.put(None)


if __name__ == "__main__":
    main()
