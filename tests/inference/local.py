"""An engine's loop inside the test, one step at a time, and the same model in transformers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from baigong.errors import BaigongError
from baigong.inference.engine.__main__ import load
from baigong.inference.engine.grammar import Grammars
from baigong.inference.engine.loop import Inbox, Loop
from baigong.inference.engine.messages import (
    AddAdapter,
    Done,
    EngineConfig,
    FromEngine,
    Rejected,
    RemoveAdapter,
    Rows,
    Step,
    Submit,
    ToEngine,
    Token,
)
from baigong.types import Sampling
from tests.models import make_tokenizer


class LocalEngine:
    """What the engine process runs, without the process; a model goes on by itself for `rounds`."""

    def __init__(
        self, folder: Path, grammars: Grammars | None = None, rounds: int = 1, **config: Any
    ) -> None:
        model, self.facts = load(folder, EngineConfig(**{"dtype": "float32"} | config))
        model.most_rounds = min(model.most_rounds, rounds)
        self.inbox = Inbox()
        grammars = grammars or Grammars(folder, self.facts.vocabulary)
        self.loop = Loop(model, EngineConfig(**config), self.inbox, self._take, grammars)
        self.cache = model.cache
        self.tokens: dict[int, list[int]] = defaultdict(list)
        self.news: dict[int, list[Token]] = defaultdict(list)
        self.reasons: dict[int, str] = {}
        self.errors: dict[int, BaigongError] = {}
        self.done: dict[int, FromEngine] = {}
        self.steps: list[Step] = []

    def submit(self, id: int, ids: list[int], max_tokens: int = 16, **options: Any) -> None:
        adapter, stop_ids = options.pop("adapter", None), options.pop("stop_ids", [])
        sampling = Sampling(max_tokens=max_tokens, **options)
        self.inbox.put(Submit(id, ids, sampling, stop_ids, adapter))

    def add_adapter(self, id: int, name: str, folder: Path) -> None:
        """Load it and wait for that; whatever else runs goes on meanwhile."""
        self.tell(AddAdapter(id, name, str(folder)))
        while id not in self.done and id not in self.errors:
            self.step()

    def remove_adapter(self, id: int, name: str) -> None:
        self.tell(RemoveAdapter(id, name))

    def tell(self, message: ToEngine) -> None:
        self.inbox.put(message)

    @torch.inference_mode()
    def step(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.loop.receive()
            self.loop.step()

    @torch.inference_mode()
    def finish(self, *ids: int) -> None:
        """Step until all of these have ended."""
        while not all(i in self.reasons or i in self.errors or i in self.done for i in ids):
            self.step()

    def run(self, id: int, ids: list[int], **options: Any) -> list[int]:
        self.submit(id, ids, **options)
        self.finish(id)
        return self.tokens[id]

    def _take(self, message: FromEngine) -> None:
        match message:
            case Step(tokens=tokens):
                self.steps.append(message)
                for token in tokens:
                    self.tokens[token.request].append(token.id)
                    self.news[token.request].append(token)
                    if token.finish_reason:
                        self.reasons[token.request] = token.finish_reason
            case Rejected(id=id, error=error):
                self.errors[id] = error.to_error()
            case Done() | Rows():
                self.done[message.id] = message


def save_model(folder: Path, kind: str, config: Any, seed: int = 0) -> Any:
    """A model of random weights as transformers' automatic class `kind` makes it, with a tokenizer."""
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, kind).from_config(config).eval()
    for parameter in model.parameters():  # far enough apart that no two answers are nearly equal
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.5 * parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return model


def transformers_tokens(
    folder: Path, ids: list[int], count: int = 16, adapter: Path | None = None
) -> list[int]:
    """Greedy answer of transformers, with PEFT where there is an adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    row = torch.tensor([ids])
    with torch.inference_mode():
        out = model.generate(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    tokens: list[int] = out[0, len(ids) :].tolist()
    return tokens
