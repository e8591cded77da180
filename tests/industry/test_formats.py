import csv
import gzip
import json

import pytest
from openpyxl import Workbook

from baigong.errors import DataProblems
from baigong.industry.data.rows import load_dataset
from baigong.industry.recipe import Recipe
from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.rows import encode
from baigong.types import Message
from tests.industry.test_rows import write_jsonl
from tests.models import make_model
from tests.templates import teach


def recipe(path, task="chat", **data):
    return Recipe.model_validate({"name": "a", "task": task, "data": {"rows": str(path), **data}})


def filled(row, filler, count=160):
    """A row in question, and enough others that the file can be split."""
    return [row, *(filler(i) for i in range(count))]


def shared(i):
    said = [{"from": "human", "value": f"question {i}"}, {"from": "gpt", "value": "yes"}]
    return {"conversations": said}


def instructed(i):
    return {"instruction": f"do {i}", "input": "", "output": "done"}


def first(path, task="chat"):
    return load_dataset(recipe(path, task)).rows[0]


def test_share_gpt_is_a_conversation(tmp_path):
    row = {
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "hi"},
            {"from": "gpt", "value": "hello"},
            {"from": "human", "value": "name?"},
            {"from": "gpt", "value": "Bai"},
        ],
    }
    found = first(write_jsonl(tmp_path / "a.jsonl", filled(row, shared)))
    assert [turn.role for turn in found.messages] == ["system", "user", "assistant", "user"]
    assert found.messages[0].content == "Be brief."
    assert found.answer == "Bai"


def test_share_gpt_in_an_array_of_json_names_the_line_of_a_mistake(tmp_path):
    rows = filled({"conversations": [{"from": "parrot", "value": "a"}]}, shared)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
    with pytest.raises(DataProblems, match=r"a.json.gz:2: conversations: turn 1: from is 'parrot'"):
        load_dataset(recipe(path))


def test_alpaca_joins_instruction_and_input_after_system_and_history(tmp_path):
    row = {
        "instruction": "Translate.",
        "input": "水",
        "output": "water",
        "system": "You translate.",
        "history": [["火", "fire"]],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(filled(row, instructed), ensure_ascii=False), "utf-8")
    found = first(path)
    assert found.messages == (
        Message("system", "You translate."),
        Message("user", "火"),
        Message("assistant", "fire"),
        Message("user", "Translate.\n水"),
    )
    assert found.answer == "water"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"instruction": "a", "output": " "}, "a.jsonl:1: output: empty; write the answer"),
        ({"instruction": "", "output": "a"}, "a.jsonl:1: instruction: empty"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "a.jsonl:1: history: pair 1"),
        ({"conversations": "hello"}, "a.jsonl:1: conversations: a list of"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "the assistant never speaks"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "no user turn before the answer"),
        ({"conversations": [{"from": "human"}]}, "turn 1: content must be text"),
    ],
)
def test_a_record_that_is_not_what_its_format_says_names_line_and_field(tmp_path, row, said):
    filler = shared if "conversations" in row else instructed
    path = write_jsonl(tmp_path / "a.jsonl", filled(row, filler))
    with pytest.raises(DataProblems) as caught:
        load_dataset(recipe(path))
    assert said in str(caught.value)


def test_columns_of_the_recipe_are_read_as_it_says_and_not_as_a_format(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [instructed(i) for i in range(160)])
    made = recipe(path, columns={"prompt": "instruction", "answer": "output"})
    assert load_dataset(made).rows[0].messages == (Message("user", "do 0"),)


def weighted(*weights):
    turns = []
    for number, weight in enumerate(weights):
        turns.append({"role": "user", "content": f"q{number}"})
        turns.append({"role": "assistant", "content": f"answer {number}", "weight": weight})
    return {"messages": turns}


def plain(i):
    return {"messages": [{"role": "user", "content": f"hi {i}"}, {"role": "assistant", "content": "a"}]}  # fmt: skip


@pytest.mark.parametrize("family", ["chatml", "plain"])
def test_turns_of_weight_0_are_read_and_not_learnt(tmp_path, family):
    """With a template that marks answers, and with one that does not."""
    rows = filled(weighted(1, 0, 1, 0), plain)
    row = first(write_jsonl(tmp_path / "a.jsonl", rows))
    assert (row.answer, row.unlearnt) == ("answer 2", (3,))
    model = make_model(tmp_path / "model")
    if family != "chatml":
        teach(model, family)
    tokenizer = ChatTokenizer(model)
    example = encode(row, tokenizer)
    learnt = [tokenizer.decode(example.ids[start:stop]).strip() for start, stop in example.spans]
    assert learnt == ["answer 0", "answer 2"]


def test_a_persona_moves_the_places_of_unlearnt_turns(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", filled(weighted(0, 1), plain))
    made = recipe(path).model_copy(update={"persona": "Be kind."})
    row = load_dataset(made).rows[0]
    assert row.messages[row.unlearnt[0]].content == "answer 0"


def pairs(count=160):
    return [(f"question {i} of them", ("yes", "no")[i % 2]) for i in range(count)]


def test_a_sheet_is_read_with_whole_numbers_as_a_person_sees_them(tmp_path):
    book = Workbook()
    book.active.append(["text", "label"])
    book.active.append([4017, "number"])
    for pair in pairs():
        book.active.append(pair)
    book.create_sheet("Notes").append(["x"])
    book.save(tmp_path / "a.xlsx")
    found = load_dataset(recipe(tmp_path / "a.xlsx", "classification"))
    assert found.rows[0].messages[0].content == "4017"
    assert found.rows[0].source == "a.xlsx:2"
    assert "only the sheet 'Sheet' was read, not Notes" in found.report.warnings[0]


def test_semicolons_of_a_spreadsheet_part_cells(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as out:
        csv.writer(out, delimiter=";").writerows([("text", "label"), *pairs()])
    assert first(tmp_path / "a.csv", "classification").answer == "yes"


def test_json_beside_rows_describes_them_and_is_not_read_as_rows(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [plain(i) for i in range(160)])
    (tmp_path / "dataset_info.json").write_text('{"license": "mit"}')
    assert list(load_dataset(recipe(tmp_path)).report.files) == ["rows.jsonl"]
