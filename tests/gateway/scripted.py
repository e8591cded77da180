"""An engine that says what it is told to, for answers that a random model would never give."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from baigong.app import Platform
from baigong.config import Settings
from baigong.industry.serving import Serving
from baigong.inference.client import Engine, ModelFacts, Token
from baigong.inference.engines import Engines
from baigong.model.chat import ChatTokenizer
from baigong.types import Sampling
from tests.models import END, make_model
from tests.templates import FAMILIES, teach

FACTS = ModelFacts("scripted", 1, 1, 1, 300, 4096, 4096, "float32", "cpu")


class ScriptedEngine(Engine):
    """Says `script` and ends; keeps what it was asked. Its ids are those of the real tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = ChatTokenizer(folder)
        self.script = ""
        self.prompt = ""
        self.sampling = Sampling()
        self.said = 0

    @property
    def facts(self) -> ModelFacts:
        return FACTS

    async def bursts(
        self, ids: Sequence[int], sampling: Sampling, **_: Any
    ) -> AsyncGenerator[list[Token], None]:
        self.prompt = self._tokenizer.tokenizer.decode(list(ids), skip_special_tokens=False)
        self.sampling, self.said = sampling, 0
        answer = self._tokenizer.encode_text(self.script)
        for number, id in enumerate(answer, 1):
            self.said = number
            yield [Token(1, id, finish_reason="length" if number == sampling.max_tokens else None)]
        yield [Token(1, END, finish_reason="stop")]


class ScriptedEngines(Engines):
    """The scripted engine of each model."""

    def __init__(self) -> None:
        super().__init__()
        self._scripted: dict[Path, ScriptedEngine] = {}

    async def get(self, folder: Path) -> ScriptedEngine:
        return self._scripted.setdefault(folder, ScriptedEngine(folder))


@dataclass(frozen=True)
class Stage:
    """A platform with one model for each family of templates, `tests/FAMILY`."""

    platform: Platform

    @classmethod
    def open(cls, home: Path) -> Stage:
        platform = Platform.open(Settings(home=home, threads=1))
        for family in FAMILIES:
            folder = teach(make_model(home / family), family)
            platform.hub.add("model", f"tests/{family}", folder, {})
        engines = ScriptedEngines()
        serving = Serving(
            platform.hub,
            platform.releases,
            engines,
            platform.knowledge,
            platform.upstreams,
            platform.aliases,
        )
        return cls(replace(platform, engines=engines, serving=serving))

    def engine(self, family: str) -> ScriptedEngine:
        folder = self.platform.hub.get("model", f"tests/{family}").folder
        scripted = self.platform.engines._scripted
        return scripted.setdefault(folder, ScriptedEngine(folder))
