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
from typing import TypeVar

from baigong.errors import BaigongError, ContextOverflow, InvalidInput, NotFound, Unsupported
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.embedding import ReadJob
from baigong.inference.engine.grammar import Grammars, Matcher
from baigong.inference.engine.logprobs import score, score_prompts
from baigong.inference.engine.lora import LoraAdapter
from baigong.inference.engine.messages import (
    Abort,
    AddAdapter,
    Choose,
    Classify,
    Done,
    Embed,
    EngineConfig,
    ErrorReport,
    FromEngine,
    Look,
    Rejected,
    RemoveAdapter,
    Scores,
    Step,
    Submit,
    Task,
    ToEngine,
)
from baigong.inference.engine.pace import Pauses
from baigong.inference.engine.plain import Model
from baigong.inference.engine.sampler import sample
from baigong.inference.engine.scheduler import Scheduler
from baigong.types import Grammar

_T = TypeVar("_T")


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


# What comes in; None says that the parent has gone.
Inbox = queue.SimpleQueue[ToEngine | Loaded | Compiled | None]


_TASKS: dict[type, Task] = {
    Embed: "embed",
    Choose: "choose",
    Classify: "classify",
    Look: "look",
}
_WHAT: dict[Task, str] = {
    "generate": "write",
    "embed": "make vectors",
    "choose": "weigh tokens",
    "classify": "tell labels of texts",
    "look": "tell labels of images",
}


class Loop:
    """Serves one model until the parent goes."""

    def __init__(
        self,
        model: Model,
        config: EngineConfig,
        inbox: Inbox,
        send: Callable[[FromEngine], None],
        grammars: Grammars,
    ) -> None:
        self._model = model
        self._config = config
        self._inbox = inbox
        self._send = send
        self._context = model.config.context
        if "generate" in model.tasks:
            self._context = min(self._context, model.cache.longest)
        self._scheduler = Scheduler(
            model.cache,
            config.max_batch,
            config.max_waiting,
            config.prefill_tokens,
            config.stall_ms / 1000,
            model.draft_rows if config.lookup else 0,
            model.most_rounds,
        )
        self._adapters: dict[str, LoraAdapter] = {}
        self._removing: list[tuple[int, LoraAdapter]] = []
        self._reads: deque[ReadJob] = deque()
        self._grammars = grammars
        # One at a time, so that the same grammar asked for twice is compiled once.
        self._compiler = ThreadPoolExecutor(1)
        self._compiling: set[int] = set()

    def run(self) -> None:
        """Work until the parent goes."""
        while self.receive():
            self.step()

    def step(self) -> None:
        """One step of whatever there is to do."""
        self._read()
        batch = self._scheduler.next_batch()
        if batch is not None:
            started = time.perf_counter()
            batch, tokens, scores = self._forward(batch)
            self._scheduler.observe(batch, time.perf_counter() - started)
            self._deliver(batch, tokens, scores)

    def _forward(self, batch: Batch) -> tuple[Batch, list[int], list[Scores | None]]:
        """Run the batch through the model and choose a token wherever one is due."""
        if batch.rounds:
            rows = self._model.decode(batch, batch.rounds)
            tokens = [token for row in rows for token in row]
            return batch.decoded(rows), tokens, [None] * len(tokens)
        logits = self._model.forward(batch)
        if logits is None:
            return batch, [], []
        logits, finished = score_prompts(logits, batch), batch.finished
        tokens = sample(logits, finished)
        return batch, tokens, score(logits, finished, tokens)

    def _deliver(self, batch: Batch, tokens: list[int], scores: list[Scores | None]) -> None:
        news, broken = self._scheduler.accept(batch, tokens, scores)
        for sequence in broken:
            self._send(Rejected(sequence.id, ErrorReport.of(_breakdown(sequence))))
        scheduler = self._scheduler
        self._send(Step(news, scheduler.num_running, scheduler.num_waiting, scheduler.num_cached))
        self._finish_removals()

    def _read(self) -> None:
        """Do one step of the reading that came first, between two steps of the batch."""
        if not self._reads:
            return
        job = self._reads[0]
        try:
            job.advance(self._model, self._config.prefill_tokens)
        except BaigongError as error:  # an image that is none
            self._reads.popleft()
            self._send(Rejected(job.id, ErrorReport.of(error)))
            return
        if job.is_done:
            self._reads.popleft()
            self._send(job.reply())

    # ---- messages

    def receive(self) -> bool:
        """Handle everything that has come; wait for something when there is no work. False: end."""
        must_wait = self._scheduler.is_idle and not self._reads
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
            case Embed() | Choose() | Classify() | Look():
                self._begin_reading(message)
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
        self._send(Done(loaded.id, loaded.result.size))

    def _begin(self, compiled: Compiled) -> None:
        if compiled.id not in self._compiling:
            return  # it was aborted meanwhile
        self._compiling.remove(compiled.id)
        if isinstance(compiled.result, BaigongError):
            raise compiled.result
        self._add(compiled.submit, compiled.result)

    def _begin_reading(self, message: Embed | Choose | Classify | Look) -> None:
        self._check_task(_TASKS[type(message)])
        for one in [] if isinstance(message, Look) else message.ids:
            self._check(one, room=0)
        if isinstance(message, Choose):
            self._check(message.tokens, room=0)
        self._reads.append(ReadJob(message))

    def _check_task(self, task: Task) -> None:
        able = self._model.tasks
        if task not in able:
            raise Unsupported(
                f"The model cannot {_WHAT[task]}.",
                hint=f"It can {' and '.join(_WHAT[one] for one in able)}; ask another model.",
                param="model",
            )

    def _submit(self, message: Submit) -> None:
        self._check_task("generate")
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
            Sequence(
                message.id,
                ids,
                limit,
                message.sampling,
                stop_ids,
                adapter,
                matcher,
                message.caller,
            )
        )

    def _check_bias(self, bias: dict[int, float]) -> None:
        vocabulary = self._model.config.vocabulary
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
            raise ContextOverflow.of(len(ids), self._context, room=room)
        vocabulary = self._model.config.vocabulary
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
        broken = InvalidInput(
            f"The adapter in {message.folder} cannot be read", hint="Download or train it again."
        )
        folder = Path(message.folder)
        pace = Pauses(lambda: self._scheduler.num_running > 0)
        result = _attempt(lambda: self._model.load_adapter(message.name, folder, pace), broken)
        self._inbox.put(Loaded(message.id, message.name, result))

    def _compile(self, message: Submit, grammar: Grammar, stop_ids: frozenset[int]) -> None:
        broken = InvalidInput("The grammar cannot be used", param="grammar")
        result = _attempt(lambda: self._grammars.compile(grammar, stop_ids), broken)
        self._inbox.put(Compiled(message, result))

    def _finish_removals(self) -> None:
        for removal in list(self._removing):
            if not self._scheduler.uses(removal[1]):
                self._scheduler.forget(removal[1])
                self._removing.remove(removal)
                self._send(Done(removal[0]))


def _attempt(work: Callable[[], _T], broken: InvalidInput) -> _T | BaigongError:
    """What `work` gives, or why it gives nothing; `broken` begins what is said of an unforeseen reason."""
    try:
        return work()
    except BaigongError as error:
        return error
    except Exception as error:  # noqa: BLE001 - told to whoever asked: a bad file must not end us
        traceback.print_exc()
        reason = f"{broken.message}: {type(error).__name__}: {error}"
        return InvalidInput(reason, hint=broken.hint, param=broken.param)


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
