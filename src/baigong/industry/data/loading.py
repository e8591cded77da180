"""The rows of a recipe, as the base that is to learn them reads them."""

from __future__ import annotations

from baigong.errors import Problem
from baigong.hub.hub import Hub, Revision
from baigong.industry.data.rows import CountTokens, Dataset, load_dataset
from baigong.industry.recipe import Recipe
from baigong.model.architecture import read_shape
from baigong.model.chat import tokenizer_of
from baigong.tuning.examples.labelled import asked_text
from baigong.tuning.spec import WHOLE
from baigong.tuning.suited import check_base
from baigong.tuning.template import check_template


def load_rows(
    hub: Hub, recipe: Recipe, base: Revision, lacking: list[Problem] | None = None
) -> Dataset:
    """The rows of a recipe, as the base reads them; see `load_dataset`.

    Raises:
        InvalidInput: the base cannot learn what the recipe's objective is, or cannot be talked to: it
            has no chat template, or no tokens for it.
    """
    check_base(base.folder, recipe.tune.objective, base.name)
    # Texts are cut into blocks, so that none is too long, and pictures have no tokens.
    has_limit = recipe.task not in {"text", "images"}
    return load_dataset(
        recipe,
        count_tokens=None if recipe.task == "images" else _counter(recipe, base),
        context=read_shape(base.folder).context if has_limit else None,
        locate=lambda ref: hub.get("dataset", ref).folder,
        lacking=lacking,
    )


def _counter(recipe: Recipe, base: Revision) -> CountTokens:
    """How long a row is to the base: one that ends in a head is given the text alone."""
    tokenizer = tokenizer_of(base.folder)
    if recipe.task == "text":
        return lambda messages: len(tokenizer.encode_text(messages[0].content))
    if recipe.tune.objective in WHOLE:
        return lambda messages: len(tokenizer.encode_text(asked_text(messages), special=True))
    check_template(tokenizer, base.name)
    return lambda messages: len(tokenizer.encode(messages, add_generation_prompt=False))
