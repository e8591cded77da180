"""Thoughts apart from the answer: what stands between the marks that a chat template knows."""

from __future__ import annotations

from typing import Any, NamedTuple

from baigong.errors import InvalidInput
from baigong.inference.text import overlap
from baigong.model.chat import ChatTokenizer


class Marks(NamedTuple):
    """What a model writes before and after its thoughts."""

    begin: str
    end: str


MARKS = (
    Marks("<think>", "</think>"),  # Qwen3, DeepSeek-R1
    Marks("[THINK]", "[/THINK]"),  # Magistral
    Marks("<seed:think>", "</seed:think>"),  # Seed-OSS
)

# Variables by which templates are told not to think: Qwen3's name, and DeepSeek's and Granite's.
SWITCHES = ("enable_thinking", "thinking")


def marks_of(template: str) -> Marks | None:
    """The marks that a chat template writes or takes out; None for a model that does not think."""
    return next((m for m in MARKS if m.begin in template or m.end in template), None)


def effort_options(effort: str, tokenizer: ChatTokenizer) -> dict[str, Any]:
    """The template's variables for a `reasoning_effort`; "none" is not to think at all.

    A template that only knows on and off takes every other effort as on.

    Raises:
        InvalidInput: the model cannot think, or cannot do without.
    """
    if effort != "none" and "reasoning_effort" in tokenizer.reads:
        return {"reasoning_effort": effort}
    switch = next((name for name in SWITCHES if name in tokenizer.reads), None)
    if switch is not None:
        return {switch: effort != "none"}
    thinks = marks_of(tokenizer.template_text) is not None
    if thinks == (effort != "none"):
        return {}
    says = "always reasons" if thinks else "does not reason"
    error = InvalidInput(
        f"This model {says}, so reasoning_effort '{effort}' is not supported.",
        hint="Leave reasoning_effort out.",
        param="reasoning_effort",
    )
    error.code = "unsupported_parameter"
    raise error


class Thoughts:
    """Splits a text that comes in pieces into thoughts and answer; any pieces give the same split.

    Thoughts come first or not at all. White space round them belongs to neither side.
    """

    def __init__(self, marks: Marks, prompt: str) -> None:
        end = prompt.rstrip()
        self.marks = marks
        self.is_open = end.endswith(marks.begin)  # the prompt has begun the thoughts
        self.is_over = end.endswith(marks.end)  # and here it has ended them as well
        self._step = self._said if self.is_over else self._start
        self._held = ""

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next may be a thought."""
        return not self.is_over

    def push(self, text: str) -> tuple[str, str]:
        """The (thoughts, answer) that this piece makes certain."""
        self._held += text
        return self._step()

    def finish(self) -> tuple[str, str]:
        """What was held back."""
        held, self._held = self._held.rstrip(), ""
        is_thought = self.is_open and not self.is_over
        return (held, "") if is_thought else ("", held)

    def _start(self) -> tuple[str, str]:
        """Nothing but white space has come: does the answer begin with thoughts?"""
        text = self._held.lstrip()
        begin = self.marks.begin
        if begin.startswith(text):
            return "", ""
        if text.startswith(begin) or self.is_open:
            self.is_open = True
            self._held = text.removeprefix(begin)
            self._step = self._think_first
        else:
            self.is_over = True
            self._step = self._said
        return self._step()

    def _think_first(self) -> tuple[str, str]:
        self._held = self._held.lstrip()
        if not self._held:
            return "", ""
        self._step = self._think
        return self._step()

    def _think(self) -> tuple[str, str]:
        at = self._held.find(self.marks.end)
        if at >= 0:
            thought = self._held[:at].rstrip()
            self._held = self._held[at + len(self.marks.end) :]
            self.is_over = True
            self._step = self._after
            return thought, self._step()[1]
        certain = self._held[: len(self._held) - overlap(self._held, self.marks.end)].rstrip()
        self._held = self._held[len(certain) :]
        return certain, ""

    def _after(self) -> tuple[str, str]:
        self._held = self._held.lstrip()
        if not self._held:
            return "", ""
        self._step = self._said
        return self._step()

    def _said(self) -> tuple[str, str]:
        text, self._held = self._held, ""
        return "", text
