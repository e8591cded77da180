"""Models are made: from others with words of their own, from uploaded files, as copies; and deleted."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baigong.app import Platform
from baigong.errors import BaigongError, InvalidInput, NotFound
from baigong.gateway.blobs import receive
from baigong.gateway.bodies import refused
from baigong.gateway.commits import commit
from baigong.gateway.doors.ollama.listing import Named
from baigong.gateway.doors.ollama.requests import Turn, conversation, sampling_of
from baigong.gateway.doors.ollama.wire import called, line, opened, target
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import Forbidden, json_reply
from baigong.hub.about import CARD
from baigong.hub.access import Actor
from baigong.hub.commits import Change, Lost, Put, Ref, Remove, Words
from baigong.hub.hub import TEXT_BYTES
from baigong.hub.manifest import Entry
from baigong.hub.preset import PRESET, TAG, Preset, preset_file
from baigong.hub.pull import pull
from baigong.industry.serving import Served
from baigong.types import Message

_MOST_BYTES = 1 << 40  # of a blob
_SHA256 = "sha256:"
_GGUF = ".gguf"


class New(Named, frozen=True, kw_only=True):
    """What to make. Files and adapters are names with the digests of blobs."""

    from_: str = msgspec.field(name="from", default="")
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None
    messages: list[Turn] | None = None
    quantize: str | None = None
    stream: bool | None = None

    def preset(self) -> Preset:
        """What it says beside whose weights it has.

        Raises:
            InvalidInput: it says what cannot be kept.
        """
        if self.template:
            hint = "Its tokenizer's template is used; leave it out."
            raise refused("template", "template: a model keeps its own.", hint)
        if self.quantize:
            hint = "The server's setting `dtype` says how weights are held in memory."
            raise refused("quantize", "quantize: models are kept as they are.", hint)
        turns = conversation(self.messages or [], looks=False)
        if self.system:
            turns.insert(0, Message("system", self.system))
        return Preset("", tuple(turns), sampling_of(self.parameters or {}))


class Copy(msgspec.Struct, frozen=True):
    source: str
    destination: str


class MakingApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._hub = platform.hub

    def create(self, request: Request, new: New) -> Response:
        """A model, at once: its steps are told when they are done."""
        actor = actor_of(request)
        name, tag = target(self._platform, new.asked, actor)
        preset, private = new.preset(), False
        gguf = next((file for file in new.files or {} if file.endswith(_GGUF)), "")
        changes, facts = self._files({**(new.files or {}), **(new.adapters or {})}, actor), {}
        if gguf and new.files:
            self._of_gguf(name, new.files[gguf], actor)
            changes = []
        elif new.from_:
            served = opened(self._platform, new.from_, called(self._platform, new.from_, actor))
            preset, base, private = _derived(served, preset), served.base.ref, self._hides(served)
            if new.adapters:  # they are its own, so that it stands on nothing else
                preset, facts = msgspec.structs.replace(preset, base=""), {"base": base}
        elif not changes:
            raise InvalidInput("Neither 'from' nor 'files' says what to make it of.", param="from")
        changes += self._said(name, new, preset)
        words = Words(f"Create {name}", actor.user, facts=facts)
        self._keep(name, tag, changes, actor, words, replaces=not gguf, private=private)
        steps = [{"status": "writing manifest"}, {"status": "success"}]
        if new.stream is False:
            return json_reply(steps[-1])
        return Response(b"".join(map(line, steps)), media_type="application/x-ndjson")

    def copy(self, request: Request, body: Copy) -> Response:
        """The same files under another name; of a release or a built-in model a preset."""
        actor = actor_of(request)
        name, tag = target(self._platform, body.destination, actor)
        source = called(self._platform, body.source, actor)
        bare, _, revision = source.partition("@")
        try:
            one = self._hub.repositories.seen("model", bare, actor)
        except NotFound:
            served = opened(self._platform, body.source, source)
            preset, private = Preset(_lasting(served)), self._hides(served)
            changes = self._said(name, New(), preset)
        else:
            self._hub.admissions.check(one, actor)
            private = one.private
            at = self._hub.commits.resolve(one.id, revision or "main")
            files = self._hub.commits.files(at)
            changes = [Put(path, entry) for path, entry in files.items()]
        words = Words(f"Copy {source}", actor.user)
        self._keep(name, tag, changes, actor, words, private=private)
        return Response(status_code=200)

    def delete(self, request: Request, body: Named) -> Response:
        """A repository of the caller's, or a tag of it."""
        actor = actor_of(request)
        name, _, revision = called(self._platform, body.asked, actor).partition("@")
        try:
            one = self._hub.repositories.seen("model", name, actor)
        except NotFound as error:
            opened(self._platform, body.asked, name)
            raise Forbidden(
                f"'{name}' is not deleted over this protocol: it is a release, or built in.",
                hint="`baigong releases` shows what is live.",
            ) from error
        actor.check_owns(one.owner)
        if revision:
            self._hub.commits.forget(one.id, "tag", revision)
        else:
            self._hub.repositories.delete(one)
        return Response(status_code=200)

    async def has_blob(self, request: Request) -> Response:
        """Whether the caller has sent these bytes."""
        digest, user = _digest(request.path_params["digest"]), actor_of(request).user
        is_here = await asyncio.to_thread(self._hub.holdings.has, digest, user)
        return Response(status_code=200 if is_here else 404)

    async def keep_blob(self, request: Request) -> Response:
        """Bytes for a model to be made of."""
        digest, user = _digest(request.path_params["digest"]), actor_of(request).user
        with self._hub.blobs.receive() as incoming:
            await receive(request, incoming, _MOST_BYTES)
            await asyncio.to_thread(incoming.finish, digest)
        await asyncio.to_thread(self._hub.holdings.add, user, digest)
        return Response(status_code=201)

    def _hides(self, served: Served) -> bool:
        """Whether some of what answers is private, so that what is made of it begins so."""
        models = [served.base, *filter(None, [served.adapter])]
        names = [served.name.partition("@")[0], *(model.name for model in models)]
        there = self._hub.repositories
        return any(there.exists("model", n) and there.find("model", n).private for n in names)

    def _files(self, files: dict[str, str], actor: Actor) -> list[Change]:
        return [Put(path, self._entry(path, digest, actor)) for path, digest in files.items()]

    def _entry(self, path: str, digest: str, actor: Actor) -> Entry:
        plain = _digest(digest)
        size = self._hub.holdings.size(plain, actor.user)
        if size is None:
            raise Lost(f"The bytes of '{path[:200]}' are not here.", hint="Send them as a blob.")
        if size <= TEXT_BYTES:
            return self._hub.keep(self._hub.blobs.get(plain))
        return Entry(plain, size, "", "")

    def _of_gguf(self, name: str, digest: str, actor: Actor) -> None:
        """Make a model's folder of the file, as `baigong pull` does."""
        entry = self._entry(name, digest, actor)
        workdir = self._platform.settings.home / "pulls" / secrets.token_hex(8)
        try:
            file = workdir / f"{name.partition('/')[2]}{_GGUF}"
            self._hub.blobs.fetch(entry.digest, file)
            pull(self._hub, str(file), name=name, workdir=workdir, report=lambda _: None)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def _said(self, name: str, new: New, preset: Preset) -> list[Change]:
        """The files that say what the request said."""
        found: list[Change] = []
        if preset != Preset():
            found.append(Put(PRESET, self._hub.keep(preset_file(preset))))
        if preset.base:
            found.append(Put(CARD, self._hub.keep(_card(name, preset.base).encode())))
        if new.license:
            text = new.license if isinstance(new.license, str) else "\n\n".join(new.license)
            found.append(Put("LICENSE", self._hub.keep(text.encode())))
        return found

    def _keep(
        self,
        name: str,
        tag: str,
        changes: Sequence[Change],
        actor: Actor,
        words: Words,
        *,
        replaces: bool = True,
        private: bool = False,
    ) -> None:
        is_new = not self._hub.repositories.exists("model", name)
        if is_new:
            self._hub.repositories.create("model", name, [], words, private=private)
        one = self._hub.repositories.seen("model", name, actor)
        before = self._hub.commits.files(self._hub.commits.resolve(one.id))
        kept = {change.path for change in changes}
        gone = [Remove(p) for p in before if p not in kept] if replaces else []
        try:
            made = commit(self._hub, actor, one, [*gone, *changes], words).commit
        except BaigongError:
            if is_new:
                self._hub.repositories.delete(one)
            raise
        if tag:
            with suppress(NotFound):  # it moves, where it is there
                self._hub.commits.forget(one.id, "tag", tag)
            self._hub.commits.refer(one.id, Ref("tag", tag, made.id))


def _derived(served: Served, preset: Preset) -> Preset:
    """What a model that is made of another sets."""
    before = served.preset or Preset()
    return Preset(
        _lasting(served),
        _merged(before.messages, preset.messages),
        {**before.sampling, **preset.sampling},
    )


def _lasting(served: Served) -> str:
    """A name that stands for what answers now, whatever becomes of the one that was asked."""
    if served.preset is not None and served.preset.base:
        return served.preset.base
    if served.content is not None:
        return served.name
    model = served.adapter or served.base
    return f"{model.name}@{model.revision}"


def _merged(before: Sequence[Message], own: Sequence[Message]) -> tuple[Message, ...]:
    """Turns of what it stands on, under those that it brings: a system turn replaces one."""
    if any(message.role == "system" for message in own):
        before = [message for message in before if message.role != "system"]
        return (own[0], *before, *own[1:]) if own[0].role == "system" else (*before, *own)
    return (*before, *own)


def _card(name: str, base: str) -> str:
    bare = base.partition("@")[0]
    lead = f"base_model: {bare}\n" if "/" in bare else ""
    return f"---\n{lead}tags:\n- {TAG}\n---\n# {name}\n\n`{PRESET}` says what it is.\n"


def _digest(text: str) -> str:
    digest = text.removeprefix(_SHA256)
    if len(digest) != 64 or not all(c in "0123456789abcdef" for c in digest):
        raise InvalidInput(f"'{text[:90]}' is no digest.", hint="Send sha256:HEX.", param="digest")
    return digest
