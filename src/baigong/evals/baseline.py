"""The plain contender: what TF-IDF and a linear model make of the same rows, in seconds.

A tuned model that does not beat it has not earned its cost, and the verdict says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: TID253  the point of this file
from sklearn.linear_model import LogisticRegression  # noqa: TID253
from sklearn.multiclass import OneVsRestClassifier  # noqa: TID253
from sklearn.pipeline import FeatureUnion, make_pipeline  # noqa: TID253

from baigong.evals.metrics import BITS, CHOSEN, REJECTED, Task
from baigong.types import Row

# More rows than this teach a linear model little and cost minutes.
MAX_TRAIN_ROWS = 20_000
_MAX_FEATURES = 50_000
_BLOCK = 512
_WINDOW = 2**15  # what a compressor looks back to


def baseline_answers(train: Sequence[Row], test: Sequence[Row], task: Task) -> list[str]:
    """An answer to each test row, learnt from the training rows without any language model.

    Preference: the longer of two answers; of answers judged one by one, the verdict that is commoner
    in training. Classification: TF-IDF over words (1-2) and characters (2-5, which is how Chinese works) with
    logistic regression. Plain text: bits a byte of a compressor that has the last training texts before
    it. Other tasks: the answer of the most similar training row, an honest stand-in.

    Raises:
        ValueError: there are no training rows.
    """
    if not train:
        raise ValueError("a baseline needs training rows")
    train = train[:MAX_TRAIN_ROWS]
    if task == "preference":
        return _longer(train, test)
    known = [_question(row, task) for row in train]
    asked = [_question(row, task) for row in test]
    answers = [row.answer for row in train]
    if not asked:
        return []
    if task == "text":
        return _compress(known, asked)
    if task == "classification":
        return _classify(known, answers, asked)
    return _nearest(known, answers, asked)


def _longer(train: Sequence[Row], test: Sequence[Row]) -> list[str]:
    mostly_good = 2 * sum(row.is_good is True for row in train) >= len(train)
    return [
        CHOSEN
        if (len(row.answer) > len(row.rejected) if isinstance(row.rejected, str) else mostly_good)
        else REJECTED
        for row in test
    ]


def _question(row: Row, task: Task) -> str:
    content = row.messages[-1].content
    # In a grounded prompt the passages come first; they would drown the question.
    return content.rpartition("\n\n")[2] if task == "grounded" else content


def _compress(known: Sequence[str], asked: Sequence[str]) -> list[str]:
    read = "\n".join(known).encode()[-_WINDOW:]
    bits = []
    for text in asked:
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, zdict=read)
        size = len(packer.compress(text.encode()) + packer.flush())
        bits.append(f"{8 * size / len(text.encode()):.4f}{BITS}")
    return bits


def _features() -> Any:
    return FeatureUnion([
        ("words", _tfidf("word", (1, 2), r"(?u)\b\w+\b")),
        ("characters", _tfidf("char_wb", (2, 5), None)),
    ])


def _tfidf(analyzer: str, ngrams: tuple[int, int], pattern: str | None) -> Any:
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams,
        token_pattern=pattern,
        sublinear_tf=True,
        max_features=_MAX_FEATURES,
    )


def _classify(known: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    if len(set(labels)) == 1:
        return [labels[0]] * len(asked)
    # One label against the rest: it converges in seconds where the joint model takes minutes to.
    linear = OneVsRestClassifier(
        LogisticRegression(C=10, solver="liblinear", tol=1e-2, random_state=0)
    )
    model = make_pipeline(_features(), linear)
    model.fit(known, labels)
    return [str(label) for label in model.predict(asked)]


def _nearest(known: Sequence[str], answers: Sequence[str], asked: Sequence[str]) -> list[str]:
    features = _features()
    space = features.fit_transform(known).T.tocsc()
    found: list[str] = []
    for start in range(0, len(asked), _BLOCK):
        similarity = features.transform(asked[start : start + _BLOCK]) @ space
        found += [answers[int(i)] for i in np.asarray(similarity.argmax(axis=1)).ravel()]
    return found
