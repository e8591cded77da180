"""Answers held to a grammar: a JSON schema, a regular expression or Lark rules, by llguidance.

Grammars ──compile──▶ Matcher (one sequence's place in its grammar) ──mask──▶ its logits
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import llguidance
import numpy as np
import torch
from torch import Tensor

from baigong.errors import InvalidInput, Unsupported
from baigong.types import Grammar

_KEPT = 64  # compiled grammars
_REASON = 400  # characters of the library's reason that are passed on

# Space between the parts of a JSON text: enough to set it out in lines, too little for a weak
# model to go on with for ever.
_SPACE = r"[\x20\x0A\x0D\x09]{1,20}"
_NAMES = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "grammar"}


class Matcher:
    """One sequence's place in its grammar. `error` says why it cannot go on; else it is empty."""

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self.error = ""

    def copy(self) -> Matcher:
        """The same place, for another sequence."""
        return Matcher(self._matcher.deep_copy(), self._vocabulary)

    def mask(self, row: Tensor) -> bool:
        """Leave in the logits row [vocabulary] what may come next; False when nothing may."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)
        if self._matcher.is_error() or not allowed.any():
            self.error = _reason(self._matcher.get_error()) or "no text satisfies it"
            return False
        row.masked_fill_(torch.from_numpy(~allowed).to(row.device), float("-inf"))
        return True

    def take(self, token: int) -> bool:
        """Go on by a token that the mask allowed; True when the text is complete with it."""
        self._matcher.consume_token(token)
        return self._matcher.is_stopped() and not self._matcher.is_error()


class Grammars:
    """Compiles grammars for one model's tokenizer and keeps the latest. Safe between threads.

    The tokenizer is read when the first grammar comes.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        """`vocabulary` is the width of the model's logits."""
        self._folder = folder
        self._vocabulary = vocabulary
        self._lock = Lock()
        self._tokenizers: dict[frozenset[int], llguidance.LLTokenizer] = {}
        self._compiled: OrderedDict[tuple[Grammar, frozenset[int]], Matcher] = OrderedDict()

    def known(self, grammar: Grammar, stop_ids: frozenset[int]) -> Matcher | None:
        """A matcher at the beginning of a grammar that was compiled before."""
        with self._lock:
            matcher = self._compiled.get((grammar, stop_ids))
            if matcher is None:
                return None
            self._compiled.move_to_end((grammar, stop_ids))
        return matcher.copy()

    def compile(self, grammar: Grammar, stop_ids: frozenset[int]) -> Matcher:
        """A matcher at the beginning of the grammar. A long one takes a second.

        The text may end with any of `stop_ids`, and only where the grammar is satisfied.

        Raises:
            InvalidInput: the grammar is wrong or allows no text; the message has the reason.
            Unsupported: the model has no tokenizer.json, or one that llguidance cannot read.
        """
        known = self.known(grammar, stop_ids)
        if known is not None:
            return known
        try:
            compiled = llguidance.LLMatcher(
                self._tokenizer(stop_ids), _source(grammar), log_level=0
            )
        except ValueError as error:
            raise _invalid(grammar, str(error)) from error
        if compiled.is_error():
            raise _invalid(grammar, compiled.get_error())
        matcher = Matcher(compiled, self._vocabulary)
        if not matcher.mask(torch.zeros(self._vocabulary)):
            raise _invalid(grammar, matcher.error)
        with self._lock:
            self._compiled[grammar, stop_ids] = matcher
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return matcher.copy()

    def _tokenizer(self, stop_ids: frozenset[int]) -> llguidance.LLTokenizer:
        if stop_ids not in self._tokenizers:
            path = self._folder / "tokenizer.json"
            ends = sorted(id for id in stop_ids if 0 <= id < self._vocabulary)
            try:
                self._tokenizers[stop_ids] = llguidance.LLTokenizer(
                    path.read_text("utf-8"), n_vocab=self._vocabulary, eos_token=ends or None
                )
            except (FileNotFoundError, ValueError) as error:
                raise Unsupported(
                    f"The tokenizer of {self._folder.name} cannot be used with a grammar: {error}",
                    hint="Ask without a grammar.",
                    param="grammar",
                ) from error
        return self._tokenizers[stop_ids]


def _source(grammar: Grammar) -> str:
    if grammar.kind == "json_schema":
        return llguidance.LLMatcher.grammar_from_json_schema(
            grammar.source, overrides={"whitespace_pattern": _SPACE}
        )
    if grammar.kind == "regex":
        return llguidance.LLMatcher.grammar_from_regex(grammar.source)
    return llguidance.LLMatcher.grammar_from_lark(grammar.source)


def _invalid(grammar: Grammar, reason: str) -> InvalidInput:
    return InvalidInput(
        f"The {_NAMES[grammar.kind]} cannot be used: {_reason(reason)}.",
        hint="Mend it.",
        param="grammar",
    )


def _reason(text: str) -> str:
    text = text.strip().rstrip(".")
    return text if len(text) <= _REASON else f"{text[:_REASON]}..."
