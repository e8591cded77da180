"""Recipes are validated at the edge, and what is wrong is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from baigong.errors import DataProblems, NotFound
from baigong.tuning.pretrain.corpus import read_corpus
from baigong.tuning.pretrain.recipe import read_recipe
from tests.tuning.pretrain_toy import toy_recipe, write_data, write_recipe

SHIPPED = Path(__file__).parents[2] / "recipes" / "sapling" / "pretrain.yaml"


def test_shipped_recipe_is_valid_and_every_source_has_a_licence() -> None:
    recipe = read_recipe(SHIPPED)
    assert recipe.name == "sapling"
    assert all(source.licence and source.credit for source in recipe.sources)


def test_larger_shape_and_an_accelerator_are_the_same_keys(tmp_path: Path) -> None:
    changed = toy_recipe(device="cuda", shape={"hidden": 512, "layers": 8, "heads": 8})
    recipe = read_recipe(write_recipe(tmp_path / "r.yaml", changed))
    assert (recipe.device, recipe.shape.hidden) == ("cuda", 512)


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    wrong = toy_recipe(shape={"hiden": 3, "layers": 0})
    wrong["sources"][0]["language"] = "fr"
    path = write_recipe(tmp_path / "r.yaml", wrong)
    with pytest.raises(DataProblems) as told:
        read_recipe(path)
    by_field = {problem.field: problem for problem in told.value.problems}
    assert set(by_field) == {"shape.hiden", "shape.layers", "sources.0.language"}
    lines = path.read_text().split("\n")
    for field, word in (("shape.hiden", "hiden"), ("sources.0.language", "fr")):
        line = by_field[field].line
        assert line is not None and word in lines[line - 1]


def test_budget_wants_minutes_or_steps(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "r.yaml", toy_recipe(budget={"minutes": 3, "steps": 8}))
    with pytest.raises(DataProblems, match="either 'minutes' or 'steps'"):
        read_recipe(path)


def test_missing_recipe_and_broken_yaml_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no recipe at"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("name: [\n")
    with pytest.raises(DataProblems, match="not valid YAML"):
        read_recipe(tmp_path / "broken.yaml")


def test_missing_source_file_is_named(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path / "r.yaml", toy_recipe()))
    with pytest.raises(DataProblems, match=r"en\.jsonl: sources\.0\.path: there is no such file"):
        read_corpus(recipe, tmp_path)


def test_source_line_without_the_field_is_named(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    with (data / "en.jsonl").open("a") as file:
        file.write('{"body": "x"}\n')
    recipe = read_recipe(write_recipe(tmp_path / "r.yaml", toy_recipe()))
    with pytest.raises(DataProblems, match=r"en\.jsonl:61: text: "):
        read_corpus(recipe, data)
