"""The rows of a recipe, as the base that is to learn them reads them."""

from __future__ import annotations

from collections.abc import Sequence

from baigong.errors import Problem
from baigong.hub.architecture import read_shape
from baigong.hub.chat import tokenizer_of
from baigong.hub.repository import Hub, Revision
from baigong.industry.recipe import Recipe
from baigong.industry.rows import Dataset, load_dataset
from baigong.tuning.template import check_template
from baigong.types import Message


def load_rows(
    hub: Hub, recipe: Recipe, base: Revision, lacking: list[Problem] | None = None
) -> Dataset:
    """The rows of a recipe, as the base reads them; see `load_dataset`.

    Raises:
        InvalidInput: the base cannot be talked to: it has no chat template, or no tokens for it.
    """
    tokenizer, is_text = tokenizer_of(base.folder), recipe.task == "text"
    if not is_text:
        check_template(tokenizer, base.name)

    def count(messages: Sequence[Message]) -> int:
        if is_text:
            return len(tokenizer.encode_text(messages[0].content))
        return len(tokenizer.encode(messages, add_generation_prompt=False))

    return load_dataset(
        recipe,
        count_tokens=count,
        # Texts are cut into blocks, so that none is too long.
        context=None if is_text else read_shape(base.folder).context,
        locate=lambda ref: hub.get("dataset", ref).folder,
        lacking=lacking,
    )
