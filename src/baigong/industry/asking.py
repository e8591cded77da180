"""How a contender is asked a row: most answer its prompt; one that searches tells where it found the text."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from baigong.evals.run import Ask
from baigong.industry.labelling import answers_of
from baigong.industry.preferring import Scoring
from baigong.industry.reading import read_text
from baigong.industry.serving import Served
from baigong.types import Delta, Row, Sampling

Floats = NDArray[np.float32]

# What each query is searched for among. A cross-encoder reads every pair anew, so that it gets fewer.
MOST_TEXTS = 1000
MOST_PAIRS = 30


def asking(task: str, model: Served, rows: Sequence[Row]) -> Ask:
    """What answers the rows of a task, or scores what stands in them.

    A base that cannot answer yet, such as an encoder without a head, says nothing: it scores zero.
    """
    if task == "preference":
        return Scoring(model)
    if task == "text":
        return partial(read_text, model)
    if task == "pairs":
        return Search(model, rows)
    return model.reply if answers_of(model.base.folder) is not None else _silence


async def _silence(_: Row, __: Sampling) -> AsyncGenerator[Delta]:
    yield Delta("", finish_reason="stop")


class Search:
    """Searches the texts of all rows for a row's query; the answer is the place of its positive, from 1.

    Where a query has several positives, the best of them counts. A text that scores as much as the
    wanted one stands before it.
    """

    def __init__(self, model: Served, rows: Sequence[Row]) -> None:
        self._model = model
        self._own: dict[str, list[str]] = {}
        self._wanted: dict[str, set[str]] = {}
        for row in rows:
            query = row.messages[-1].content
            texts = [row.answer, *([row.rejected] if isinstance(row.rejected, str) else [])]
            self._own.setdefault(query, []).extend(texts)
            self._wanted.setdefault(query, set()).add(row.answer)
        self._texts = list(dict.fromkeys(text for own in self._own.values() for text in own))
        self._vectors: dict[str, Floats] = {}
        self._embedding = asyncio.Lock()

    async def __call__(self, row: Row, _: Sampling) -> AsyncGenerator[Delta]:
        """The place as text (evals.run.Ask); nothing from a model that can neither embed nor rank."""
        query = row.messages[-1].content
        facts = await self._model.facts()
        if "classify" in facts.tasks and len(facts.labels) == 1:
            texts = self._among(query, MOST_PAIRS)
            scores = (await self._model.rank(query, texts)).scores
        elif "embed" in facts.tasks:
            texts = self._among(query, MOST_TEXTS)
            scores = await self._nearness(query, texts, facts.context)
        else:
            yield Delta("", finish_reason="stop")
            return
        yield Delta(str(self._place(query, texts, scores)), 1, finish_reason="stop")

    def _among(self, query: str, most: int) -> list[str]:
        """The query's own texts, and others, the same ones every time."""
        own = list(dict.fromkeys(self._own[query]))
        others = [text for text in self._texts if text not in own]
        others.sort(key=lambda text: hashlib.sha256(f"{query}\0{text}".encode()).digest())
        return [*own, *others[: max(0, most - len(own))]]

    async def _nearness(self, query: str, texts: Sequence[str], context: int) -> list[float]:
        async with self._embedding:
            missing = [text for text in texts if text not in self._vectors]
            if missing:
                found = await self._embed(missing, context)
                self._vectors.update(zip(missing, found, strict=True))
        (vector,) = await self._embed([query], context)
        scores: list[float] = (np.stack([self._vectors[text] for text in texts]) @ vector).tolist()
        return scores

    async def _embed(self, texts: Sequence[str], context: int) -> Floats:
        """Unit vectors (texts, size)."""
        words = self._model.tokenizer
        ids = [words.encode_text(text, special=True)[:context] for text in texts]
        vectors = np.array(await self._model.embed(ids), dtype=np.float32)
        lengths: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12))

    def _place(self, query: str, texts: Sequence[str], scores: Sequence[float]) -> int:
        scored = list(zip(texts, scores, strict=True))
        wanted = self._wanted[query]
        best = max(score for text, score in scored if text in wanted)
        return 1 + sum(score >= best for text, score in scored if text not in wanted)
