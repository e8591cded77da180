"""LoRA adapters of a model that transformers runs, put into it by PEFT."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from peft import PeftConfig, PeftModel

from baigong.errors import InvalidInput
from baigong.inference.engine.lora import LoraAdapter, read_settings
from baigong.inference.engine.weights import Weights


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ForeignAdapter(LoraAdapter):
    """An adapter that the model holds by `key`."""

    key: str


class ForeignAdapters:
    """The adapters inside one model, of which one or none is at work at a time.

    They are loaded in threads of their own, and change the model's modules: hence the lock.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._peft: PeftModel | None = None
        self._alive: WeakValueDictionary[str, ForeignAdapter] = WeakValueDictionary()
        self._keys = (f"adapter{number:06}" for number in itertools.count())
        self._lock = Lock()

    def load(self, name: str, folder: Path) -> ForeignAdapter:
        """Read a PEFT folder, and forget those that nobody uses any more.

        Raises:
            Unsupported: a kind of adapter other than plain LoRA, or pickled weights.
            InvalidInput: it does not fit this model.
        """
        read_settings(folder)
        Weights(folder, "adapter_model")
        key = next(self._keys)
        with self._lock:
            try:
                size = self._put(key, folder)
            except (ValueError, RuntimeError, KeyError) as error:
                self._drop(key)
                raise InvalidInput(
                    f"The adapter in {folder.name} was made for another base: {error}",
                    hint="Use the base it was trained on.",
                ) from error
            adapter = self._alive[key] = ForeignAdapter(name, (), size, key)
            for dead in set(self._held) - set(self._alive):
                self._drop(dead)
        return adapter

    @contextmanager
    def using(self, adapter: LoraAdapter | None) -> Iterator[None]:
        """The model with this adapter alone, or with none, for the length of the block."""
        with self._lock:
            if self._peft is None:
                yield
            elif isinstance(adapter, ForeignAdapter):
                self._peft.set_adapter(adapter.key)
                yield
            else:
                with self._peft.disable_adapter():
                    yield

    @property
    def _held(self) -> list[str]:
        return [] if self._peft is None else list(self._peft.peft_config)

    def _put(self, key: str, folder: Path) -> int:
        """Read it into the model; how many bytes it takes there."""
        if self._peft is None:
            # Kept before its weights are read, so that a bad file leaves something to drop it from.
            self._peft = PeftModel(self._model, PeftConfig.from_pretrained(folder), key)
        found = self._peft.load_adapter(folder, adapter_name=key)
        if found.missing_keys or found.unexpected_keys:
            raise ValueError(
                f"{[*found.missing_keys, *found.unexpected_keys][0]} has no counterpart"
            )
        parameters = self._peft.named_parameters()
        return sum(weight.nbytes for name, weight in parameters if f".{key}." in name)

    def _drop(self, key: str) -> None:
        if self._peft is not None and key in self._held:
            self._peft.delete_adapter(key)
