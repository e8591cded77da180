"""The exam: fresh tasks, their texts held back, answered greedily, marked by equality."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from baigong.tuning.pretrain.batches import LANGUAGES
from baigong.tuning.pretrain.quoting import NOT_THERE
from baigong.tuning.pretrain.recipe import Language
from baigong.tuning.pretrain.structure import Example, Material, make_example
from baigong.tuning.pretrain.tokenizer import CHAT_END, END_OF_TEXT, token_id

# Continuing a text has no right answer, so it is not marked.
EXAMINED = ("quote", "extract", "triage", "label", "copy", "translate")
_LONGEST_ANSWER = 200
_AT_ONCE = 32


@dataclass(frozen=True)
class Mark:
    """`exact` is the whole answer; `part` is the right passage, or the share of right fields;
    `constant` is what `part` would be for one answer to everything: what reading nothing earns."""

    kind: str
    language: Language
    count: int
    exact: float
    part: float | None
    constant: float | None


def examine(
    model: Any, tokenizer: Tokenizer, stuff: Material, count: int, seed: int
) -> Iterator[dict[str, Any]]:
    """One row a kind and language. The model must be in evaluation mode."""
    for kind in EXAMINED:
        for language in LANGUAGES:
            if kind == "translate" and not stuff.pairs:
                continue
            examples = [
                make_example(stuff, {}, seed, number, kind=kind, language=language)
                for number in range(count)
            ]
            wanted = tokenizer.encode_batch([example.answer for example in examples])
            # What runs on past the longest right answer is wrong already.
            limit = max(len(encoding.ids) for encoding in wanted) + 4
            answers = answer(model, tokenizer, [example.prompt for example in examples], limit)
            yield asdict(mark(kind, language, examples, answers))


def mark(
    kind: str, language: Language, examples: Sequence[Example], answers: Sequence[str]
) -> Mark:
    right_answers = [example.assistant for example in examples]
    pairs = list(zip(right_answers, answers, strict=True))
    exact = sum(wanted == given for wanted, given in pairs) / len(pairs)
    part = constant = None
    if kind == "quote":
        part = sum(_place(wanted) == _place(given) for wanted, given in pairs) / len(pairs)
        constant = Counter(map(_place, right_answers)).most_common(1)[0][1] / len(pairs)
    elif kind in ("extract", "triage"):
        rights = [right for wanted, given in pairs for right in _fields(wanted, given)]
        values = [value for wanted in right_answers for value in json.loads(wanted).values()]
        part = sum(rights) / max(1, len(rights))
        constant = values.count(None) / max(1, len(values))
    return Mark(kind, language, len(pairs), round(exact, 3), _rounded(part), _rounded(constant))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _place(answer: str) -> str:
    """The passage number of a quotation; a refusal stands for itself."""
    return answer if answer in NOT_THERE.values() else answer[:3]


def _fields(wanted: str, given: str) -> list[bool]:
    expected = json.loads(wanted)
    try:
        found = json.loads(given)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        return [False] * len(expected)
    return [key in found and found[key] == value for key, value in expected.items()]


def answer(
    model: Any, tokenizer: Tokenizer, prompts: Sequence[str], limit: int = _LONGEST_ANSWER
) -> list[str]:
    """Greedy, through transformers' own generate; prompts of like length share a batch."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(prompts))]
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    answers = [""] * len(rows)
    for start in range(0, len(order), _AT_ONCE):
        numbers = order[start : start + _AT_ONCE]
        texts = _generate(model, tokenizer, [rows[number] for number in numbers], limit)
        for number, text in zip(numbers, texts, strict=True):
            answers[number] = text
    return answers


def _generate(model: Any, tokenizer: Tokenizer, rows: list[list[int]], limit: int) -> list[str]:
    """Padded on the left, so that all answers begin in one column."""
    pad, end = token_id(tokenizer, END_OF_TEXT), token_id(tokenizer, CHAT_END)
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
        )
    answers = [row[: row.index(end)] if end in row else row for row in out[:, longest:].tolist()]
    return [tokenizer.decode(answer, skip_special_tokens=False) for answer in answers]
