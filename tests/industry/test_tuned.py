import pytest

from baigong.errors import DataProblems, InvalidInput, NotFound
from baigong.industry.tuned import name_of, recipe_of
from tests.industry.test_formats import instructed, plain, shared
from tests.industry.test_rows import write_csv, write_jsonl

FREE = [(f"question {i}", f"an answer of its own, number {i}") for i in range(200)]
FEW = [(f"question {i}", ("refund", "delivery")[i % 2]) for i in range(200)]


def made(tmp_path, rows, header, **wish):
    return recipe_of(write_csv(tmp_path / "rows.csv", rows, header), **wish)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (("text", "label"), {}),
        (("Message", "Category"), {"text": "Message", "label": "Category"}),
        (("文本", "标签"), {"text": "文本", "label": "标签"}),
        # Answers by name, and classes by what they are.
        (("question", "answer"), {"text": "question", "label": "answer"}),
    ],
)
def test_texts_with_repeating_answers_are_a_classification(tmp_path, header, columns):
    found = made(tmp_path, FEW, header)
    assert (found.recipe.task, found.recipe.data.columns) == ("classification", columns)
    assert found.recipe.gate.metric == "accuracy"
    assert "classification" in found.reasons[0]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (("prompt", "answer"), {}),
        (("Prompt", "Completion"), {"prompt": "Prompt", "answer": "Completion"}),
        (("question", "response"), {"prompt": "question", "answer": "response"}),
        (("问题", "回答"), {"prompt": "问题", "answer": "回答"}),
        (("问", "答"), {"prompt": "问", "answer": "答"}),
    ],
)
def test_questions_with_answers_of_their_own_are_chat(tmp_path, header, columns):
    found = made(tmp_path, FREE, header)
    assert (found.recipe.task, found.recipe.data.columns) == ("chat", columns)


@pytest.mark.parametrize(
    ("row", "said"), [(plain, "messages"), (shared, "ShareGPT"), (instructed, "Alpaca")]
)
def test_formats_of_others_are_chat_and_say_which(tmp_path, row, said):
    path = write_jsonl(tmp_path / "a.jsonl", [row(i) for i in range(200)])
    found = recipe_of(path)
    assert (found.recipe.task, found.recipe.data.columns) == ("chat", {})
    assert said in found.reasons[0]


def test_columns_that_are_named_are_taken_and_the_other_is_found(tmp_path):
    rows = [(str(i), *pair) for i, pair in enumerate(FREE)]
    found = made(tmp_path, rows, ("id", "Kundenfrage", "Reply"), columns={"prompt": "Kundenfrage"})
    assert found.recipe.task == "chat"
    assert found.recipe.data.columns == {"prompt": "Kundenfrage", "answer": "Reply"}


def test_columns_that_tell_nothing_are_asked_for_with_words_to_type(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        made(tmp_path, FREE, ("Kundenfrage", "Antwort"))
    assert "Kundenfrage, Antwort" in caught.value.message
    assert "--column prompt=COLUMN --column answer=COLUMN" in caught.value.hint


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"prompt": "nix"}, "no such column"), ({"colour": "question"}, "No task has the fields")],
)
def test_a_column_that_is_not_there_or_means_nothing_is_refused(tmp_path, columns, said):
    with pytest.raises(InvalidInput, match=said):
        made(tmp_path, FREE, ("question", "answer"), columns=columns)


def test_a_missing_file_suggests_its_neighbours(tmp_path):
    write_csv(tmp_path / "rows.csv", FEW)
    with pytest.raises(NotFound, match=r"rows.csv"):
        recipe_of(tmp_path / "row.csv")


def test_few_rows_keep_more_of_them_to_test(tmp_path):
    assert made(tmp_path, FEW[:60], ("text", "label")).recipe.data.split.test == 0.5
    assert made(tmp_path, FEW, ("text", "label")).recipe.data.split.test == 0.2


def test_two_languages_are_judged_apart(tmp_path):
    rows = [(f"我的包裹{i}还没到", "a") if i % 3 else (f"parcel {i} is late", "b") for i in range(90)]  # fmt: skip
    found = made(tmp_path, rows, ("text", "label"))
    assert found.recipe.data.slices == ("language",)
    assert made(tmp_path, FEW, ("text", "label")).recipe.data.slices == ()


def test_settings_and_fields_reach_the_recipe_and_mistakes_are_named(tmp_path):
    found = made(tmp_path, FEW, ("text", "label"), spec={"epochs": 3}, overrides={"tune.rank": "4"})
    assert (found.recipe.tune.epochs, found.recipe.tune.rank) == (3, 4)
    assert found.recipe.name == "rows"
    with pytest.raises(DataProblems, match=r"tune.rank: got .-1.; allowed auto or at least 1"):
        made(tmp_path, FEW, ("text", "label"), overrides={"tune.rank": "-1"})
    with pytest.raises(DataProblems, match=r"name: got .My Model."):
        made(tmp_path, FEW, ("text", "label"), name="My Model")


def test_a_name_is_made_of_any_files(tmp_path):
    assert name_of(tmp_path / "Kunden Fragen_2024.csv.gz") == "kunden-fragen-2024"
    assert name_of(tmp_path / "客服.csv") == "tuned"


def test_chosen_and_rejected_answers_are_preferences(tmp_path):
    rows = [(f"question {i}", "a good answer", f"a bad one {i}") for i in range(200)]
    found = made(tmp_path, rows, ("prompt", "chosen", "rejected"))
    assert found.recipe.task == "preference"
    assert "chosen and rejected" in found.reasons[0]


def test_a_column_of_text_alone_is_text(tmp_path):
    found = made(tmp_path, [(f"a long passage, number {i}",) for i in range(200)], ("Content",))
    assert (found.recipe.task, found.recipe.data.columns) == ("text", {"text": "Content"})
