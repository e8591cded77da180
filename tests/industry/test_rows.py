import csv
import gzip
import io
import json
from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baigong.errors import DataProblems, InvalidInput
from baigong.evals.text import fold
from baigong.industry.data.rows import Dataset, fit_context, load_dataset, sample_rows, split_of
from baigong.industry.data.tables import read_tables
from baigong.industry.grounding import NOT_FOUND, ground_row
from baigong.industry.recipe import Recipe, SplitSpec
from baigong.types import Message, Passage, Row

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "amount": {"type": "number"},
        "urgent": {"type": "boolean"},
        "items": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
LABELS = ("refund", "delivery", "invoice")
PAIRS = [(f"question number {i} about it", LABELS[i % 3]) for i in range(200)]


def recipe(path, task="classification", **fields):
    data = {"rows": str(path), **fields.pop("data", {})}
    extra = {"schema": SCHEMA} if task == "extraction" else {}
    extra |= {"knowledge": {"sources": ["x"]}} if task == "grounded" else {}
    return Recipe.model_validate({"name": "a", "task": task, "data": data, **extra, **fields})


def write_csv(path, rows, header=("text", "label"), delimiter=","):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([header, *rows])
    path.write_text(out.getvalue(), "utf-8", newline="")
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def problems(made, **given_):
    with pytest.raises(DataProblems) as caught:
        load_dataset(made, **given_)
    return "\n".join(str(problem) for problem in caught.value.problems)


# --- formats -------------------------------------------------------------------------------------


def test_every_format_gives_the_same_rows(tmp_path):
    objects = [{"text": text, "label": label} for text, label in PAIRS]
    paths = [
        write_csv(tmp_path / "a.csv", PAIRS),
        write_csv(tmp_path / "a.tsv", PAIRS, delimiter="\t"),
        write_jsonl(tmp_path / "a.jsonl", objects),
        tmp_path / "a.parquet",
    ]
    pq.write_table(pa.Table.from_pylist(objects), paths[3])
    for path in paths[:3]:
        paths.append(path.with_name(path.name + ".gz"))
        paths[-1].write_bytes(gzip.compress(path.read_bytes()))
    digests = {path.name: load_dataset(recipe(path)).digest for path in paths}
    assert len(digests) == 7
    assert len(set(digests.values())) == 1, digests


def test_a_folder_is_all_its_files_and_nothing_else_in_it(tmp_path):
    folder = tmp_path / "rows"
    (folder / "sub").mkdir(parents=True)
    write_csv(folder / "a.csv", PAIRS[:100])
    write_csv(folder / "sub" / "b.csv", PAIRS[100:])
    (folder / "README.md").write_text("# not rows")
    dataset = load_dataset(recipe(folder))
    assert len(dataset.rows) == 200
    assert sorted(dataset.report.files) == ["a.csv", "sub/b.csv"]
    assert dataset.rows[-1].source == "sub/b.csv:101"


def test_an_empty_folder_is_refused(tmp_path):
    assert "no file of rows in this folder" in problems(recipe(tmp_path))


def test_jsonl_is_split_on_newlines_only(tmp_path):
    rows = [{"text": f"one\u2028two\u0085three {i}", "label": LABELS[i % 2]} for i in range(150)]
    dataset = load_dataset(recipe(write_jsonl(tmp_path / "a.jsonl", rows)))
    assert len(dataset.rows) == 150
    dataset.write(tmp_path / "out")
    assert Dataset.read(tmp_path / "out").rows[0].messages[-1].content.startswith("one\u2028two")


def test_lines_are_counted_where_a_row_begins_even_with_line_breaks_inside(tmp_path):
    write_csv(tmp_path / "a.csv", [("two\nlines", "a"), ("", "a"), ("one", "")])
    said = problems(recipe(tmp_path / "a.csv"))
    assert "a.csv:4: text: empty" in said
    assert "a.csv:5: label: empty" in said


def test_a_lone_quotation_mark_in_tsv_is_text(tmp_path):
    rows = "".join(f'a 5" nail {i}\t"say ""{i}"""\n' for i in range(150))
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + rows)
    row = load_dataset(recipe(tmp_path / "a.tsv")).rows[0]
    assert (row.messages[0].content, row.answer) == ('a 5" nail 0', 'say "0"')


def test_chinese_in_gb18030_is_read_with_a_warning_and_a_bom_without(tmp_path):
    text = "text,label\n" + "".join(
        f"第{i}个问题,{'退款' if i % 2 else '发货'}\n" for i in range(150)
    )
    (tmp_path / "gb.csv").write_bytes(text.encode("gb18030"))
    (tmp_path / "bom.csv").write_bytes(text.encode("utf-8-sig"))
    chinese, marked = (load_dataset(recipe(tmp_path / name)) for name in ("gb.csv", "bom.csv"))
    assert chinese.digest == marked.digest
    assert "read as GB18030" in chinese.report.warnings[0]
    assert marked.report.warnings == ()
    assert chinese.report.languages == {"zh": 1.0}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv.gz", gzip.compress(b"text,label\n" * 1000, mtime=0)[:-9], "not a whole gzip file"),
        ("a.csv.gz", b"text,label\n", "not a whole gzip file"),
        ("a.parquet", b"PAR1 and then nothing", "not a whole Parquet file"),
        ("a.docx", b"PK", "not a file of rows; allowed .jsonl"),
        ("a.xlsx", b"PK", "not a whole spreadsheet"),
        ("a.json", b'[{"text": "a"},\n {"text": }]', "a.json:2: not JSON"),
        ("a.json", b'[{"text": "a", "label": "b"},\n\n 7]', "a.json:3: a row is an object"),
        ("a.json", b'{"data": [{"text": "a"}]}', "save that array"),
        ("a.csv", b"PK\x03\x04 rest", "this is a zip or Excel file"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0", "this is a picture"),
        ("a.csv", b"\xff\xd8\xff\xe0", "this is a picture"),
        ("a.csv", "text,label\n".encode("utf-16"), "is UTF-16"),
        ("a.csv", b"text,label\na,b\n\0,c", "a.csv:3: holds a NUL byte"),
        ("a.csv", b"text,label\n\xff\xff\xff,b", "a.csv:2: neither UTF-8 nor GB18030"),
        ("a.csv", b'text,label\n"open,b\nc,d\n', "a.csv:2: not CSV: unexpected end of data"),
        ("a.csv", b"text,label\na,b,c\n", "a.csv:2: 3 cells, and the header has 2"),
        ("a.csv", b"text,text\na,b\n", "the header names 'text' twice"),
        ("a.csv", b"text,label\n", "holds no rows"),
        ("a.csv", b"", "holds no rows"),
        ("a.jsonl", b'{"text": 1\n', "a.jsonl:1: not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: a row is an object"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, "a.jsonl:1: not JSON that can be read"),
        ("a.jsonl", b'{"text": "\\ud83d", "label": "a"}', "half a character"),
        ("a.jsonl", '{"text": "\ue0f0", "label": "a"}'.encode(), "reserved private-use"),
        ("a.jsonl", b'{"text": ["a"], "label": NaN}', "a.jsonl:1: label: empty"),
        ("a.jsonl", b'{"text": ["a"], "label": "x"}', "text expected, got list"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in problems(recipe(tmp_path / name))


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"] * 1000, "label": ["b"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "a.parquet: not a whole Parquet file" in problems(recipe(path))


def test_a_file_that_unpacks_without_end_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 1_000_000))
    (table,) = read_tables(path, max_bytes=10_000)
    assert "holds more than" in str(table.problems[0])


def test_all_problems_come_at_once_and_the_first_twenty_are_shown(tmp_path):
    rows = [("", "a")] * 50
    with pytest.raises(DataProblems) as caught:
        load_dataset(recipe(write_csv(tmp_path / "a.csv", rows)))
    assert len(caught.value.problems) == 50
    assert str(caught.value).count("text: empty") == 20
    assert "... and 30 more" in str(caught.value)


# --- columns and labels --------------------------------------------------------------------------


def test_a_missing_column_names_those_that_exist(tmp_path):
    path = write_csv(tmp_path / "a.csv", PAIRS, header=("query", "lable"))
    said = problems(recipe(path))
    assert "text: no such column; the file has query, lable" in said
    assert "Name the column in data.columns: {text: COLUMN}." in said
    assert "label: no such column; the file has query, lable; did you mean lable?" in said
    mapped = recipe(path, data={"columns": {"text": "query", "label": "lable"}})
    assert len(load_dataset(mapped).rows) == 200


def test_one_label_alone_is_refused(tmp_path):
    path = write_csv(tmp_path / "a.csv", [(text, "same") for text, _ in PAIRS])
    assert "every row has the label 'same'" in problems(recipe(path))


@pytest.mark.parametrize(
    ("task", "columns", "said"),
    [
        ("regression", ("text", "value"), "value: every row has the value '7'"),
        ("pairs", ("query", "positive"), "positive: every row has the positive '7'"),
    ],
)
def test_answers_that_are_all_one_are_refused(tmp_path, task, columns, said):
    path = write_csv(tmp_path / "a.csv", [(f"{n} texts", "7") for n in range(200)], header=columns)
    assert said in problems(recipe(path, task))


def test_labels_that_only_case_tells_apart_are_told(tmp_path):
    rows = [(f"text number {n}", ("Yes", "yes", "no")[n % 3]) for n in range(300)]
    told = load_dataset(recipe(write_csv(tmp_path / "a.csv", rows))).report.warnings
    assert any("'Yes' and 'yes'" in warning for warning in told)


@pytest.mark.parametrize("mark", ",;|\t")
def test_cells_are_parted_by_what_the_header_has_most(tmp_path, mark):
    long = "z" * 200_000
    path = tmp_path / "a.csv"
    path.write_text(f"text{mark}label\na b{mark}x\n{long}{mark}y\n")
    (table,) = read_tables(path)
    assert [record.values["label"] for record in table.records] == ["x", "y"]
    assert not table.problems


def test_too_few_test_rows_are_refused_with_the_remedy(tmp_path):
    path = write_csv(tmp_path / "a.csv", PAIRS[:30])
    said = problems(recipe(path))
    assert "rows are for testing, and a verdict needs 20" in said
    assert "add rows, or raise data.split.test from 0.2" in said


def test_labels_that_only_the_test_has_are_a_warning(tmp_path):
    train = write_csv(tmp_path / "a.csv", PAIRS)
    test = write_csv(
        tmp_path / "t.csv", [(f"new {i}", "other" if i else "refund") for i in range(30)]
    )
    made = recipe(train, data={"split": {"test": str(test), "validation": 0}})
    report = load_dataset(made).report
    assert report.warnings == ("labels that no training row has: other",)
    assert report.rows == {"train": 200, "validation": 0, "test": 30}


def test_slices_come_from_columns_and_language_is_worked_out(tmp_path):
    rows = [
        (f"{'你好吗朋友' if i % 4 == 0 else 'hello'} {i}", LABELS[i % 3], "web") for i in range(200)
    ]
    path = write_csv(tmp_path / "a.csv", rows, header=("text", "label", "channel"))
    dataset = load_dataset(recipe(path, data={"slices": ["language", "channel"]}))
    assert dataset.rows[0].slices == {"language": "zh", "channel": "web"}
    counts = dataset.report.slices["language"]
    assert sum(counts["zh"].values()) == 50
    assert "no such column for data.slices" in problems(recipe(path, data={"slices": ["chanel"]}))


def test_the_persona_is_in_the_prompt_and_not_in_the_split(tmp_path):
    path = write_csv(tmp_path / "a.csv", PAIRS)
    plain, dressed = load_dataset(recipe(path)), load_dataset(recipe(path, persona="Be kind."))
    assert dressed.rows[0].messages[0] == Message("system", "Be kind.")
    assert [(row.id, row.split) for row in plain.rows] == [
        (row.id, row.split) for row in dressed.rows
    ]
    assert plain.digest != dressed.digest


# --- duplicates and splits -----------------------------------------------------------------------


def test_exact_duplicates_are_dropped_and_counted(tmp_path):
    path = write_csv(tmp_path / "a.csv", [*PAIRS, *PAIRS[:7], (f" {PAIRS[0][0]}  ", PAIRS[0][1])])
    dataset = load_dataset(recipe(path))
    assert len(dataset.rows) == 200
    assert dataset.report.dropped == {"duplicate": 8}


def test_a_text_with_two_labels_is_dropped_and_its_lines_listed(tmp_path):
    path = write_csv(tmp_path / "a.csv", [*PAIRS, (PAIRS[4][0], "refund")])
    dataset = load_dataset(recipe(path))
    assert len(dataset.rows) == 199
    assert dataset.report.dropped == {"contradiction": 2}
    assert "a.csv:6 'delivery', a.csv:202 'refund'" in dataset.report.warnings[0]


def test_two_answers_to_one_prompt_are_both_kept_in_chat(tmp_path):
    rows = [{"prompt": f"hello {i // 2}", "answer": f"hi {i}"} for i in range(300)]
    dataset = load_dataset(recipe(write_jsonl(tmp_path / "a.jsonl", rows), "chat"))
    assert len(dataset.rows) == 300
    splits = defaultdict(set)
    for row in dataset.rows:
        splits[row.messages[0].content].add(row.split)
    assert all(len(found) == 1 for found in splits.values())


def test_a_test_file_that_shares_a_row_with_training_names_both_lines(tmp_path):
    train = write_csv(tmp_path / "a.csv", PAIRS)
    test = [(f"fresh {i}", LABELS[i % 3]) for i in range(30)]
    test[3] = (PAIRS[9][0].upper(), PAIRS[9][1])
    path = write_csv(tmp_path / "t.csv", test)
    said = problems(recipe(train, data={"split": {"test": str(path)}}))
    assert said == f"{path}:5: the test row is also in {train}:11; remove one of them"


def test_the_split_of_a_prompt_never_changes():
    """Frozen values: if this fails, every release's test rows have changed."""
    spec = SplitSpec(validation=0.1, test=0.2)
    found = [split_of(f"prompt {i}", spec) for i in range(40)]
    assert [i for i, split in enumerate(found) if split == "test"] == [1, 2, 10, 11, 12, 16, 34]
    assert [i for i, split in enumerate(found) if split == "validation"] == [0, 4, 17, 18, 19, 33]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), unique=True), st.floats(0.05, 0.6), st.floats(0, 0.3))
def test_the_split_of_a_prompt_depends_on_nothing_else(keys, test, validation):
    spec = SplitSpec(validation=validation, test=test)
    smaller = SplitSpec(validation=0.0, test=test)
    for key in keys:
        assert split_of(key, spec) == split_of(key, spec)
        assert (split_of(key, spec) == "test") == (split_of(key, smaller) == "test")


def test_shares_are_what_was_asked_for():
    spec = SplitSpec(validation=0.1, test=0.2)
    found = [split_of(f"k{i}", spec) for i in range(20_000)]
    assert abs(found.count("test") / 20_000 - 0.2) < 0.01
    assert abs(found.count("validation") / 20_000 - 0.1) < 0.01


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
@given(
    st.lists(
        st.sampled_from(["Hello", "hello ", "HELLO", "ｈello", "你好", "bye", "Bye"]), max_size=30
    )
)
def test_one_text_never_stands_in_two_splits(tmp_path, texts):
    rows = [*PAIRS, *((text, LABELS[i % 3]) for i, text in enumerate(texts))]
    dataset = load_dataset(recipe(write_csv(tmp_path / "a.csv", rows)))
    splits = defaultdict(set)
    for row in dataset.rows:
        splits[fold(row.messages[-1].content)].add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert len({row.id for row in dataset.rows}) == len(dataset.rows)


def test_adding_rows_moves_no_row_to_another_split(tmp_path):
    few = load_dataset(recipe(write_csv(tmp_path / "a.csv", PAIRS[:150])))
    many = load_dataset(recipe(write_csv(tmp_path / "a.csv", PAIRS)))
    after = {row.id: row.split for row in many.rows}
    assert all(after[row.id] == row.split for row in few.rows)


def test_a_limit_takes_the_same_sample_every_time(tmp_path):
    path, turned = tmp_path / "a.csv", tmp_path / "b.csv"
    write_csv(path, PAIRS)
    write_csv(turned, PAIRS[::-1])
    small = load_dataset(recipe(path, data={"limit": 150}))
    assert len(small.rows) == 150
    assert small.digest == load_dataset(recipe(turned, data={"limit": 150})).digest
    assert len(sample_rows(small.rows, 10)) == 10


# --- context -------------------------------------------------------------------------------------


def words(messages):
    return sum(len(message.content.split()) for message in messages)


def test_a_few_rows_too_long_for_the_context_are_dropped_and_listed(tmp_path):
    rows = [*PAIRS, ("word " * 50, "refund")]
    made = recipe(write_csv(tmp_path / "a.csv", rows))
    dataset = load_dataset(made, count_tokens=words, context=40)
    assert dataset.report.dropped == {"too long": 1}
    assert dataset.report.warnings == ("too long for the context, dropped: a.csv:202 (51 tokens)",)
    assert dataset.report.tokens == {"p50": 6, "p90": 6, "p99": 6, "max": 6}


def test_many_rows_too_long_for_the_context_are_refused(tmp_path):
    made = recipe(write_csv(tmp_path / "a.csv", PAIRS))
    said = problems(made, count_tokens=words, context=5)
    assert "a.csv:2: 6 tokens; the model's context is 5" in said


def test_without_a_context_lengths_are_only_measured():
    row = Row("1", (Message("user", "a b"),), "c")
    assert fit_context([row], words, None) == ([row], [3], [])


# --- writing and reading -------------------------------------------------------------------------


def test_a_dataset_comes_back_as_it_was_written(tmp_path):
    dataset = load_dataset(recipe(write_csv(tmp_path / "a.csv", PAIRS)))
    dataset.write(tmp_path / "out")
    again = Dataset.read(tmp_path / "out")
    assert again.digest == dataset.digest
    assert again.report == dataset.report
    assert again.split("test") == dataset.split("test")
    assert again.labels == tuple(sorted(LABELS))


def test_a_dataset_that_was_changed_on_disk_is_refused(tmp_path):
    dataset = load_dataset(recipe(write_csv(tmp_path / "a.csv", PAIRS)))
    dataset.write(tmp_path / "out")
    train = tmp_path / "out" / "train.jsonl"
    train.write_bytes(train.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(DataProblems, match="not those its digest was made of"):
        Dataset.read(tmp_path / "out")
    train.write_bytes(b"{")
    with pytest.raises(DataProblems, match="damaged"):
        Dataset.read(tmp_path / "out")


def test_a_hub_dataset_is_found_by_its_name(tmp_path):
    write_csv(tmp_path / "rows.csv", PAIRS)
    made = recipe("dataset://me/desk")
    assert "no hub here" in problems(made)
    asked = []
    dataset = load_dataset(made, locate=lambda name: asked.append(name) or tmp_path)
    assert (asked, len(dataset.rows)) == (["me/desk"], 200)


# --- chat ----------------------------------------------------------------------------------------


def chat_rows(messages):
    filler = [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
              for i in range(150)]  # fmt: skip
    return [{"messages": messages}, *filler]


def test_the_last_assistant_turn_is_the_answer(tmp_path):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "name?"},
        {"role": "assistant", "content": " Sapling "},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", chat_rows(messages))
    row = load_dataset(recipe(path, "chat", persona="Be kind.")).rows[0]
    assert [turn.role for turn in row.messages] == ["system", "user", "assistant", "user"]
    assert row.answer == "Sapling"


def test_a_row_keeps_its_own_system_turn(tmp_path):
    messages = [{"role": "developer", "content": "Mine."}, *chat_rows([])[1]["messages"]]
    path = write_jsonl(tmp_path / "a.jsonl", chat_rows(messages))
    row = load_dataset(recipe(path, "chat", persona="Be kind.")).rows[0]
    assert row.messages[0] == Message("system", "Mine.")


ASK, SAY = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([ASK], "the assistant never speaks"),
        ([], "the assistant never speaks"),
        ([ASK, SAY, ASK], "the last turn must be the assistant's answer"),
        ([SAY], "no user turn before the answer"),
        ([ASK, SAY, SAY], "turn 3: the assistant speaks twice; join"),
        ([ASK, {"role": "system", "content": "x"}, SAY], "turn 2: a system turn comes first"),
        ([ASK, {"role": "tool", "content": "x"}, SAY], "turn 2: a tool answers the assistant"),
        ([{"role": "user", "content": " \n"}, SAY], "turn 1 (user): empty; write its text"),
        ([ASK, {**SAY, "content": ""}], "turn 2 (assistant): empty"),
        ([{"role": "bot", "content": "a"}], "turn 1: needs a role; allowed system"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "turn 1: content must be text"),
        ([ASK, {**SAY, "weight": 0.5}], "turn 2: weight is 0.5; allowed 0"),
        ([ASK, {**SAY, "weight": [1]}], "turn 2: weight is [1]; allowed 0"),
        ([ASK, {**SAY, "weight": 0}], "no turn of the assistant's is learnt"),
        ("hello", "expected a list of turns"),
    ],
)
def test_a_conversation_that_cannot_be_learnt_from_names_the_turn(tmp_path, messages, said):
    path = write_jsonl(tmp_path / "a.jsonl", chat_rows(messages))
    found = problems(recipe(path, "chat"))
    assert f"{path}:1: messages: " in found and said in found


def test_chat_reads_a_prompt_and_an_answer_column(tmp_path):
    path = write_csv(
        tmp_path / "a.csv", [(f"q {i}", f"a {i}") for i in range(150)], ("ask", "answer")
    )
    made = recipe(path, "chat", data={"columns": {"prompt": "ask"}})
    assert load_dataset(made).rows[0].messages == (Message("user", "q 0"),)


# --- extraction ----------------------------------------------------------------------------------


def extraction(first):
    filler = [{"text": f"t {i}", "output": {"name": f"n {i}"}} for i in range(150)]
    return [{"text": "first"} | first, *filler]


def test_an_extracted_object_becomes_one_canonical_text(tmp_path):
    output = {"items": ["螺丝"], "amount": 5, "name": "王"}
    path = write_jsonl(tmp_path / "a.jsonl", extraction({"output": output}))
    row = load_dataset(recipe(path, "extraction")).rows[0]
    assert row.answer == '{"name":"王","amount":5,"items":["螺丝"]}'


def test_fields_in_columns_of_their_own_are_read_by_the_schema(tmp_path):
    rows = [(f"t {i}", f"n {i}", "5.5", "TRUE", '["a"]') for i in range(150)]
    rows[1] = ("t 1", "007", "", "", "")
    path = write_csv(tmp_path / "a.csv", rows, ("text", "who", "amount", "urgent", "items"))
    made = recipe(path, "extraction", data={"columns": {"name": "who"}})
    dataset = load_dataset(made)
    assert dataset.rows[0].answer == '{"name":"n 0","amount":5.5,"urgent":true,"items":["a"]}'
    assert dataset.rows[1].answer == '{"name":"007"}'


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({"output": {"amount": 1}}, "'name' is a required property"),
        ({"output": {"name": 1}}, "output: name: 1 is not of type 'string'"),
        ({"output": {"name": "a", "x": 1}}, "Additional properties are not allowed"),
        ({"output": "not json"}, "output: expected an object with the fields"),
        ({"output": {"name": "\ud800"}}, "half a character"),
        ({"output": {"name": "a", "amount": float("inf")}}, "cannot be written as JSON"),
    ],
)
def test_an_answer_that_breaks_the_schema_names_its_line_and_field(tmp_path, first, said):
    lines = [json.dumps(row) for row in extraction(first)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    found = problems(recipe(path, "extraction"))
    assert f"{path}:1: " in found and said in found


# --- grounded ------------------------------------------------------------------------------------


def passage(text, document="zh/returns.md"):
    return Passage("k", document, "", text, 0, len(text))


def grounded(tmp_path, *first, header=("question", "answer", "document")):
    filler = [(f"q {i}", f"a {i}", "one.md")[: len(header)] for i in range(150)]
    path = write_csv(tmp_path / "a.csv", [*first, *filler], header)
    return load_dataset(recipe(path, "grounded", persona="Cite.")).rows[0]


def test_a_grounded_prompt_is_numbered_passages_and_then_the_question(tmp_path):
    row = grounded(tmp_path, ("How long?", "within  30 days", "returns.md"))
    found = [passage("Refunds within 30 days.", "en/other.md"), passage("Return within 30\ndays.")]
    made = ground_row(row, found)
    assert made.messages[0] == Message("system", "Cite.")
    assert made.messages[1].content == (
        "[1]\n> Refunds within 30 days.\n\n[2]\n> Return within 30\n> days.\n\nHow long?"
    )
    assert made.answer == "[2] within  30 days"
    assert (made.id, made.split) == (row.id, row.split)


@pytest.mark.parametrize(
    ("question", "language"),
    [("How long does iPhone 保修 last?", "en"), ("iPhone 保修多久？", "zh")],
)
def test_what_no_passage_holds_is_not_found_in_the_language_of_the_question(
    tmp_path, question, language
):
    row = grounded(tmp_path, (question, "two years", "warranty.md"))
    assert ground_row(row, [passage("two years")]).answer == NOT_FOUND[language]
    assert ground_row(row, []).messages[-1].content == question


def test_no_document_means_not_in_the_documents(tmp_path):
    row = grounded(tmp_path, ("Who am I?", "", ""))
    assert ground_row(row, [passage("Not in the documents.")]).answer == NOT_FOUND["en"]


def test_without_a_document_column_any_passage_with_the_answer_counts(tmp_path):
    row = grounded(tmp_path, ("How long?", "30 days"), header=("question", "answer"))
    assert ground_row(row, [passage("none"), passage("30 days")]).answer == "[2] 30 days"


def test_a_document_without_an_answer_is_a_mistake(tmp_path):
    with pytest.raises(DataProblems, match="empty, although the document is one"):
        grounded(tmp_path, ("q", "", "one.md"))


def test_rows_that_the_bases_template_refuses_are_named_by_line(tmp_path):
    def count(messages):
        if "number 7 " in messages[0].content:
            raise InvalidInput("The model's chat template refuses these messages: turns alternate")
        return 3

    said = problems(recipe(write_csv(tmp_path / "a.csv", PAIRS)), count_tokens=count, context=40)
    assert said == (
        "a.csv:9: messages: The model's chat template refuses these messages: turns alternate"
    )
