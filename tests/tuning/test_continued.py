"""Continued pre-training: texts in full blocks, of which every token is learnt once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.texts import end_of_text, text_ids
from baigong.tuning.objectives import examples_of
from baigong.tuning.spec import TuneSpec
from baigong.tuning.trainer import Run
from baigong.tuning.tune import lay_job
from baigong.tuning.workers import Workers
from baigong.types import Row, Split
from tests.tuning.conftest import make_row

SPEC = TuneSpec(
    objective="continued", rank=16, epochs=10, learning_rate=1e-2, batch_size=4, threads=1
)


def texts(count: int, split: Split = "train") -> list[Row]:
    """Rows as `task: text` makes them."""
    return [make_row(f"The tide of day {n} 潮水 rises and falls.", "", split) for n in range(count)]


@pytest.mark.parametrize("context", [16, 40, 5000])
def test_blocks_are_full_and_hold_every_token_once(base: Path, context: int) -> None:
    rows = texts(30)
    made = examples_of(rows, base, context, SPEC).train
    tokenizer = ChatTokenizer(base)
    ordered = sorted(rows, key=lambda row: row.id)
    stream = [id for row in ordered for id in text_ids(row.messages[0].content, tokenizer)]
    learnt = [id for block in made for id in block.ids[1:]]
    assert [made[0].ids[0], *learnt] == stream
    assert {len(block.ids) for block in made[:-1]} <= {min(context, 1024)}
    assert all(block.counted == len(block.ids) - 1 for block in made)
    assert stream.count(end_of_text(tokenizer)) == len(rows)


def test_a_text_begins_with_its_own_mark_and_ends_with_the_end(base: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path / "marked"
    shutil.copytree(base, folder)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    start = tokenizer.token_to_id("<|im_start|>")
    tokenizer.post_processor = TemplateProcessing(
        "<|im_start|> $A", None, [("<|im_start|>", start)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (example,) = examples_of(texts(1), folder, 5000, SPEC).train
    assert example.ids[0] == start
    assert example.ids[-1] == end_of_text(ChatTokenizer(folder))


def test_texts_become_likelier(base: Path, tmp_path: Path) -> None:
    rows = [*texts(40), *texts(50, "validation")[40:]]
    lay_job(rows, base, SPEC, tmp_path)
    run = Run(tmp_path, Workers())
    run.finish()
    losses = [p.validation_loss for p in run.state.points if p.validation_loss is not None]
    assert losses[-1] < 0.7 * run.state.points[0].loss
