"""What a tuning would do, known before it is begun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from baigong.errors import DataProblems, InvalidInput, NotFound
from baigong.model.chat import ChatTokenizer
from baigong.tuning.base import read_base
from baigong.tuning.examples.rows import answers_of, batches, encode, prepare, read_rows
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import TuneSpec, resolve
from baigong.types import Message, Row
from tests.models import END, make_model, wrap_model
from tests.tuning.conftest import make_row


def test_the_plan_counts_rows_tokens_and_steps(base: Path, rows: list[Row]) -> None:
    plan = plan_tuning(rows, base, TuneSpec(rank=8, epochs=3, batch_size=8))
    assert (plan.rows, plan.validation_rows, plan.dropped) == (20, 4, {})
    assert plan.settings.steps == 9
    assert plan.answer_tokens < plan.tokens
    assert plan.longest_row <= plan.context == 512
    assert plan.seconds > 0 and plan.memory_bytes > 0
    assert "9 steps" in plan.sentence


def test_trainable_parameters_are_those_that_peft_makes(base: Path, rows: list[Row]) -> None:
    # Two blocks of hidden 64: q 64+128, k and v 64+64, o 128+64, gate and up 64+128, down 128+64.
    inputs_and_outputs = 2 * (192 + 128 + 128 + 192 + 192 + 192 + 192)
    plan = plan_tuning(rows, base, TuneSpec(rank=8))
    assert plan.trainable_parameters == 8 * inputs_and_outputs
    assert "lm_head" not in read_base(base).targets


def test_an_adapter_leaves_experts_as_they_are(tmp_path: Path) -> None:
    base = read_base(make_model(tmp_path / "m", "qwen3_moe"))
    assert base.targets == ["k_proj", "o_proj", "q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("kind", "wrapper"), [("ministral3", "mistral3"), ("gemma3_text", "gemma3")]
)
def test_of_a_model_that_sees_as_well_the_decoder_is_tuned(
    tmp_path: Path, kind: str, wrapper: str
) -> None:
    alone = read_base(make_model(tmp_path / "m", kind))
    found = read_base(wrap_model(tmp_path / "m", wrapper))
    assert found.parameters == alone.parameters + 32 * 32
    assert replace(found, parameters=alone.parameters) == alone


def test_rows_that_cannot_be_trained_on_are_counted_by_reason(base: Path) -> None:
    rows = [make_row("short", "yes"), make_row("x" * 600, "yes"), make_row("no answer", " ")]
    plan = plan_tuning(rows, base)
    assert plan.rows == 1
    assert plan.dropped == {"longer than the model's context": 1, "empty answer": 1}


def test_no_row_to_train_on_is_an_error(base: Path) -> None:
    with pytest.raises(InvalidInput, match="no rows to train on"):
        plan_tuning([make_row("q", "a", "test")], base)


def test_bad_lines_are_all_reported_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = msgspec.json.encode(make_row("线\u2028分", "a"))
    path.write_bytes(b"\n".join([good, b"{}", good, b"nonsense"]))
    with pytest.raises(DataProblems) as caught:
        read_rows(path)
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_a_folder_without_a_model_is_named(tmp_path: Path, rows: list[Row]) -> None:
    with pytest.raises(NotFound, match="no model"):
        plan_tuning(rows, tmp_path)


@pytest.mark.parametrize("field", ["rank", "epochs", "learning_rate", "batch_size", "max_minutes"])
def test_a_setting_out_of_range_is_named(field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"tune\.{field}"):
        TuneSpec(**{field: -1})


def test_a_time_limit_means_fewer_epochs(base: Path, rows: list[Row]) -> None:
    many = [make_row(f"{n} {'x' * 300}", "yes") for n in range(200)]
    plan = plan_tuning(many, base, TuneSpec(epochs=10_000, max_minutes=1))
    assert plan.shortened
    assert plan.settings.epochs < 10_000


def test_small_bases_get_larger_adapters_and_more_passes() -> None:
    small, large = (resolve(TuneSpec(), 1000, size) for size in (6_500_000, 7_000_000_000))
    assert small.rank > large.rank
    assert small.learning_rate > large.learning_rate
    assert small.epochs > large.epochs


def test_every_answer_of_a_conversation_and_its_end_carry_loss(base: Path) -> None:
    tokenizer = ChatTokenizer(base)
    talk = (Message("user", "a"), Message("assistant", "earlier"), Message("user", "b"))
    example = encode(Row("1", talk, "later"), tokenizer)
    assert example.ids[: example.start] == tokenizer.encode(talk)
    assert example.ids[example.start :] == [*tokenizer.encode_text("later"), END]
    [(start, stop)] = example.earlier
    assert tokenizer.decode(example.ids[start:stop]).strip() == "earlier"
    assert example.counted == stop - start + len(example.ids) - example.start


def test_evaluations_read_what_they_have_time_for(base: Path, rows: list[Row]) -> None:
    watched = [make_row(f"Watched {n}?", "red", "validation") for n in range(400)]
    plan = plan_tuning([*rows, *watched], base, TuneSpec(epochs=1))
    assert plan.validation_rows == 256
    assert "by 256 validation rows" in plan.sentence
    settings = resolve(TuneSpec(epochs=2), rows=8000, parameters=10**6)
    assert settings.watched_rows == 2000
    half = resolve(TuneSpec(epochs=0.5), rows=8000, parameters=10**6)
    assert half.watched_rows == 1000


def test_the_order_of_rows_does_not_matter(base: Path, rows: list[Row]) -> None:
    encode_row = answers_of(base, 512)
    assert prepare(rows, encode_row) == prepare(rows[::-1], encode_row)


def test_every_epoch_has_every_row_once_in_another_order() -> None:
    lengths = [length % 17 for length in range(100)]
    stream = batches(lengths, 8, seed=1)
    first, second = ([next(stream) for _ in range(13)] for _ in range(2))
    for epoch in (first, second):
        assert sorted(index for batch in epoch for index in batch) == list(range(100))
    assert first != second
    again = batches(lengths, 8, seed=1)
    assert [next(again) for _ in range(13)] == first
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in first)
    assert padded < 1.1 * sum(lengths)
