"""Is what was trained what will be served? The same bytes, the same token ids, the same answers.

Every known case of "the tuned model got worse when served" is a difference in one of the three: a
template that one side lacks, a tokenizer that adds a token, an adapter applied with another scale.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from baigong.compute import run, usable_cores
from baigong.errors import InvalidInput, Refused
from baigong.model.chat import ChatTokenizer
from baigong.types import Message

TOKENS = 16  # of each answer that are compared
# Two tokens whose logits lie closer than this are a tie that rounding may break either way: sums in
# another order move a float32 logit by about 1e-5, bfloat16 weights by a few hundredths.
NEAR_TIE = 0.05
# By how much of their nats (one at least) both may differ over a prompt's tokens on average, by what
# the weights are served in. Measured with the sapling: 3e-6 nats in float32, 0.003 to 0.005 of about 3
# in bfloat16; with random weights, whose nats are wild, 0.045 of 9.
ROUNDING = {"float32": 0.0005, "bfloat16": 0.01, "float16": 0.01}
_SHOWN = 24  # characters of text round a difference


class Parity(msgspec.Struct, frozen=True):
    """What a comparison found. `first_difference` names the first byte or token that differs."""

    ok: bool
    prompts: int
    first_difference: str | None = None


class Heard(NamedTuple):
    """How the engine reads a prompt.

    Attributes:
        greedy: the ids that it adds when it decodes greedily.
        logprobs: of the prompt's tokens from the second on, in nats.
    """

    greedy: list[int]
    logprobs: list[float]


class Serves(Protocol):
    """The serving side: how the engine reads some ids, and the `max_tokens` it adds to them."""

    def __call__(self, ids: Sequence[int], max_tokens: int, /) -> Awaitable[Heard]: ...


Prompt = Sequence[Message] | str


async def check_parity(
    prompts: Sequence[Prompt],
    base: Path,
    adapter: Path | None,
    serves: Serves,
    *,
    dtype: str = "float32",
    tokenizer: ChatTokenizer | None = None,
) -> Parity:
    """Compare the trainer's path with the one that serves, prompt by prompt.

    Args:
        prompts: conversations that end before the answer, or plain texts.
        base: the model folder, as the trainer had it.
        adapter: PEFT folder, or None when the base was tuned as a whole.
        serves: the engine, with the adapter in it.
        dtype: what the engine's weights are in: it decides how much is rounding.
        tokenizer: what serving renders and tokenizes with; that of `base` if not given.

    Raises:
        Refused: they differ; the message names the first byte or token that does.
        ProcessFailed: the trainer's side could not be computed.
        InvalidInput: there is no prompt to compare.
    """
    if not prompts:
        raise InvalidInput("There is no prompt to compare.", param="prompts")
    trained = await read_as_trained(prompts, base, adapter)
    rounding = ROUNDING[dtype]
    result = await compare(prompts, trained, serves, tokenizer or ChatTokenizer(base), rounding)
    if not result.ok:
        raise Refused(
            f"What was trained is not what would be served. {result.first_difference}",
            hint="The release was not made; what is live stays live.",
        )
    return result


async def compare(
    prompts: Sequence[Prompt],
    trained: Sequence[Trained],
    serves: Serves,
    tokenizer: ChatTokenizer,
    rounding: float = ROUNDING["float32"],
) -> Parity:
    """Hold the serving side against the trainer's reading of the same prompts."""
    for number, (prompt, wanted) in enumerate(zip(prompts, trained, strict=True), 1):
        is_plain = isinstance(prompt, str)
        text = prompt if isinstance(prompt, str) else tokenizer.render(prompt)
        ids = tokenizer.encode_text(text, special=is_plain)
        difference = _bytes(wanted.text, text) or _ids(wanted.ids, ids, tokenizer)
        if difference is None:
            heard = await serves(ids, TOKENS)
            kept = [token for token in heard.greedy if token not in tokenizer.eos_ids]
            difference = _likelihoods(wanted, heard, rounding) or _answers(wanted, kept, tokenizer)
        if difference is not None:
            return Parity(False, len(prompts), f"Prompt {number}: {difference}")
    return Parity(True, len(prompts))


class Trained(msgspec.Struct, frozen=True):
    """How the trainer reads one prompt; `reference.Answered` without its import of torch."""

    text: str
    ids: list[int]
    greedy: list[int]
    gaps: list[float]
    logprobs: list[float]


async def read_as_trained(
    prompts: Sequence[Prompt], base: Path, adapter: Path | None
) -> list[Trained]:
    """The trainer's template text, ids and greedy answers, worked out in a process of its own."""
    question = {
        "base": str(base),
        "adapter": None if adapter is None else str(adapter),
        "prompts": prompts,
        "tokens": TOKENS,
        "threads": usable_cores(),
    }
    with tempfile.TemporaryDirectory(prefix="baigong-parity-") as folder:
        asked, answered = Path(folder, "asked.json"), Path(folder, "answered.json")
        await asyncio.to_thread(asked.write_bytes, msgspec.json.encode(question))
        module = "baigong.tuning.reference"
        command = [sys.executable, "-m", module, str(asked), str(answered)]
        await run(command, name="The trainer's side of the comparison")
        answers = await asyncio.to_thread(answered.read_bytes)
    return msgspec.json.decode(answers, type=list[Trained])


def _bytes(trained: str, served: str) -> str | None:
    """The first byte of the rendered template that differs."""
    if trained == served:
        return None
    at = next(
        index
        for index, (a, b) in enumerate(zip_longest(trained.encode(), served.encode()))
        if a != b
    )
    start = max(0, at - _SHOWN)
    shown = [
        side.encode()[start : at + _SHOWN].decode("utf-8", "replace") for side in (trained, served)
    ]
    return f"byte {at} of the template differs: trained {shown[0]!r}, served {shown[1]!r}."


def _ids(trained: list[int], served: list[int], tokenizer: ChatTokenizer) -> str | None:
    """The first token of the prompt that differs."""
    for at, (a, b) in enumerate(zip_longest(trained, served)):
        if a != b:
            names = f"trained {_name(a, tokenizer)}, served {_name(b, tokenizer)}"
            return f"token {at} of the prompt differs: {names}."
    return None


def _likelihoods(trained: Trained, heard: Heard, rounding: float) -> str | None:
    """How far apart both find the prompt's tokens on average, if that is more than rounding.

    It shows what greedy answers may hide: a small adapter at half its scale, say.
    """
    apart = [abs(a - b) for a, b in zip(trained.logprobs, heard.logprobs, strict=True)]
    mean = sum(apart) / max(1, len(apart))
    usual = sum(map(abs, trained.logprobs)) / max(1, len(apart))
    if mean <= rounding * max(1.0, usual):
        return None
    at = max(range(len(apart)), key=apart.__getitem__)
    return (
        f"the prompt's tokens are {mean:.2g} nats apart on average, most at token {at + 1}: trained"
        f" {trained.logprobs[at]:.3f}, served {heard.logprobs[at]:.3f}."
    )


def _answers(trained: Trained, served: list[int], tokenizer: ChatTokenizer) -> str | None:
    """The first greedy token that differs, unless the trainer's own choice was a near tie there."""
    for at, (a, b) in enumerate(zip_longest(trained.greedy, served)):
        if a != b:
            gap = trained.gaps[at] if at < len(trained.gaps) else 0.0
            if gap < NEAR_TIE:
                return None
            names = f"trained {_name(a, tokenizer)}, served {_name(b, tokenizer)}"
            return f"token {at} of the answer differs: {names} (logits {gap:.3f} apart)."
    return None


def _name(token: int | None, tokenizer: ChatTokenizer) -> str:
    if token is None:
        return "the end"
    return f"{token} ({tokenizer.tokenizer.id_to_token(token)!r})"
