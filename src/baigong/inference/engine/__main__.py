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

from baigong.errors import BaigongError, InvalidInput, Unsupported
from baigong.inference.engine import messages
from baigong.inference.engine.cache import Extents, room_for, token_bytes
from baigong.inference.engine.grammar import Grammars
from baigong.inference.engine.loop import Inbox, Loop
from baigong.inference.engine.messages import (
    Dtype,
    EngineConfig,
    ErrorReport,
    Failed,
    FromEngine,
    ModelFacts,
    Ready,
    ToEngine,
)
from baigong.inference.engine.native.model import NativeModel, library_for
from baigong.inference.engine.plain import Model, PlainModel
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import ModelConfig, is_own, read_fields

_decoder = msgspec.msgpack.Decoder(ToEngine)


def main() -> None:
    """Load the model, say so, and serve until the parent goes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl+C goes to the whole group; the parent decides
    # A thread that reads an adapter or compiles a grammar may hold a step up by this, not by 5 ms.
    sys.setswitchinterval(1e-4)
    wire = socket.socket(fileno=int(sys.argv[1]))
    config = msgspec.json.decode(sys.argv[3], type=EngineConfig, dec_hook=_path)
    inbox = Inbox()
    Thread(target=_read, args=(wire, inbox), daemon=True).start()

    def send(message: FromEngine) -> None:
        wire.sendall(messages.encode(message))

    try:
        with torch.inference_mode():
            folder = Path(sys.argv[2])
            model, facts = load(folder, config)
            grammars = Grammars(folder, facts.vocabulary)
            send(Ready(facts))
            Loop(model, config, inbox, send, grammars).run()
    except BaigongError as error:
        send(Failed(ErrorReport.of(error)))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent went while we were talking
    # At once: a thread that still reads an adapter must not keep a dead parent's engine alive.
    sys.stderr.flush()
    os._exit(0)


def _path(kind: type[Path], text: str) -> Path:
    return kind(text)


def load(folder: Path, config: EngineConfig) -> tuple[Model, ModelFacts]:
    """The model and what there is to know about them.

    Raises:
        Unsupported, InvalidInput: the model cannot be served; the message says why.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    fields, weights = read_fields(folder), Weights(folder)
    kind = config.dtype_for(weights.size)
    device = torch.device(_device(config))
    if not is_own(fields):
        return _load_foreign(folder, config, kind, device)
    shape = ModelConfig.read(folder)
    cached = torch.float32 if kind == "float32" else torch.bfloat16
    context = min(config.context or shape.context, shape.context)
    tokens = room_for(config, context, token_bytes(shape, cached))
    context = min(context, Extents(tokens).longest)
    shape = msgspec.structs.replace(shape, context=context)
    model = _model(shape, weights, kind, tokens, device, config)
    return model, _facts(model, tokens, kind)


def _load_foreign(
    folder: Path, config: EngineConfig, kind: Dtype, device: torch.device
) -> tuple[Model, ModelFacts]:
    # transformers takes seconds to import, and most models need none of it.
    from baigong.inference.engine import kinds  # noqa: PLC0415

    if kind in ("int8", "int4"):
        raise Unsupported(
            f"Weights as {kind} need the native forward pass, which does not know this architecture.",
            hint="Use bfloat16.",
        )
    model = kinds.load(folder, config, getattr(torch, kind), device)
    return model, _facts(model, model.cache.longest, kind)


def _facts(model: Model, tokens: int, kind: Dtype) -> ModelFacts:
    return ModelFacts(
        architecture=model.config.architecture,
        parameters=model.num_parameters,
        layers=model.config.layers,
        hidden_size=model.config.hidden_size,
        vocabulary=model.config.vocabulary,
        context=model.config.context,
        cache_tokens=tokens,
        dtype=kind,
        device=str(model.device),
        tasks=model.tasks,
        labels=model.labels,
    )


def _model(
    shape: ModelConfig,
    weights: Weights,
    kind: Dtype,
    tokens: int,
    device: torch.device,
    config: EngineConfig,
) -> Model:
    library = library_for(shape) if config.native and device.type == "cpu" else None
    if library is not None:
        threads = torch.get_num_threads()
        return NativeModel(shape, weights, kind, tokens, library, threads, config.packed)
    if kind in ("int8", "int4"):
        compiler = "Install a C++ compiler (g++ 12 or later), or use bfloat16."
        raise Unsupported(
            f"Weights as {kind} need the native forward pass, which is not to be had here.",
            hint=compiler if shape.is_ordinary else "Use bfloat16.",
        )
    return PlainModel(shape, weights, getattr(torch, kind), tokens, device)


def _device(config: EngineConfig) -> str:
    if config.device != "auto":
        if config.device == "cuda" and not torch.cuda.is_available():
            raise InvalidInput("There is no CUDA device.", hint='Use device "auto" or "cpu".')
        return config.device
    return "cuda" if torch.cuda.is_available() else "cpu"


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
