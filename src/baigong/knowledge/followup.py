"""A question that leans on the ones before it, made one that can be searched for by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from baigong.knowledge.terms import question_terms, unspaced_share

_TURNS = 4  # of a person's, how far back a question may lean
_MOST = 16  # words, or Chinese characters, that are carried over

_OPENING = re.compile(
    r"(?:and|but|or|what about|how about|what if|also|then|same for)\b"
    r"|那么?|那麼|还有|還有|另外|如果是?|换成|換成|以及|再?(?:比如|例如)",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\b(?:it|its|they|them|their|that|this|those|these|he|him|his|she|her|one|ones|there|then|such|same|else|instead)\b"
    r"|[它他她牠其]|[这這那此该該](?:[个個些种種样樣边邊里裡款项項次]|时|時|份|家)?|上述|前者|后者|後者|同样|同樣|(?:呢|的话|的話)[?？]?$",
    re.IGNORECASE,
)
# Below so many words of its own (two Chinese characters are one) a question cannot stand alone; with
# more, a "this" in it points to something that it names itself.
_ALONE = 2
_OWN = 5
_EMPTY_IT = re.compile(
    r"\bit (?:takes?|costs?|possible|ok|okay|allowed|necessary) (?:for \w+ )?to\b", re.I
)


def standalone(turns: Sequence[str]) -> str:
    """What to search for: the last of a person's turns, with what it leaves unsaid from those before.

    A question that stands by itself comes back as it is. One that is short, opens with "and" or
    "那", or points to something ("it", "它") gets the content words of the turn that it leans on.
    """
    recent = [turn.strip() for turn in turns if turn.strip()][-_TURNS:]
    if not recent:
        return ""
    found = recent[0]
    for turn in recent[1:]:
        found = _joined(turn, found) if leans(turn) else turn
    return found


def leans(question: str) -> bool:
    """Whether a question needs those before it to be understood."""
    own = _own(question)
    if own < _ALONE:
        return True
    pointing = _POINTING.search(_EMPTY_IT.sub(" ", question)) or _OPENING.match(question.lstrip())
    return own < _OWN and pointing is not None


def _own(question: str) -> float:
    bare = _POINTING.sub(" ", _OPENING.sub(" ", question, count=1))
    words = [term for term in question_terms(bare) if term not in _EMPTY]
    characters = sum(unspaced_share(term) == 1.0 for term in words if len(term) == 1)
    return characters / 2 + sum(unspaced_share(term) == 0.0 for term in words)


_EMPTY = frozenset(
    "also about then much many long same there okay ok thanks yes no 呢 多 久 长 大".split()
)


def _joined(question: str, before: str) -> str:
    """The question first, for what it says itself is what is asked now."""
    known = set(question_terms(question))
    if unspaced_share(before) > 0.3:  # its terms overlap, and the runs of it do not
        carried = re.sub(r"[^\w]+", " ", before)[-4 * _MOST :]
    else:
        fresh = [term for term in question_terms(before) if term not in known | _EMPTY]
        carried = " ".join(fresh[:_MOST])
    return f"{question} {carried}".strip()
