"""The plain contender: what TF-IDF and a linear model make of the same rows, in seconds.

A tuned model that does not beat it has not earned its cost, and the verdict says so.
"""

from __future__ import annotations

import io
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: TID253  the point of this file
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: TID253
from sklearn.multiclass import OneVsRestClassifier  # noqa: TID253
from sklearn.pipeline import FeatureUnion, make_pipeline  # noqa: TID253

from baigong.evals.metrics import BITS, CHOSEN, REJECTED, Task
from baigong.model.data_url import image_of
from baigong.types import Row

# More rows than this teach a linear model little and cost minutes.
MAX_TRAIN_ROWS = 20_000
_MAX_FEATURES = 50_000
_BLOCK = 512
_SIDE = 32  # pixels of a picture, both ways

_NEAREST = "TF-IDF, nearest row"
NAMES: defaultdict[str, str] = defaultdict(
    lambda: _NEAREST,
    classification="TF-IDF, logistic regression",
    regression="TF-IDF, ridge",
    images="Logistic regression on pixels",
    pairs="TF-IDF",
    preference="the longer answer",
    text="deflate",
)
_WINDOW = 2**15  # what a compressor looks back to


def baseline_answers(train: Sequence[Row], test: Sequence[Row], task: Task) -> list[str]:
    """An answer to each test row, learnt from the training rows without any language model.

    Preference: the longer of two answers; of answers judged one by one, the verdict that is commoner
    in training. Classification: TF-IDF over words (1-2) and characters (2-5, which is how Chinese works) with
    logistic regression. Regression: a ridge over the same. Plain text: bits a byte of a compressor
    that has the last training texts before it. Images: logistic regression on the pixels of 32 x 32 of them.
    Pairs: the place of the wanted text among those of all rows, by TF-IDF. Other tasks: the answer of the
    most similar training row, an honest stand-in.

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
    if task == "regression":
        return _number(known, answers, asked)
    if task == "images":
        return _picture(known, answers, asked)
    if task == "pairs":
        return _search(known, asked, [row.answer for row in test])
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


def _number(known: Sequence[str], values: Sequence[str], asked: Sequence[str]) -> list[str]:
    model = make_pipeline(_features(), Ridge(alpha=1.0))
    model.fit(known, [float(value) for value in values])
    return [f"{float(value):.6g}" for value in model.predict(asked)]


def _picture(known: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    if len(set(labels)) == 1:
        return [labels[0]] * len(asked)
    model = LogisticRegression(C=0.01, max_iter=500)
    model.fit(_pixels(known), labels)
    return [str(label) for label in model.predict(_pixels(asked))]


def _pixels(urls: Sequence[str]) -> NDArray[np.float32]:
    """Pixels from -1 to 1, (pictures, 3 * 32 * 32)."""
    from PIL import Image  # noqa: PLC0415  an extra of its own

    rows = [
        np.asarray(Image.open(io.BytesIO(image_of(url))).convert("RGB").resize((_SIDE, _SIDE)))
        for url in urls
    ]
    return np.stack(rows).reshape(len(rows), -1).astype(np.float32) / 127.5 - 1


def _search(known: Sequence[str], asked: Sequence[str], wanted: Sequence[str]) -> list[str]:
    texts = list(dict.fromkeys(wanted))
    features = _features().fit([*known, *texts])
    scores = (features.transform(asked) @ features.transform(texts).T).toarray()
    own = scores[np.arange(len(asked)), [texts.index(text) for text in wanted]]
    return [str(int(place)) for place in (scores >= own[:, None]).sum(1)]


def _nearest(known: Sequence[str], answers: Sequence[str], asked: Sequence[str]) -> list[str]:
    features = _features()
    space = features.fit_transform(known).T.tocsc()
    found: list[str] = []
    for start in range(0, len(asked), _BLOCK):
        similarity = features.transform(asked[start : start + _BLOCK]) @ space
        found += [answers[int(i)] for i in np.asarray(similarity.argmax(axis=1)).ravel()]
    return found
