"""One call from recipe to model folder; the same call resumes after a stop at any moment."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from baigong.errors import Conflict
from baigong.tuning.pretrain import checkpoint
from baigong.tuning.pretrain.batches import Batcher, encode_streams, text_shares
from baigong.tuning.pretrain.card import write_card
from baigong.tuning.pretrain.checkpoint import Progress
from baigong.tuning.pretrain.corpus import Corpus, read_corpus
from baigong.tuning.pretrain.display import display
from baigong.tuning.pretrain.exam import examine
from baigong.tuning.pretrain.export import export_model
from baigong.tuning.pretrain.loop import Report, Run, now, read_curve, rewind_curve, train
from baigong.tuning.pretrain.measure import held_back
from baigong.tuning.pretrain.network import build, make_loss, optimisers
from baigong.tuning.pretrain.recipe import PretrainRecipe, read_recipe
from baigong.tuning.pretrain.structure import make_example, material
from baigong.tuning.pretrain.tokenizer import CHAT_END, END_OF_TEXT, token_id, train_tokenizer

_TOKENIZER_EXAMPLES = 6000
# These may differ when a run goes on: where, how fast and for how long, not what is learnt.
_FREE_KEYS = {"budget", "device", "threads", "compile", "summary"}
_CHANGEABLE = ("mix.", "schedule.")


def pretrain_command(
    recipe_path: Path, data: Path, out: Path, minutes: float | None = None
) -> bool:
    """True when the budget is spent; False when stopped before. The model is in OUT/model."""
    recipe = read_recipe(recipe_path)
    if minutes is not None:
        budget = recipe.budget.model_copy(update={"minutes": minutes, "steps": None})
        recipe = recipe.model_copy(update={"budget": budget})
    with display(recipe.name) as show:
        return pretrain(recipe, data, out, show)


def pretrain(
    recipe: PretrainRecipe, data: Path, workdir: Path, progress: Callable[[Report], None]
) -> bool:
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    workdir.mkdir(parents=True, exist_ok=True)
    _hold_to_recipe(recipe, workdir)
    corpus = read_corpus(recipe, data)
    tokenizer = _tokenizer(recipe, corpus, workdir)
    run = _prepare(recipe, corpus, tokenizer, workdir, progress)
    with _stops_on_signal(run):
        is_done = train(run)
    run.export(run)
    if is_done and recipe.budget.exam_tasks:
        _examine(run, corpus)
        run.export(run)
    return is_done


def _hold_to_recipe(recipe: PretrainRecipe, workdir: Path) -> None:
    """A folder belongs to one text, tokenizer and shape. The mix and the schedule may be changed
    between two starts; what was changed, and when, is kept and goes into the card."""
    path = workdir / "recipe.json"
    new = recipe.model_dump(mode="json", exclude=_FREE_KEYS)
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else new
    changes = dict(_changes(old, new))
    if any(not key.startswith(_CHANGEABLE) or key == "mix.held_back" for key in changes):
        raise Conflict(
            f"The folder {workdir} holds a run of another recipe.",
            hint=f"Give another folder, or the recipe in {path.name}.",
        )
    if changes:
        kept = [*_read_changes(workdir), {"step": checkpoint.step_of(workdir), **changes}]
        checkpoint.write_atomically(workdir / "changes.json", json.dumps(kept, indent=1))
    checkpoint.write_atomically(path, json.dumps(new, ensure_ascii=False, indent=1))


def _changes(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Each key whose value differs, as [old, new]."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _changes(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif old != new:
        yield where, [old, new]


def _read_changes(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / "changes.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return rows


def _tokenizer(recipe: PretrainRecipe, corpus: Corpus, workdir: Path) -> Tokenizer:
    path = workdir / "tokenizer.json"
    if not path.is_file():
        stuff = material(corpus, recipe)
        examples = [
            make_example(stuff, recipe.mix.kinds, recipe.seed + 1, number)
            for number in range(_TOKENIZER_EXAMPLES)
        ]
        texts = [f"{item.system}\n{item.user}\n{item.assistant}" for item in examples]
        tokenizer = train_tokenizer(corpus, recipe.tokenizer, texts)
        checkpoint.write_atomically(path, tokenizer.to_str())
    return Tokenizer.from_file(str(path))


def _prepare(
    recipe: PretrainRecipe,
    corpus: Corpus,
    tokenizer: Tokenizer,
    workdir: Path,
    show: Callable[[Report], None],
) -> Run:
    streams = encode_streams(tokenizer, corpus, workdir)
    end, pad = token_id(tokenizer, CHAT_END), token_id(tokenizer, END_OF_TEXT)
    model = build(recipe, tokenizer.get_vocab_size(), end, pad)
    both = optimisers(model, recipe)
    progress = checkpoint.load(workdir, model, both, recipe.device) or Progress(started=now())
    rewind_curve(workdir, progress.step)

    def export(run: Run) -> None:
        facts = facts_of(run)
        facts["shares"] = text_shares(streams, corpus, run.progress.position, pad)
        export_model(run.model, run.tokenizer, workdir / "model", facts, write_card(facts))

    return Run(
        recipe=recipe,
        folder=workdir,
        model=model,
        optimisers=both,
        loss=make_loss(model, recipe),
        batcher=Batcher(recipe, tokenizer, streams, material(corpus, recipe)),
        tokenizer=tokenizer,
        held_back=held_back(recipe, tokenizer, corpus),
        progress=progress,
        show=show,
        export=export,
    )


def facts_of(run: Run) -> dict[str, Any]:
    """What the card and `training.json` say."""
    recipe, progress = run.recipe, run.progress
    return {
        "name": recipe.name,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "step": progress.step,
        "tokens": progress.tokens,
        "position_tokens": progress.position.en + progress.position.zh,
        "examples": progress.position.example,
        "seconds": round(progress.seconds, 1),
        "started": progress.started,
        "finished": progress.finished or None,
        "machine": _machine(recipe),
        "exam": _read_exam(run),
        "changes": _read_changes(run.folder),
        "recipe": recipe.model_dump(mode="json"),
        "curve": read_curve(run.folder, progress.step),
    }


def _machine(recipe: PretrainRecipe) -> str:
    if recipe.device != "cpu":
        return f"one {torch.cuda.get_device_name(recipe.device)}"
    return f"{os.cpu_count()} CPU cores without an accelerator"


def _examine(run: Run, corpus: Corpus) -> None:
    """On the exported weights, since they are what ships; once for each finished run."""
    if _read_exam(run):
        return
    model = AutoModelForCausalLM.from_pretrained(run.folder / "model", dtype=torch.float32)
    stuff = material(corpus, run.recipe, held_back=True)
    count, seed = run.recipe.budget.exam_tasks, run.recipe.seed + 2
    rows = list(examine(model.eval(), run.tokenizer, stuff, count, seed))
    text = json.dumps({"step": run.progress.step, "rows": rows})
    checkpoint.write_atomically(run.folder / "exam.json", text)


def _read_exam(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "exam.json"
    if not path.is_file():
        return []
    exam = json.loads(path.read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = exam["rows"]
    return rows if exam["step"] == run.progress.step else []


@contextmanager
def _stops_on_signal(run: Run) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the run after the step at hand, with a checkpoint."""

    def stop(number: int, frame: object) -> None:
        run.wants_stop = True

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
