"""The engine's main loop: receive, schedule, run, sample, deliver."""

from __future__ import annotations

import queue
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import torch

from baigong.errors import BaigongError, ContextOverflow, InvalidInput, NotFound
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.cache import Cache
from baigong.inference.engine.decoder import SMALL_MODEL, Decoder
from baigong.inference.engine.embedding import EmbedJob
from baigong.inference.engine.grammar import Grammars, Matcher
from baigong.inference.engine.logprobs import score, score_prompt
from baigong.inference.engine.lora import LoraAdapter, load_adapter
from baigong.inference.engine.messages import (
    Abort,
    AddAdapter,
    Done,
    Embed,
    Embedded,
    EngineConfig,
    ErrorReport,
    FromEngine,
    Rejected,
    RemoveAdapter,
    Scores,
    Step,
    Submit,
    ToEngine,
)
from baigong.inference.engine.sampler import BROKEN, sample
from baigong.inference.engine.scheduler import Scheduler
from baigong.types import Grammar


@dataclass(frozen=True, slots=True)
class Loaded:
    """An adapter has been read by its thread; or could not be."""

    id: int
    name: str
    result: LoraAdapter | BaigongError


@dataclass(frozen=True, slots=True)
class Compiled:
    """A request's grammar has been compiled by its thread; or could not be."""

    submit: Submit
    result: Matcher | BaigongError

    @property
    def id(self) -> int:
        return self.submit.id


# A step of fewer multiplications than this is done by one thread: waking others takes longer.
_SMALL_STEP = 64_000_000

# What comes in; None says that the parent has gone.
Inbox = queue.SimpleQueue[ToEngine | Loaded | Compiled | None]


class Loop:
    """Serves one decoder until the parent goes."""

    def __init__(
        self,
        decoder: Decoder,
        cache: Cache,
        config: EngineConfig,
        inbox: Inbox,
        send: Callable[[FromEngine], None],
        grammars: Grammars,
    ) -> None:
        self._decoder = decoder
        self._cache = cache
        self._config = config
        self._inbox = inbox
        self._send = send
        self._context = min(decoder.config.context, cache.longest)
        self._scheduler = Scheduler(
            cache, config.max_batch, config.prefill_tokens, config.stall_ms / 1000
        )
        self._adapters: dict[str, LoraAdapter] = {}
        self._removing: list[tuple[int, LoraAdapter]] = []
        self._embeds: deque[EmbedJob] = deque()
        self._grammars = grammars
        # One at a time, so that the same grammar asked for twice is compiled once.
        self._compiler = ThreadPoolExecutor(1)
        self._compiling: set[int] = set()
        self._threads = self._threads_now = torch.get_num_threads()

    def run(self) -> None:
        """Work until the parent goes."""
        while self.receive():
            self.step()

    def step(self) -> None:
        """One step of whatever there is to do."""
        self._embed()
        batch = self._scheduler.next_batch()
        if batch is not None:
            started = time.perf_counter()
            tokens, scores = self._forward(batch)
            self._scheduler.observe(batch.num_prompt_tokens, time.perf_counter() - started)
            self._deliver(batch, tokens, scores)

    def _forward(self, batch: Batch) -> tuple[list[int], list[Scores | None]]:
        """Run the batch through the model and choose a token for each sequence that is due one."""
        device = self._decoder.device
        self._use_threads(batch.num_tokens)
        ids, positions = batch.inputs(device)
        attend = self._cache.plan(batch.chunks())
        hidden = self._decoder.hidden(ids, positions, attend, batch.segments())
        for sequence, part in batch.prompt_rows():
            score_prompt(self._decoder.logits, hidden[part], sequence)
        rows = batch.last_rows(device)
        if rows is not None:
            if not len(rows):
                return [], []  # every chunk ends inside its prompt
            hidden = hidden.index_select(0, rows)
        logits, finished = self._decoder.logits(hidden), batch.finished
        tokens = sample(logits, finished)
        return tokens, score(logits, finished, tokens)

    def _deliver(self, batch: Batch, tokens: list[int], scores: list[Scores | None]) -> None:
        broken = []
        if BROKEN in tokens:
            pairs = zip(batch.finished, tokens, strict=True)
            broken = [sequence for sequence, token in pairs if token == BROKEN]
        news = self._scheduler.accept(batch, tokens, scores)
        for sequence in broken:
            self._send(Rejected(sequence.id, ErrorReport.of(_breakdown(sequence))))
        scheduler = self._scheduler
        self._send(Step(news, scheduler.num_running, scheduler.num_waiting, self._cache.num_used))
        self._finish_removals()

    def _embed(self) -> None:
        """Do one step of the embedding that came first, between two steps of the batch."""
        if not self._embeds:
            return
        job = self._embeds[0]
        self._use_threads(self._config.prefill_tokens)
        job.advance(self._decoder, self._config.prefill_tokens)
        if job.is_done:
            self._embeds.popleft()
            self._send(Embedded(job.id, self._decoder.config.hidden_size, job.vectors()))

    def _use_threads(self, tokens: int) -> None:
        is_small = tokens * self._decoder.num_parameters < _SMALL_STEP
        wanted = 1 if is_small else self._threads
        if wanted != self._threads_now:
            torch.set_num_threads(wanted)
            self._threads_now = wanted

    # ---- messages

    def receive(self) -> bool:
        """Handle everything that has come; wait for something when there is no work. False: end."""
        must_wait = self._scheduler.is_idle and not self._embeds
        while must_wait or not self._inbox.empty():
            must_wait = False
            message = self._inbox.get()
            if message is None:
                return False
            try:
                self._handle(message)
            except BaigongError as error:
                self._send(Rejected(message.id, ErrorReport.of(error)))
        return True

    def _handle(self, message: ToEngine | Loaded | Compiled) -> None:
        match message:
            case Submit():
                self._submit(message)
            case Abort(id=id):
                self._scheduler.abort(id)
                self._compiling.discard(id)
                self._finish_removals()
            case Embed(id=id, ids=ids):
                for one in ids:
                    self._check(one, room=0)
                self._embeds.append(EmbedJob(id, ids))
            case AddAdapter():
                # In a thread, so that decoding goes on while the file is read.
                Thread(target=self._load, args=(message,), daemon=True).start()
            case RemoveAdapter(id=id, name=name):
                self._removing.append((id, self._adapter(name)))
                del self._adapters[name]
                self._finish_removals()
            case Loaded():
                self._keep(message)
            case Compiled():
                self._begin(message)

    def _keep(self, loaded: Loaded) -> None:
        if isinstance(loaded.result, BaigongError):
            raise loaded.result
        self._adapters[loaded.name] = loaded.result
        self._send(Done(loaded.id))

    def _begin(self, compiled: Compiled) -> None:
        if compiled.id not in self._compiling:
            return  # it was aborted meanwhile
        self._compiling.remove(compiled.id)
        if isinstance(compiled.result, BaigongError):
            raise compiled.result
        self._add(compiled.submit, compiled.result)

    def _submit(self, message: Submit) -> None:
        self._check(message.ids, room=1)
        if message.sampling.max_tokens < 1:
            raise InvalidInput("max_tokens must be at least 1.", param="max_tokens")
        self._check_bias(message.sampling.logit_bias)
        grammar, stop_ids = message.sampling.grammar, frozenset(message.stop_ids)
        matcher = None if grammar is None else self._grammars.known(grammar, stop_ids)
        if grammar is None or matcher is not None:
            self._add(message, matcher)
        else:  # in a thread, so that the others decode on
            self._compiling.add(message.id)
            self._compiler.submit(self._compile, message, grammar, stop_ids)

    def _add(self, message: Submit, matcher: Matcher | None) -> None:
        adapter = None if message.adapter is None else self._adapter(message.adapter)
        ids, stop_ids = list(message.ids), frozenset(message.stop_ids)  # its own: it grows
        limit = min(self._context, len(ids) + message.sampling.max_tokens)
        self._scheduler.add(
            Sequence(message.id, ids, limit, message.sampling, stop_ids, adapter, matcher)
        )

    def _check_bias(self, bias: dict[int, float]) -> None:
        vocabulary = self._decoder.config.vocabulary
        wrong = next((id for id in bias if not 0 <= id < vocabulary), None)
        if wrong is not None:
            raise InvalidInput(
                f"logit_bias: {wrong} is not a token id of this model, which has {vocabulary}.",
                hint="Use ids of the model's own tokenizer.",
                param="logit_bias",
            )

    def _check(self, ids: list[int], *, room: int) -> None:
        """Refuse ids that the model cannot take, or that leave no `room` in its context."""
        if not ids:
            raise InvalidInput("There are no tokens.", hint="Send some text.", param="messages")
        if len(ids) + room > self._context:
            raise ContextOverflow(
                f"The prompt has {len(ids)} tokens, and the model's context is "
                f"{self._context} tokens.",
                hint=f"Shorten the prompt by at least {len(ids) + room - self._context} tokens.",
                param="messages",
            )
        vocabulary = self._decoder.config.vocabulary
        if min(ids) < 0 or max(ids) >= vocabulary:
            wrong = next(id for id in ids if not 0 <= id < vocabulary)
            raise InvalidInput(
                f"Token id {wrong} is outside the model's vocabulary of {vocabulary}.",
                hint="Use the tokenizer that belongs to the model.",
                param="messages",
            )

    def _adapter(self, name: str) -> LoraAdapter:
        if name not in self._adapters:
            raise NotFound.among("adapter", name, sorted(self._adapters))
        return self._adapters[name]

    def _load(self, message: AddAdapter) -> None:
        decoder = self._decoder
        result: LoraAdapter | BaigongError
        try:
            result = load_adapter(
                message.name, Path(message.folder), decoder.config, decoder.dtype, decoder.device
            )
        except BaigongError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - told to whoever asked: a bad file must not end us
            traceback.print_exc()
            result = InvalidInput(
                f"The adapter in {message.folder} cannot be read: {type(error).__name__}: {error}",
                hint="Download or train it again.",
            )
        self._inbox.put(Loaded(message.id, message.name, result))

    def _compile(self, message: Submit, grammar: Grammar, stop_ids: frozenset[int]) -> None:
        result: Matcher | BaigongError
        try:
            result = self._grammars.compile(grammar, stop_ids)
        except BaigongError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - told to whoever asked, as with adapters
            traceback.print_exc()
            result = InvalidInput(
                f"The grammar cannot be used: {type(error).__name__}: {error}", param="grammar"
            )
        self._inbox.put(Compiled(message, result))

    def _finish_removals(self) -> None:
        for removal in list(self._removing):
            if not self._scheduler.uses(removal[1]):
                self._removing.remove(removal)
                self._send(Done(removal[0]))


def _breakdown(sequence: Sequence) -> BaigongError:
    """Why a sequence was given no token."""
    if sequence.matcher is not None and sequence.matcher.error:
        return InvalidInput(
            f"The answer cannot go on within its grammar: {sequence.matcher.error}.",
            hint="Simplify the grammar.",
            param="grammar",
        )
    error = BaigongError(
        f"The model gave a number that is not finite after {len(sequence.ids)} tokens.",
        hint="Its weights or its adapter are broken, or too large for their number format.",
    )
    error.code = "not_finite"
    return error


def choose_dtype(config: EngineConfig, parameters: int) -> torch.dtype:
    """Small models gain nothing from bfloat16 on a CPU, and large ones do not fit without it."""
    if config.dtype == "auto":
        return torch.bfloat16 if parameters > SMALL_MODEL else torch.float32
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
