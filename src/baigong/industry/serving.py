"""From a name to an answer: resolve the release, find passages, fill the template, generate.

The gateway, the terminal and the evaluation all come through here, so what was measured is what
is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import NotFound, Unsupported
from baigong.evals.text import language_of
from baigong.hub.access import acting
from baigong.hub.hub import Hub, Revision
from baigong.hub.preset import Preset, preset_of
from baigong.industry.aliases import Alias, Aliases
from baigong.industry.citing import cite
from baigong.industry.embedder import HubEmbedders, sentence_vectors, static_embed
from baigong.industry.foreign import Answer, Foreign
from baigong.industry.grounding import NOT_FOUND, ground_prompt, inert
from baigong.industry.labelling import answers_of, label_text
from baigong.industry.releases import Content, Release, Releases
from baigong.industry.reranker import HubRankers
from baigong.inference.answer import read_answer
from baigong.inference.client import Engine, ModelFacts
from baigong.inference.engines import Engines
from baigong.inference.forced import forced_grammar
from baigong.inference.ranking import Ranked, rank
from baigong.inference.reasoning import Thoughts, effort_options, marks_of
from baigong.inference.static import is_static
from baigong.inference.text import stream_text
from baigong.inference.tools import Calls, style_of
from baigong.inference.upstream.pool import Remote, Upstreams
from baigong.inference.upstream.server import Adapter, Prompt
from baigong.knowledge.answer import find
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.followup import standalone
from baigong.knowledge.retrieve import Retriever
from baigong.model.chat import ChatTokenizer, tokenizer_of
from baigong.model.data_url import image_of
from baigong.tuning.examples.labelled import asked_text
from baigong.tuning.parity import Heard
from baigong.types import Delta, Embedders, Message, Passage, Rank, Row, Sampling, ToolUse


class ServedModel(msgspec.Struct, frozen=True):
    """A callable name, for listings."""

    name: str
    created_at: float
    owner: str
    release: int | None = None
    title: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Served:
    """Everything needed to answer under one name."""

    name: str
    base: Revision
    words: ChatTokenizer | None  # a model that only sees has none
    engines: Engines
    adapter: Revision | None = None
    content: Content | None = None
    knowledge: KnowledgeBases | None = None
    remote: Remote | None = None  # answers in the engine's place
    embedders: Embedders | None = None
    ranker: Rank | None = None
    preset: Preset | None = None

    @property
    def tokenizer(self) -> ChatTokenizer:
        """How its text becomes ids.

        Raises:
            Unsupported: it reads no text.
        """
        return self.words or tokenizer_of(self.base.folder)

    @property
    def defaults(self) -> Sampling:
        """What the recipe's `serve` or a preset says, for the fields that a caller leaves out."""
        said = Sampling()
        if self.content is not None:
            said = Sampling(
                max_tokens=self.content.max_tokens, temperature=self.content.temperature
            )
        return said if self.preset is None else self.preset.over(said)

    @property
    def fingerprint(self) -> str:
        """Which weights answer: equal fingerprints and seeds give equal answers."""
        adapter = f"-{self.adapter.revision[:12]}" if self.adapter is not None else ""
        return f"fp_{self.base.revision[:12]}{adapter}"

    def effort(self, effort: str) -> dict[str, Any]:
        """The template's options for a `reasoning_effort`.

        Raises:
            InvalidInput: the model cannot think, or cannot do without.
        """
        return effort_options(effort, self.tokenizer)

    async def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: ToolUse = ToolUse(),  # noqa: B008  frozen
        options: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer a conversation, with the passages that bear on its last question.

        Args:
            messages: the turns so far.
            sampling: how tokens are chosen; tools that are forced bring a grammar of their own.
            tools: what the model may or must call.
            options: variables of the chat template, such as `enable_thinking`.
        """
        question = _question(messages)
        passages, is_answered = await self._find(question)
        if self.content is not None and self.content.task == "grounded":
            if self.content.declines and not is_answered:
                return _declined(messages)
            messages = ground_prompt(messages, inert(passages, self.tokenizer))
        ids, say = self._prompt(messages, tools, options)
        citations = await asyncio.to_thread(cite, question, passages)
        return Answer(tuple(citations), ids, say(sampling), say)

    def generate(self, messages: Sequence[Message], sampling: Sampling) -> AsyncIterator[Delta]:
        """Answer exactly these messages: no passages are looked up (types.Generate)."""
        return self._prompt(messages, ToolUse())[1](sampling)

    def reply(self, row: Row, sampling: Sampling) -> AsyncIterator[Delta]:
        """Answer exactly a row's messages (evals.run.Ask)."""
        return self.generate(row.messages, sampling)

    def complete(self, prompt: str | Sequence[int], sampling: Sampling) -> Answer:
        """Go on with a text, without a template."""
        if isinstance(prompt, str):
            ids = self.tokenizer.encode_text(prompt, special=True)
        else:
            ids = list(prompt)
        return Answer((), ids, self._stream(ids, sampling), partial(self._stream, ids))

    async def embed(self, batches: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector for each list of token ids."""
        if is_static(self.base.folder):  # a table needs no engine
            embed = static_embed(self.base.folder, self.base.ref)
            vectors = await asyncio.to_thread(embed.of_ids, batches)
            rows: list[list[float]] = vectors.tolist()
            return rows
        engine = await self.engines.get(self.base.folder)
        return await engine.embed(batches)

    async def rank(self, query: str, documents: Sequence[str]) -> Ranked:
        """How well each document answers the query."""
        engine = await self.engines.get(self.base.folder)
        return await rank(engine, self.tokenizer, query, documents)

    async def classify(self, batches: Sequence[Sequence[int]]) -> list[list[float]]:
        """How likely each of the model's labels is for each list of token ids."""
        engine = await self.engines.get(self.base.folder)
        return await engine.classify(batches)

    async def look(self, images: Sequence[bytes]) -> list[list[float]]:
        """How likely each of the model's labels is for each image."""
        engine = await self.engines.get(self.base.folder)
        return await engine.look(images)

    async def facts(self) -> ModelFacts:
        """What the model is and can do."""
        return (await self.engines.get(self.base.folder)).facts

    async def warm(self) -> None:
        """Start the engine and load the adapter, so that the first question need not wait."""
        if self.remote is not None:
            await self.remote.warm(self._adapter)
        else:
            await self.engine()

    async def heard(self, ids: Sequence[int], max_tokens: int) -> Heard:
        """How the engine itself reads `ids`, for the parity check: an upstream tells text."""
        engine, name = await self.engine()
        sampling = Sampling(max_tokens=max_tokens, logprobs=0, scores_prompt=True)
        stop_ids = sorted(self.tokenizer.eos_ids)
        stream = engine.generate(ids, sampling, adapter=name, stop_ids=stop_ids)
        tokens = [token async for token in stream]
        # The first score is that of the second token.
        return Heard([token.id for token in tokens], [s.logprob for s in tokens[0].prompt])

    async def engine(self) -> tuple[Engine, str | None]:
        """The base's engine and the adapter's name in it; loading one again costs nothing."""
        engine = await self.engines.get(self.base.folder)
        if self.adapter is None:
            return engine, None
        await engine.add_adapter(self.adapter.revision, self.adapter.folder)
        return engine, self.adapter.revision

    @property
    def _adapter(self) -> Adapter | None:
        """The adapter as an upstream is given it."""
        if self.adapter is None:
            return None
        return Adapter(self.adapter.revision, self.adapter.folder)

    def _prompt(
        self, messages: Sequence[Message], use: ToolUse, options: Mapping[str, Any] | None = None
    ) -> tuple[list[int], Callable[[Sampling], AsyncIterator[Delta]]]:
        """The prompt's ids, and what makes an answer to it, thoughts and calls taken apart."""
        if answers_of(self.base.folder) != "text":
            return self._labelled(asked_text(messages))
        tokenizer = self.tokenizer
        style = style_of(tokenizer) if use.tools else None
        turns = self._with_persona(messages)
        prompt = tokenizer.render(turns, tools=use.tools, options=options)
        ids = tokenizer.encode_text(prompt)
        marks = marks_of(tokenizer.template_text)
        shown = tokenizer.shown([*(marks or ()), *(style.marks if style else ())])

        def say(sampling: Sampling) -> AsyncIterator[Delta]:
            thoughts = None if marks is None else Thoughts(marks, prompt)
            calls = None if style is None else Calls(style, [tool.name for tool in use.tools])
            if style is not None and use.forced:
                grammar = forced_grammar(style, use, thoughts, tokenizer)
                sampling = msgspec.structs.replace(sampling, grammar=grammar)
            deltas = self._stream(ids, sampling, shown)
            if thoughts is None and calls is None:
                return deltas
            return read_answer(deltas, thoughts, calls, is_parallel=use.is_parallel)

        return ids, say

    def _labelled(self, text: str) -> tuple[list[int], Callable[[Sampling], AsyncIterator[Delta]]]:
        """The same of a model that does not write: its answer is a label, or a number, as text."""
        ids = [] if self.words is None else self.words.encode_text(text, special=True)

        async def say(_: Sampling) -> AsyncGenerator[Delta]:
            answers = answers_of(self.base.folder)
            if answers is None:
                raise Unsupported(
                    f"The model '{self.name}' cannot write: it makes vectors, or ranks.",
                    hint="Ask /v1/embeddings or /v1/rerank.",
                    param="model",
                )
            labels = tuple((await self.facts()).labels)
            sees = self.words is None
            rows = await (self.look([image_of(text)]) if sees else self.classify([ids]))
            yield Delta(label_text(answers, labels, rows[0]), 1, finish_reason="stop")

        return ids, say

    async def _stream(
        self, ids: list[int], sampling: Sampling, shown: Mapping[int, str] | None = None
    ) -> AsyncGenerator[Delta]:
        if self.remote is not None:
            prompt = Prompt(ids, self.tokenizer, bool(shown))
            deltas = self.remote.complete(prompt, sampling, self._adapter)
        else:
            engine, name = await self.engine()
            deltas = stream_text(engine, self.tokenizer, ids, sampling, name, shown)
        async with aclosing(
            deltas
        ):  # a caller that goes away frees the slot now, not at a collection
            async for delta in deltas:
                yield delta

    async def _find(self, question: str) -> tuple[list[Passage], bool]:
        """The passages that bear on a question, and whether they answer it."""
        content = self.content
        if content is None or content.knowledge is None or self.knowledge is None:
            return [], False
        if not question.strip():
            return [], False
        name = f"{content.knowledge}@{content.knowledge_version}"
        retrieve = Retriever(self.knowledge, name, self.embedders, rank=self.ranker)
        if content.task != "grounded":  # they are shown beside an answer that does not need them
            return await retrieve(question, content.passages), True
        return await find(retrieve, question, content.passages, sentence_vectors)

    def _with_persona(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self.preset is not None:
            messages = self.preset.before(messages)
        persona = self.content.persona if self.content is not None else None
        if not persona or any(message.role == "system" for message in messages):
            return messages
        return [Message("system", persona), *messages]


class Serving:
    """Resolves names to what answers them."""

    def __init__(
        self,
        hub: Hub,
        releases: Releases,
        engines: Engines,
        knowledge: KnowledgeBases,
        upstreams: Upstreams,
        aliases: Aliases,
    ) -> None:
        self.embedders = HubEmbedders(hub, engines)
        self.rankers = HubRankers(hub, engines)
        self._hub = hub
        self._releases = releases
        self._engines = engines
        self._knowledge = knowledge
        self._upstreams = upstreams
        self._aliases = aliases

    def open(self, name: str, *, is_base: bool = False) -> Served:
        """What answers `name`: a live release, a numbered one, an alias, or a model of the hub.

        Args:
            name: what was asked for.
            is_base: a preset stands on it, so that it must not stand on another itself.

        Raises:
            NotFound: nothing has this name; near names are suggested.
            Unsupported: only an upstream has it, or it is a preset of a preset.
        """
        if (alias := self._aliases.find(name)) is not None:
            return self._of_alias(alias)
        bare, _, number = name.partition("@")
        if bare in self._releases.live() or number.isdigit():
            return self.of_release(self._releases.get(name))
        try:
            found = self._hub.get("model", name, acting.get())
        except NotFound as error:
            if name in self._upstreams.models():
                raise Unsupported(
                    f"The model '{name}' is not here: an upstream answers for it, chats alone.",
                    hint="Ask /v1/chat/completions, or bring its files here with `baigong pull`.",
                    param="model",
                ) from error
            known = [model.name for model in self.models()]
            raise NotFound.among("model", name, known, param="model") from error
        preset = preset_of(found.folder)
        if preset is None:
            return self._of_model(name, found)
        if not preset.base:
            return replace(self._of_model(name, found), preset=preset)
        if is_base:
            raise Unsupported(f"'{name}' is a preset of '{preset.base}', so no other stands on it.")
        return replace(self.open(preset.base, is_base=True), name=name, preset=preset)

    def open_chat(self, name: str) -> Served | Foreign:
        """What answers chats under `name`: as `open`, or else an upstream's own model.

        Raises:
            NotFound: nothing has this name; near names are suggested.
        """
        try:
            return self.open(name)
        except (NotFound, Unsupported):
            route = self._upstreams.of_name(name)
            if route is None:
                raise
            return Foreign(name, route)

    def of_release(self, release: Release) -> Served:
        return self.of_content(release.ref, release.content)

    def of_content(self, name: str, content: Content) -> Served:
        """What would answer if this content were released."""
        base = self._hub.get("model", content.base)
        adapter = self._hub.get("model", content.adapter) if content.adapter else None
        return Served(
            name,
            base,
            _words(base.folder),
            self._engines,
            adapter,
            content,
            self._knowledge,
            self._upstreams.of_base(base.name, base.folder, has_adapter=adapter is not None),
            self.embedders,
            self.rankers(content.rerank) if content.rerank else None,
        )

    def _of_model(self, name: str, found: Revision) -> Served:
        if found.is_adapter:
            return self._of_adapter(name, found)
        remote = self._upstreams.of_base(found.name, found.folder, has_adapter=False)
        return Served(name, found, _words(found.folder), self._engines, remote=remote)

    def _of_alias(self, alias: Alias) -> Served:
        if alias.release is None:
            assert alias.adapter is not None
            return self._of_adapter(alias.name, self._hub.get("model", alias.adapter))
        release = self._releases.get(alias.release)
        # Whoever may not ask the base may not ask what a user has tuned of it.
        self._hub.get("model", release.content.base, acting.get())
        return replace(self.of_release(release), name=alias.name)

    def _of_adapter(self, name: str, adapter: Revision) -> Served:
        """An adapter of the hub on the base that it was made for."""
        try:
            base = self._hub.get("model", adapter.base, acting.get())
        except NotFound as error:
            raise NotFound(
                f"'{name}' is an adapter for '{adapter.base}', which is not here.",
                hint=f"Bring it here with `baigong pull {adapter.base}`.",
                param="model",
            ) from error
        remote = self._upstreams.of_base(base.name, base.folder, has_adapter=True)
        words = tokenizer_of(base.folder)
        return Served(name, base, words, self._engines, adapter, remote=remote)

    def live(self) -> list[str]:
        """Names that a live release answers to."""
        return list(self._releases.live())

    def models(self) -> list[ServedModel]:
        """Live releases first, then aliases of releases, foundation models, and those that only
        upstreams have. A release that is called by an alias is not listed twice."""
        live, aliases = self._releases.live(), self._aliases.releases()
        called = {alias.release for alias in aliases}
        listed = [
            ServedModel(r.name, r.created_at, "baigong", r.number, r.content.title)
            for r in self._releases.history()
            if live.get(r.name) == r.number and r.ref not in called
        ]
        listed += [ServedModel(alias.name, alias.created_at, "baigong") for alias in aliases]
        seen = {model.name for model in listed}
        for one in self._hub.all("model", acting.get()):
            short = one.name.removeprefix("baigong/")
            if short not in seen and one.about.is_model:
                seen.add(short)
                listed.append(ServedModel(short, one.changed_at, one.name.partition("/")[0]))
        for name, upstream in self._upstreams.models().items():
            if name not in seen and name.removeprefix("baigong/") not in seen:
                seen.add(name)
                listed.append(ServedModel(name, 0.0, upstream))
        return listed


def _words(folder: Path) -> ChatTokenizer | None:
    """A model's tokenizer; None where it only sees."""
    return tokenizer_of(folder) if (folder / "tokenizer.json").exists() else None


def _question(messages: Sequence[Message]) -> str:
    return standalone([message.content for message in messages if message.role == "user"])


def _declined(messages: Sequence[Message]) -> Answer:
    """No passage answers, so that no model is asked: it could only guess, or be led by them."""
    text = NOT_FOUND[language_of(messages[-1].content)]
    return Answer((), (), _say(text), lambda _: _say(text))


async def _say(text: str) -> AsyncGenerator[Delta]:
    yield Delta(text, finish_reason="stop")
