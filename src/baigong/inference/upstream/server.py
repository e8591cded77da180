"""One upstream: asked for text, given adapters, probed."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from baigong.errors import (
    BaigongError,
    ContextOverflow,
    EngineUnavailable,
    InvalidInput,
    Unsupported,
)
from baigong.inference.text import check_sampling
from baigong.inference.upstream.answers import Scoring, read
from baigong.inference.upstream.dialect import DIALECTS
from baigong.inference.upstream.health import Health
from baigong.inference.upstream.settings import UpstreamSettings
from baigong.inference.upstream.wire import Unknown, Wire
from baigong.model.chat import ChatTokenizer
from baigong.types import Delta, Message, Sampling, ToolUse

_log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
MOST_ADAPTERS = 64  # loaded in one upstream by us; those asked for longest ago go first


class Adapter(NamedTuple):
    """LoRA weights by a name that is theirs alone, and the folder that holds them."""

    name: str
    folder: Path


class Prompt(NamedTuple):
    """A prompt in token ids, whose they are, and whether special tokens are text in the answer."""

    ids: Sequence[int]
    tokenizer: ChatTokenizer
    shows_special: bool = False


class Conversation(NamedTuple):
    """A prompt for a server that has the template and the tokenizer itself."""

    messages: Sequence[Message]
    tools: ToolUse = ToolUse()
    options: dict[str, Any] = {}  # noqa: RUF012  fields of the request, passed on as they are


class Upstream:
    """One server. Belongs to the event loop of its first request.

    Attributes:
        models: what it lists itself, each with its context in tokens where it says that.
    """

    def __init__(
        self,
        name: str,
        settings: UpstreamSettings,
        *,
        key: Callable[[], str | None] | None = None,
        health: Health | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.dialect = DIALECTS[settings.kind]
        self.health = health or Health()
        self.models: dict[str, int | None] = {}
        self._wire = Wire(name, settings.url, settings.timeouts, key or self._key)
        self._adapters: OrderedDict[str, Path] = OrderedDict()
        self._adding = asyncio.Lock()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of those that were loaded into it."""
        return tuple(self._adapters)

    def complete(
        self, model: str, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None
    ) -> AsyncGenerator[Delta]:
        """Go on after a prompt; closing the iterator aborts the work there too.

        Raises:
            EngineUnavailable, Overloaded, Unsupported, InvalidInput, ContextOverflow: as
                `Wire.stream`; a sampling field may be out of range or unknown to this kind of server.
        """
        check_sampling(sampling)
        sampling = self._fit(model, len(prompt.ids), sampling)
        body = {
            "model": model,
            "prompt": list(prompt.ids),
            **self.dialect.body(sampling, self.name, is_whole=True),
            **self._streamed(),
        }
        if self.dialect.takes_ids:
            body["stop_token_ids"] = sorted(prompt.tokenizer.eos_ids)
            body["skip_special_tokens"] = not prompt.shows_special
        elif prompt.shows_special:
            raise Unsupported(
                f"The upstream '{self.name}' cannot show the marks of thoughts and tool calls.",
                hint="Serve this model with vLLM or SGLang, or with this machine's own engine.",
            )
        if sampling.max_tokens == 0:
            return _nothing()
        scores = None
        if sampling.logprobs is not None:
            scores = Scoring(prompt.tokenizer, sampling.logprobs, bool(sampling.stop))
        if adapter is None:
            return self._deltas("/v1/completions", body, scores)
        body[self.dialect.adapter_field] = adapter.name
        return self._adapted(body, adapter, scores)

    def chat(
        self, model: str, conversation: Conversation, sampling: Sampling
    ) -> AsyncGenerator[Delta]:
        """Answer a conversation with the server's own template, and its defaults where none is said.

        Raises:
            EngineUnavailable, Overloaded, Unsupported, InvalidInput, ContextOverflow: as `complete`.
        """
        plain = Sampling()
        check_sampling(
            msgspec.structs.replace(
                sampling,
                max_tokens=plain.max_tokens if sampling.max_tokens < 0 else sampling.max_tokens,
                temperature=max(0.0, sampling.temperature),
            )
        )
        body = {
            "model": model,
            "messages": [_turn(message) for message in conversation.messages],
            **_tool_fields(conversation.tools),
            **self.dialect.body(sampling, self.name, is_whole=False),
            **conversation.options,
            **self._streamed(),
        }
        return self._deltas("/v1/chat/completions", body)

    async def add_adapter(self, adapter: Adapter) -> None:
        """Load an adapter through the server's own endpoint; again costs nothing.

        Raises:
            Unsupported: the server cannot load it; the message says why.
            EngineUnavailable, Overloaded: as `complete`.
        """
        if adapter.name in self._adapters:  # nobody waits here while another is being loaded
            self._adapters.move_to_end(adapter.name)
            return
        async with self._adding:
            if adapter.name in self._adapters:
                return
            if not self.dialect.load:
                raise Unsupported(
                    f"The upstream '{self.name}' ({self.settings.kind}) loads no adapters.",
                    hint="Serve this release's base with vLLM or SGLang.",
                )
            await self._load(adapter)
            self._adapters[adapter.name] = adapter.folder
            while len(self._adapters) > MOST_ADAPTERS:
                await self.remove_adapter(next(iter(self._adapters)))

    async def remove_adapter(self, name: str) -> None:
        """Let the server forget an adapter; one that it does not know is forgotten already."""
        self._adapters.pop(name, None)
        try:
            await self._wire.post(
                self.dialect.unload, {"lora_name": name}, self.settings.timeouts.first_token
            )
        except BaigongError as error:
            _warn(error)  # it stays loaded, which costs the server some memory

    async def probe(self) -> None:
        """Ask whether it is well and what it serves; `health` knows afterwards."""
        try:
            await self.check()
        except BaigongError as error:
            if not self.health.reason:
                _warn(error)
            self.health.probed(error.message)
            return
        if self.health.probed():
            _log.info("The upstream '%s' is back.", self.name)
            self._adapters.clear()  # it may have been started afresh

    async def check(self) -> None:
        """See that it is well, and learn what it serves.

        Raises:
            BaigongError: it is not.
        """
        if self.dialect.health:
            await self._wire.get(self.dialect.health, PROBE_TIMEOUT_S)
        await self._discover()

    async def close(self) -> None:
        """Let go of all connections; what is open fails."""
        await self._wire.close()

    def _key(self) -> str | None:
        source = self.settings.key
        try:
            return None if source is None else source.read()
        except InvalidInput as error:
            raise EngineUnavailable(
                f"The upstream '{self.name}' needs a key. {error.message}", hint=error.hint
            ) from error

    def _streamed(self) -> dict[str, Any]:
        return {"stream": True, "stream_options": self.dialect.stream_options}

    def _fit(self, model: str, prompt: int, sampling: Sampling) -> Sampling:
        """With no more tokens than the context has room for, as far as the server tells it."""
        context = self.models.get(model)
        if context is None:
            return sampling
        room = context - prompt
        if room < 1:
            limit = f"the upstream '{self.name}' takes {context}"
            raise ContextOverflow.of(prompt, context, limit=limit)
        return msgspec.structs.replace(sampling, max_tokens=min(sampling.max_tokens, room))

    async def _adapted(
        self, body: dict[str, Any], adapter: Adapter, scores: Scoring | None
    ) -> AsyncGenerator[Delta]:
        """The answer of an adapter; a server that was started afresh is given it again, once."""
        for is_last in (False, True):
            await self._noting(self.add_adapter(adapter))
            try:
                async with aclosing(self._deltas("/v1/completions", body, scores)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except (Unknown, InvalidInput) as error:
                if is_last or not (isinstance(error, Unknown) or adapter.name in str(error)):
                    raise
                self._adapters.pop(adapter.name, None)

    async def _deltas(
        self, path: str, body: dict[str, Any], scores: Scoring | None = None
    ) -> AsyncGenerator[Delta]:
        """The stream as deltas, its end or its failure noted in `health`."""
        try:
            async with aclosing(read(self.name, self._wire.stream(path, body), scores)) as deltas:
                async for delta in deltas:
                    if delta.finish_reason is not None:
                        self.health.answered()
                    yield delta
        except Unknown:
            raise  # it is well, and merely lacks a name
        except EngineUnavailable as error:
            self._failed(error)
            raise

    async def _load(self, adapter: Adapter) -> None:
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        try:
            await self._wire.post(self.dialect.load, body, self.settings.timeouts.first_token)
        except Unknown as error:
            raise Unsupported(
                f"The upstream '{self.name}' loads no adapters, or does not see their folder.",
                hint="vLLM needs --enable-lora, VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and this home's "
                f"cache folder at the same path. {error.hint}",
            ) from error
        except InvalidInput as error:
            if "already" not in error.message:
                raise Unsupported(
                    f"The upstream '{self.name}' cannot load the adapter.", hint=error.message
                ) from error

    async def _noting(self, work: Any) -> None:
        try:
            await work
        except EngineUnavailable as error:
            self._failed(error)
            raise

    def _failed(self, error: EngineUnavailable) -> None:
        _warn(error)
        self.health.failed(error.message)

    async def _discover(self) -> None:
        try:
            found = await self._wire.get("/v1/models", PROBE_TIMEOUT_S)
        except Unknown:
            if not self.settings.models:
                raise
            return  # it lists none; what the settings name stands
        listed = found.get("data") if isinstance(found, dict) else None
        cards = [card for card in listed or () if isinstance(card, dict) and "id" in card]
        ours = {card["id"] for card in cards if card.get("parent")} | set(self._adapters)
        self.models = {str(card["id"]): _context(card) for card in cards if card["id"] not in ours}


def _warn(error: BaigongError) -> None:
    """For the operator: the failure, and what the server or the system said of it."""
    _log.warning("%s", " ".join([error.message, *getattr(error, "__notes__", ())]))


def _context(card: dict[str, Any]) -> int | None:
    """The context that vLLM and SGLang tell of a model."""
    context = card.get("max_model_len")
    return context if isinstance(context, int) and context > 0 else None


async def _nothing() -> AsyncGenerator[Delta]:
    """The answer of no tokens."""
    yield Delta(finish_reason="length")


def _turn(message: Message) -> dict[str, Any]:
    """A message in OpenAI's words."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.reasoning:
        found["reasoning_content"] = message.reasoning
    return found


def _tool_fields(use: ToolUse) -> dict[str, Any]:
    if not use.tools:
        return {}
    tools = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in use.tools]
    choice: Any = "auto"
    if len(use.forced) == 1:
        choice = {"type": "function", "function": {"name": use.forced[0]}}
    elif use.forced:
        choice = "required"
    fields = {"tools": tools, "tool_choice": choice}
    return fields if use.is_parallel else {**fields, "parallel_tool_calls": False}
