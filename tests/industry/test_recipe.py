import json
import time

import jsonschema
import pytest
from ruamel.yaml import YAML

from baigong.errors import DataProblems
from baigong.industry.recipe import Recipe, load_recipe, recipe_digest

SMALLEST = "name: desk\ntask: classification\ndata: {rows: rows.csv}\n"
SCHEMA = "schema: {type: object, properties: {name: {type: string}}}\n"


@pytest.fixture
def write(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\nhi,a\n")
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "one.md").write_text("# One")

    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def problems(path, overrides=None):
    with pytest.raises(DataProblems) as caught:
        load_recipe(path, overrides)
    return [str(problem).replace(str(path), "FILE") for problem in caught.value.problems]


def problem(path, overrides=None):
    (only,) = problems(path, overrides)
    return only


def test_the_smallest_recipe_gets_what_its_task_implies(write, tmp_path):
    recipe = load_recipe(write(SMALLEST))
    assert recipe.base == "sapling"
    assert recipe.evals.metrics == ("accuracy", "macro_f1")
    assert recipe.gate.metric == "accuracy"
    assert recipe.serve.max_tokens == 64
    assert recipe.data.rows == str(tmp_path / "rows.csv")


def test_empty_sections_mean_their_defaults(write):
    empty = "tune:\nevals:\ngate:\nserve:\nknowledge:\nschema:\n"
    assert load_recipe(write(SMALLEST + empty)) == load_recipe(write(SMALLEST))


def test_the_gate_looks_at_the_first_metric_unless_told_otherwise(write):
    recipe = load_recipe(write(SMALLEST + "evals: {metrics: [macro_f1, accuracy]}\n"))
    assert recipe.gate.metric == "macro_f1"


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(write):
    path = write(
        """name: Desk_1
titel: x
base: sap ling
task: classification
schema: {type: object}
data:
  rows: rowz.csv
  columns: {txt: a}
  split: {test: -0.5, validation: gone.csv}
  limit: 0
tune:
  epochs: many
  rank: true
  rank: 3
evals: {metrics: [acuracy, rouge_l]}
gate: {metric: macro_f1, slices: {langage: 0.05}, minimum: 3}
serve: 5
"""
    )
    text = "\n".join(problems(path))
    for line in (
        'FILE:1: name: got "Desk_1"; allowed lower-case letters, digits and inner hyphens',
        "FILE:2: titel: unknown key; allowed name, title,",
        "serve; did you mean title?",
        'FILE:3: base: got "sap ling"; allowed sapling, or a model as owner/name',
        "FILE:5: schema: only for task: extraction, and this task is classification",
        'FILE:7: data.rows: got "rowz.csv"; no such file or folder below',
        "did you mean rows.csv?",
        "FILE:8: data.columns.txt: classification has no such field; allowed text, label; did you",
        "FILE:9: data.split.test: got -0.5; allowed above 0 or a file",
        'FILE:9: data.split.validation: got "gone.csv"; no such file',
        "FILE:10: data.limit: got 0; allowed at least 1",
        'FILE:12: tune.epochs: got "many"; allowed auto or a number',
        "FILE:13: tune.rank: got true; allowed auto or a number",
        "FILE:14: tune.rank: written twice; the first is on line 13",
        'FILE:15: evals.metrics.0: got "acuracy"; no such metric; allowed accuracy',
        'FILE:15: evals.metrics.1: got "rouge_l"; does not fit classification',
        'FILE:16: gate.metric: got "macro_f1"; allowed one of evals.metrics: acuracy, rouge_l',
        "FILE:16: gate.slices.langage: not among data.slices (none yet); add it there",
        "FILE:16: gate.minimum: got 3; allowed at most 1",
        "FILE:17: serve: got 5; allowed a mapping of fields",
    ):
        assert line in text
    lines = [int(one.split(":")[1]) for one in text.splitlines()]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\n", "task: required, and missing"),
        (SMALLEST.replace("classification", "clasification"), "did you mean classification?"),
        (SMALLEST.replace("classification", "extraction"), "schema: required when task is extract"),
        (SMALLEST.replace("classification", "grounded"), "knowledge: required when task is grou"),
        (SMALLEST + "gate: {slices: {language: 0.1}}", "not among data.slices"),
        (SMALLEST + "gate: {confidence: 1}", "allowed below 1"),
        (SMALLEST + "tune: {alpha: .nan}", "a finite number"),
        (SMALLEST + 'persona: "\\ud83d"', "persona: holds half a character"),
        (SMALLEST + "tune: {method: qlora}", "allowed lora, dora or full; did you mean lora?"),
        (SMALLEST + "title: {en: a, fr: b}", "title.fr: unknown key; allowed en, zh"),
        (SMALLEST.replace("{rows: rows.csv}", "{rows: rows.csv, split: {validation: 0.5, test: 0.9}}"),
         "the shares add up to 1.4; allowed at most 0.95"),
        (SMALLEST.replace("classification", "extraction")
         + "schema: {type: object}", "needs `properties`"),
        (SMALLEST.replace("classification", "extraction")
         + "schema: {properties: {a: {type: strin}}}", "schema.properties.a.type: not a JSON schema"),
        (SMALLEST.replace("classification", "extraction")
         + 'schema: {properties: {a: {$ref: "http://x/y"}}}', "allowed only references inside it"),
        (SMALLEST.replace("classification", "extraction") + "schema: gone.json", "no such file"),
        (SMALLEST.replace("classification", "extraction") + "schema: rows.csv", "not a JSON file"),
        (SMALLEST.replace("classification", "grounded")
         + "knowledge: {sources: [handbook, gone]}", "knowledge.sources.1: got"),
        (SMALLEST + "gate: {knowledge: {recall_at_3: 0.8}}", "the recipe has no knowledge to measure"),
        (SMALLEST + "knowledge: {sources: handbook}\ngate: {knowledge: {recall_at_2: 0.8}}",
         "gate.knowledge.recall_at_2"),
        (SMALLEST + "knowledge: {passages: 2}", "give either sources or from"),
        (SMALLEST + "knowledge: {sources: handbook, from: laws}", "give either sources or from"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_is_wrong_and_what_is_allowed(write, text, said):
    assert said in "\n".join(problems(write(text)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ntask: [1\nb", "FILE:3: not valid YAML"),
        ("name: a\n\ttask: b", "FILE:2: not valid YAML"),
        ("name: *x", "FILE:1: not valid YAML: found undefined alias"),
        ("", "a recipe is a mapping"),
        ("[1]", "a recipe is a mapping"),
        ("a: &x 1\nb: &x 2", "FILE:2: the anchor &x is defined twice"),
        ("a: &x [*x]", "an alias refers to what it is part of"),
        ("x: " + "[" * 100_000, "nested too deeply; allowed 32 levels"),
        ("x: [" + "1," * 60_000 + "]", "too many values"),
        ("#" * 300_000, "too big for a recipe"),
    ],
)
def test_a_broken_or_hostile_file_is_refused_soon_with_its_line(write, text, said):
    started = time.monotonic()
    assert said in problem(write(text))
    assert time.monotonic() - started < 20  # seconds; a shared machine takes about two


def test_a_billion_laughs_are_not_laughed(write):
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)]
    assert "aliases unfold to more than" in problem(write("a0: &a0 lol\n" + "".join(levels)))


def test_a_file_that_is_not_utf8_names_the_line(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes("name: a\ntitle: 客服\n".encode("gb18030"))
    assert "FILE:2: not UTF-8" in problem(path)


def test_a_missing_recipe_is_a_problem_of_its_own(tmp_path):
    assert "cannot be read" in problem(tmp_path / "gone.yaml")


def test_overrides_set_dotted_keys_and_replace_what_the_file_says(write, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.csv").write_text("text,label\n")
    monkeypatch.chdir(tmp_path / "other")
    recipe = load_recipe(
        write(SMALLEST),
        {
            "data.rows": "mine.csv",  # relative to where it was typed
            "tune.epochs": "3",
            "data.split.test": "0.3",
            "data.slices": "[language]",
            "persona": "2024",
        },
    )
    assert recipe.data.rows == str(tmp_path / "other" / "mine.csv")
    assert (recipe.tune.epochs, recipe.data.split.test) == (3, 0.3)
    assert recipe.data.slices == ("language",)
    assert recipe.persona == "2024"


def test_a_wrong_override_is_named_as_it_was_typed(write):
    said = problem(write(SMALLEST), {"tune.sed": "1"})
    assert said.startswith("--set tune.sed: tune.sed: unknown key")
    assert said.endswith("did you mean seed?")
    assert "name holds no fields" in problem(write(SMALLEST), {"name.x": "1"})


def test_variables_are_filled_in_and_a_missing_one_is_named(write, tmp_path):
    path = write(SMALLEST.replace("rows.csv", '"${folder}/rows.csv"') + "persona: costs $${x}\n")
    recipe = load_recipe(path, {"folder": str(tmp_path)})
    assert recipe.data.rows == str(tmp_path / "rows.csv")
    assert recipe.persona == "costs ${x}"
    assert "give it a value with --set folder=VALUE" in "\n".join(problems(path))


def test_one_title_stands_for_both_languages(write):
    assert load_recipe(write(SMALLEST + "title: {zh: 客服}")).title.en == "客服"
    assert load_recipe(write(SMALLEST + "title: Desk")).title.zh == "Desk"


def test_a_schema_may_lie_in_a_file_of_its_own(write, tmp_path):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    text = SMALLEST.replace("classification", "extraction")
    assert load_recipe(write(text + "schema: schema.json")).answer_schema == schema
    assert load_recipe(write(text + SCHEMA)).answer_schema == schema


def test_the_digest_follows_the_contents_and_not_the_place(write, tmp_path):
    path = write(SMALLEST)
    digest = recipe_digest(load_recipe(path))
    (tmp_path / "copy.csv").write_bytes((tmp_path / "rows.csv").read_bytes())
    assert recipe_digest(load_recipe(path, {"data.rows": str(tmp_path / "copy.csv")})) == digest
    assert recipe_digest(load_recipe(path, {"tune.seed": "1"})) != digest
    (tmp_path / "rows.csv").write_text("text,label\nhi,b\n")
    assert recipe_digest(load_recipe(path)) != digest


def test_the_digest_of_a_folder_sees_names_and_contents_but_no_hidden_files(write, tmp_path):
    text = SMALLEST.replace("classification", "grounded") + "knowledge: {sources: handbook}\n"
    digest = recipe_digest(load_recipe(write(text)))
    (tmp_path / "handbook" / ".DS_Store").write_text("x")
    assert recipe_digest(load_recipe(write(text))) == digest
    (tmp_path / "handbook" / "one.md").rename(tmp_path / "handbook" / "two.md")
    assert recipe_digest(load_recipe(write(text))) != digest


def test_the_exported_schema_accepts_what_loads(write):
    exported = Recipe.model_json_schema()
    path = write(SMALLEST + "title: Desk\nevals: {metrics: [accuracy]}\ngate: {minimum: 0.5}\n")
    load_recipe(path)
    jsonschema.validate(YAML(typ="safe", pure=True).load(path.read_text()), exported)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "x", "task": "chat", "data": {}, "x": 1}, exported)


def test_a_recipe_made_in_code_is_held_to_the_same_rules():
    with pytest.raises(ValueError, match="knowledge: required when task is grounded"):
        Recipe.model_validate({"name": "a", "task": "grounded", "data": {"rows": "x"}})


def test_a_recipe_cannot_be_changed(write):
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(write(SMALLEST)).name = "other"
