"""What was trained is what is served, or the release is refused by name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from baigong.errors import Refused
from baigong.model.chat import ChatTokenizer
from baigong.tuning.parity import (
    NEAR_TIE,
    ROUNDING,
    Heard,
    Parity,
    Serves,
    Trained,
    check_parity,
    compare,
    read_as_trained,
)
from baigong.types import Message
from tests.inference.local import LocalEngine
from tests.models import make_adapter

pytestmark = pytest.mark.anyio

PROMPTS = [[Message("user", "Where is my card? 卡在哪里")], [Message("user", "ok")]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter"), base, seed=5)


def engine_with(base: Path, adapter: Path) -> Serves:
    """Our engine, greedy, in this process."""
    engine = LocalEngine(base)
    engine.add_adapter(1000, "tuned", adapter)
    ends = sorted(ChatTokenizer(base).eos_ids)
    requests = iter(range(1, 100))

    async def heard(ids: Sequence[int], max_tokens: int) -> Heard:
        request = next(requests)
        options = {"adapter": "tuned", "stop_ids": ends, "logprobs": 0, "scores_prompt": True}
        added = engine.run(request, list(ids), max_tokens=max_tokens, **options)
        scores = engine.news[request][0].prompt
        return Heard(added, [score.logprob for score in scores])

    return heard


@pytest.fixture(scope="module")
async def trained(base: Path, adapter: Path) -> list[Trained]:
    """How the trainer reads the prompts, worked out once: its imports take seconds."""
    return await read_as_trained(PROMPTS, base, adapter)


async def test_an_honest_pair_agrees(base: Path, adapter: Path, trained: list[Trained]) -> None:
    result = await compare(PROMPTS, trained, engine_with(base, adapter), ChatTokenizer(base))
    assert result == Parity(True, 2)


async def test_another_template_is_refused_naming_the_byte(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    template = other / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\\n", "assistant \\n"))
    with pytest.raises(Refused, match=r"Prompt 1: byte 79 of the template differs: trained"):
        await check_parity(
            PROMPTS,
            base,
            adapter,
            engine_with(base, adapter),
            tokenizer=ChatTokenizer(other),
        )


async def test_another_tokenizer_is_named_by_its_token(
    base: Path, adapter: Path, trained: list[Trained], tmp_path: Path
) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    path = other / "tokenizer.json"
    # What users meet: a tokenizer that puts a space before the text.
    path.write_text(
        path.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true')
    )
    result = await compare(PROMPTS, trained, engine_with(base, adapter), ChatTokenizer(other))
    assert re.match(r"Prompt 1: token \d+ of the prompt differs: trained", found(result))


async def test_another_adapter_is_named_by_its_token(
    base: Path, trained: list[Trained], tmp_path: Path
) -> None:
    wrong = make_adapter(tmp_path / "wrong", base, seed=5, scale=1.0)  # the scale is half
    result = await compare(PROMPTS, trained, engine_with(base, wrong), ChatTokenizer(base))
    assert re.match(
        r"Prompt 1: the prompt's tokens are [\d.]+ nats apart on average", found(result)
    )


async def test_an_answer_that_differs_is_named_by_its_token(
    base: Path, adapter: Path, trained: list[Trained]
) -> None:
    honest = engine_with(base, adapter)

    async def serves(ids: Sequence[int], max_tokens: int) -> Heard:
        heard = await honest(ids, max_tokens)
        return heard._replace(greedy=[5, *heard.greedy[1:]])

    result = await compare(PROMPTS, trained, serves, ChatTokenizer(base))
    assert re.match(r"Prompt 1: token 0 of the answer differs: trained", found(result))


@pytest.mark.parametrize(("gap", "ok"), [(NEAR_TIE / 2, True), (NEAR_TIE * 2, False)])
async def test_only_a_near_tie_of_the_trainers_own_excuses_another_answer(
    base: Path, gap: float, ok: bool
) -> None:
    tokenizer = ChatTokenizer(base)
    text = tokenizer.render(PROMPTS[0])
    trained = [Trained(text, tokenizer.encode_text(text), [7, 8, 9], [1.0, gap, 1.0], [-1.0])]

    async def serves(ids: Sequence[int], max_tokens: int) -> Heard:
        return Heard([7, 5], [-1.0])

    assert (await compare(PROMPTS[:1], trained, serves, tokenizer)).ok is ok


@pytest.mark.parametrize(
    ("apart", "ok"), [(ROUNDING["float32"] / 2, True), (ROUNDING["float32"] * 2, False)]
)
async def test_prompts_are_held_to_rounding(base: Path, apart: float, ok: bool) -> None:
    tokenizer = ChatTokenizer(base)
    text = tokenizer.render(PROMPTS[0])
    trained = [Trained(text, tokenizer.encode_text(text), [7], [1.0], [-1.0, -0.5])]

    async def serves(ids: Sequence[int], max_tokens: int) -> Heard:
        return Heard([7], [-1.0 - apart, -0.5 + apart])

    assert (await compare(PROMPTS[:1], trained, serves, tokenizer)).ok is ok


def found(result: Parity) -> str:
    assert not result.ok and result.first_difference is not None
    return result.first_difference
