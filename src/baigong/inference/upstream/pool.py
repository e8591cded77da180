"""All upstreams: who answers for a model, in which order they are asked, and how they are watched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from baigong.errors import BaigongError, EngineUnavailable, Overloaded, Unsupported
from baigong.inference.upstream.server import Adapter, Conversation, Prompt, Upstream
from baigong.inference.upstream.settings import UpstreamSettings
from baigong.inference.upstream.vllm import VllmEngines
from baigong.types import Delta, Sampling

PROBE_EVERY_S = 10.0
_BUILT_IN = "baigong/"  # a model of the package goes by its short name too


class UpstreamStatus(msgspec.Struct, frozen=True):
    """How an upstream is doing. `reason` says what went wrong last, `rests_s` when it is asked again."""

    name: str
    kind: str
    models: tuple[str, ...]
    is_well: bool
    reason: str
    rests_s: float
    checked_at: float | None
    adapters: tuple[str, ...]


class Remote(Protocol):
    """What answers for a base in the place of this machine's own engine."""

    def complete(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None
    ) -> AsyncGenerator[Delta]: ...

    async def warm(self, adapter: Adapter | None = None) -> None:
        """Make ready, so that the first question need not wait."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """The upstreams that serve one model, each with the name it has there (Remote)."""

    model: str
    upstreams: Sequence[tuple[Upstream, str]]
    random: random.Random

    def complete(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None
    ) -> AsyncGenerator[Delta]:
        """Go on after a prompt, at the first upstream that begins to answer.

        Raises:
            EngineUnavailable, Overloaded, Unsupported: none did.
            InvalidInput, ContextOverflow: one refused what was asked; the others would as well.
        """
        return self._ask(lambda upstream, name: upstream.complete(name, prompt, sampling, adapter))

    def chat(self, conversation: Conversation, sampling: Sampling) -> AsyncGenerator[Delta]:
        """Answer a conversation, at the first upstream that begins to.

        Raises:
            EngineUnavailable, Overloaded, Unsupported, InvalidInput: as `complete`.
        """
        return self._ask(lambda upstream, name: upstream.chat(name, conversation, sampling))

    async def warm(self, adapter: Adapter | None = None) -> None:
        """Load the adapter wherever it may be asked for.

        Raises:
            Unsupported, EngineUnavailable, Overloaded: one of them did not take it.
        """
        if adapter is not None:
            await asyncio.gather(*(up.add_adapter(adapter) for up, _ in self.upstreams))

    def order(self) -> list[tuple[Upstream, str]]:
        """Whom to ask, in turn: those that are well, drawn by weight; then, for want of better,
        the others, the one first that has rested most."""
        well = [one for one in self.upstreams if one[0].health.is_well]
        sick = [one for one in self.upstreams if not one[0].health.is_well]
        # An exponential clock each, running as fast as it is heavy: the first to ring is the
        # weighted draw, the second the draw among the rest.
        rings = {up.name: self.random.expovariate(up.settings.weight) for up, _ in well}
        well.sort(key=lambda one: rings[one[0].name])
        sick.sort(key=lambda one: one[0].health.rests_s)
        return well + sick

    async def _ask(
        self, ask: Callable[[Upstream, str], AsyncGenerator[Delta]]
    ) -> AsyncGenerator[Delta]:
        errors: list[BaigongError] = []
        for upstream, name in self.order():
            is_begun = False
            try:
                async with aclosing(ask(upstream, name)) as deltas:
                    async for delta in deltas:
                        is_begun = True
                        yield delta
                return
            except (EngineUnavailable, Overloaded, Unsupported) as error:
                if is_begun:  # the client has read a part: another answer would not go on from it
                    raise
                errors.append(error)
        raise min(errors, key=_order_of_use)


class Upstreams:
    """Every upstream that the settings name. Belongs to one event loop."""

    def __init__(
        self,
        settings: Mapping[str, UpstreamSettings],
        vllm: VllmEngines | None = None,
        *,
        random: random.Random = random.Random(),  # noqa: B008  nobody's secret
    ) -> None:
        self._upstreams = [Upstream(name, one) for name, one in settings.items()]
        self._vllm = vllm
        self._random = random
        self._watch: asyncio.Task[None] | None = None

    def of_base(self, name: str, folder: Path, *, has_adapter: bool) -> Remote | None:
        """What answers for a model of the hub: an upstream that is declared for it, or vLLM where
        that is this machine's engine; None is our own.

        What an upstream merely lists does not count: the same name may mean other weights there.
        """
        short = name.removeprefix(_BUILT_IN)
        found = [
            (upstream, theirs)
            for upstream in self._upstreams
            for ours, theirs in upstream.settings.models.items()
            if ours.removeprefix(_BUILT_IN) == short
            and (upstream.settings.adapters or not has_adapter)
        ]
        if found:
            return Route(name, found, self._random)
        return None if self._vllm is None else self._vllm.get(name, folder)

    def of_name(self, name: str) -> Route | None:
        """What answers for a model that is not here, by its own template and tokenizer."""
        found = [(up, theirs) for up in self._upstreams if (theirs := _theirs(up, name))]
        return Route(name, found, self._random) if found else None

    def models(self) -> dict[str, str]:
        """Every name that an upstream answers for, and the first upstream that does."""
        found: dict[str, str] = {}
        for upstream in self._upstreams:
            for name in _models(upstream):
                found.setdefault(name, upstream.name)
        return found

    def status(self) -> list[UpstreamStatus]:
        """How each of them is doing, as far as is known."""
        return [
            UpstreamStatus(
                name=up.name,
                kind=up.settings.kind,
                models=tuple(_models(up)),
                is_well=up.health.is_well,
                reason=up.health.reason,
                rests_s=round(up.health.rests_s, 1),
                checked_at=up.health.checked_at,
                adapters=up.adapters,
            )
            for up in [*self._upstreams, *(self._vllm.upstreams() if self._vllm else ())]
        ]

    async def probe(self) -> None:
        """Ask all of them how they are and what they serve."""
        await asyncio.gather(*(upstream.probe() for upstream in self._upstreams))

    async def watch(self) -> None:
        """Probe them now, and from then on until `close`."""
        if self._upstreams and self._watch is None:
            await self.probe()
            self._watch = asyncio.create_task(self._probe_on())

    async def close(self) -> None:
        """Let go of all of them, and end what this process has started."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        for upstream in self._upstreams:
            await upstream.close()
        if self._vllm is not None:
            await self._vllm.close()

    async def _probe_on(self) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            await self.probe()


def _models(upstream: Upstream) -> Mapping[str, str]:
    """Our names and its own: what the settings say, else what it lists."""
    return upstream.settings.models or {name: name for name in upstream.models}


def _theirs(upstream: Upstream, name: str) -> str | None:
    """What the upstream calls a model of ours. A Baigong has numbered releases behind each name."""
    models = _models(upstream)
    bare, at, number = name.partition("@")
    if name not in models and at and upstream.settings.kind == "baigong":
        return f"{models[bare]}@{number}" if bare in models else None
    return models.get(name)


def _order_of_use(error: BaigongError) -> int:
    """Which of several failures helps a caller most: when to come back, then that it may."""
    return (Overloaded, EngineUnavailable, Unsupported).index(
        next(
            kind for kind in (Overloaded, EngineUnavailable, Unsupported) if isinstance(error, kind)
        )
    )
