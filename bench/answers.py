"""Quoted answers: how often the right words come, and how often words come where there are none.

`python -m bench.answers --data FOLDER`, FOLDER holding `retrieval`, `finance` and `health`. Each
question is asked of the whole base, asked again with all documents that answer it left out, and
questions of another trade are asked too. `--fit` prints the weights for `knowledge/support.py`,
from the questions of half of the documents of four sets; figures are of the other half, and of a
set that no weight or threshold was chosen on.

The reading sets write their questions beside a passage, and some fit many passages ("What is the
total revenue?"); a left-out question of theirs may well be answered elsewhere, which counts here
as a false answer.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from baigong import foundation
from baigong.industry.citing import supports
from baigong.inference.static import StaticEmbed
from baigong.knowledge.answer import ANSWERED, JUDGED, QuotedAnswer, answer_of
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.ingest import ingest
from baigong.knowledge.quote import best_quote, words_of
from baigong.knowledge.reindex import prepare
from baigong.knowledge.retrieve import Retriever, Search
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.support import Evidence, Weighed, weigh
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.types import Embed, Embedders, Passage
from bench.record import record

MOST = 250  # questions of a set
FOREIGN = 100  # of another trade


class Asked(NamedTuple):
    """A question, the documents of which any answers, and words of which the answer holds some."""

    question: str
    documents: tuple[str, ...]
    holds: tuple[str, ...] = ()


@dataclass
class Set:
    documents: dict[str, str] = field(default_factory=dict)
    questions: list[Asked] = field(default_factory=list)


class Found(NamedTuple):
    """What was found for a question; `kind` is there, left out or foreign."""

    kind: str
    asked: Asked
    passages: list[Passage]

    @property
    def is_train(self) -> bool:
        return self.kind != "foreign" and lot(self.asked.documents[0]) < 0.5

    def is_right(self, passage: Passage) -> bool:
        return self.kind == "there" and passage.document in self.asked.documents


Judged = tuple[Found, list[Weighed]]


# --- the sets ---------------------------------------------------------------------------------------


def squad(path: Path) -> Set:
    """A paragraph is a document."""
    made = Set()
    for article in _json(path)["data"]:
        title = article.get("title") or ""
        for n, paragraph in enumerate(article["paragraphs"]):
            name = f"{paragraph.get('id') or article.get('id')}-{n}.md"
            text = paragraph["context"]
            made.documents[name] = f"# {title}\n\n{text}" if title else text
            made.questions += [
                Asked(qa["question"], (name,), tuple(a["text"] for a in qa["answers"]))
                for qa in paragraph["qas"]
            ]
    return made


def tatqa(path: Path) -> Set:
    """Pieces of annual reports, a table and what stands round it; questions that the text answers."""
    made = Set()
    for report in _json(path):
        table = report["table"]["table"]
        rows = ["| " + " | ".join(row) + " |" for row in table]
        rows.insert(1, "|" + " --- |" * len(table[0]))
        text = "\n\n".join([*(p["text"] for p in report["paragraphs"]), "\n".join(rows)])
        name = f"{report['table']['uid']}.md"
        made.documents[name] = text
        made.questions += [
            Asked(qa["question"], (name,), tuple(qa["answer"]))
            for qa in report["questions"]
            if qa["answer_type"] == "span" and "text" in qa["answer_from"]
        ]
    return made


def medquad(path: Path) -> Set:
    """Pages about a disease, their questions taken out; any page about it answers."""
    made, about, asked = Set(), defaultdict(list), []
    for row in _lines(path):
        if row["source"] in {"GHR", "GARD"} and lot(row["doc"]) > 0.3:
            continue  # two of nine sources have two thirds of the pages
        # A page's number is its own within its source only.
        name, focus = f"{row['source']}-{row['doc']}.md", row["focus"].lower()
        if name not in about[focus]:
            about[focus].append(name)
        text = made.documents.get(name, f"# {row['focus']}\n")
        made.documents[name] = f"{text}\n{row['answer']}\n"
        asked.append((row["question"], focus))
    made.questions = [Asked(q, tuple(about[focus])) for q, focus in asked if about[focus]]
    return made


def dureader(path: Path) -> Set:
    """Web pages that a search engine found for a question; all of a question's count as answers."""
    made = Set()
    for part in ("train", "dev"):
        for row in _lines(path / f"dureader_demo_search.{part}.json.gz"):
            names = [f"{part}-{row['question_id']}-{n}.md" for n in range(len(row["documents"]))]
            for name, page in zip(names, row["documents"], strict=True):
                made.documents[name] = f"# {page['title']}\n\n" + "\n\n".join(page["paragraphs"])
            made.questions.append(Asked(row["question"], tuple(names)))
    return made


def across(folder: str) -> Callable[[Path], Set]:
    """Questions in Chinese and the English texts that answer them, no pair of which pollen has seen."""

    def read(data: Path) -> Set:
        from bench import embedder  # noqa: PLC0415  it brings torch

        one = getattr(embedder, folder)(data, embedder._paragraphs(data))
        asked = zip(one.questions, one.relevant, strict=True)
        return Set(
            {f"{place}.md": text for place, text in enumerate(one.texts)},
            [Asked(question, tuple(f"{at}.md" for at in places)) for question, places in asked],
        )

    return read


SETS: dict[str, tuple[Callable[[Path], Set], str, str]] = {
    # name: (reader, file, whose questions are of another trade)
    "drcd": (squad, "retrieval/DRCD_dev.json.gz", "dureader"),
    "cmrc": (squad, "retrieval/cmrc2018_trial.json.gz", "dureader"),
    "tatqa": (tatqa, "finance/tatqa_dataset_dev.json.gz", "medquad"),
    "medquad": (medquad, "health/medquad_answered.jsonl.gz", "tatqa"),
    "zh-en manual": (across("_python"), "", "dureader"),
    "zh-en commands": (across("_tldr"), "", "dureader"),
    "zh-en guides": (across("_guide"), "", "dureader"),
    "dureader": (dureader, "retrieval", "drcd"),
}
UNSEEN = ("dureader", "zh-en guides")
MODES = ("words", "words and vectors")


packaged = StaticEmbed(Path(foundation.__file__).parent / "pollen")


def lot(text: str) -> float:
    """0 to 1, the same for the same text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8", newline="\n")


def _lines(path: Path) -> Iterator[Any]:
    with _open(path) as file:
        yield from (json.loads(line) for line in file.read().split("\n") if line.strip())


def _json(path: Path) -> Any:
    with _open(path) as file:
        return json.load(file)


# --- asking -----------------------------------------------------------------------------------------


def index(made: Set, folder: Path, embed: Embed | None) -> KnowledgeBases:
    """A knowledge base `set` of its documents."""
    source, home = folder / "source", folder / "home"
    source.mkdir(parents=True)
    for path, text in made.documents.items():
        (source / path).write_text(text, "utf-8")
    stores = LanceStores(str(home / "vectors"))
    bases = KnowledgeBases(Database.in_folder(home), Blobs(str(home / "blobs")), stores)
    prepare(bases, "set", embed)
    ingest(bases, "set", [Folder(source)], embed, only=True)
    return bases


def ask(made: Set, foreign: Set, folder: Path, embed: Embed | None) -> list[Found]:
    """What a search finds for all of a set's questions."""
    bases = index(made, folder, embed)
    return asyncio.run(_ask(bases, made, foreign, None if embed is None else lambda _: embed))


async def _ask(
    bases: KnowledgeBases, made: Set, foreign: Set, embedders: Embedders | None
) -> list[Found]:
    own, other = _some(made.questions, MOST), _some(foreign.questions, FOREIGN)
    found = []
    for kind, questions in (("there", own), ("left out", own), ("foreign", other)):
        for asked in questions:
            search = Search(without=asked.documents if kind == "left out" else ())
            passages = await Retriever(bases, "set", embedders, search=search)(
                asked.question, JUDGED
            )
            found.append(Found(kind, asked, passages))
    return found


def _some(questions: Sequence[Asked], count: int) -> list[Asked]:
    return sorted(questions, key=lambda asked: lot(asked.question))[:count]


# --- weights ----------------------------------------------------------------------------------------


def fit(found: Sequence[Judged]) -> tuple[Evidence, float]:
    """Weights and bias, from the three best passages of training questions."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    rows, right = [], []
    for one, weighed in found:
        for each in weighed[:3]:
            rows.append(each.evidence)
            right.append(one.is_right(each.passage) and _holds(one, each.passage.text))
    model = LogisticRegression(C=10, max_iter=2000).fit(rows, right)
    return Evidence(*model.coef_[0]), float(model.intercept_[0])


def _holds(found: Found, text: str) -> bool:
    squeezed = "".join(text.split())
    return not found.asked.holds or any("".join(w.split()) in squeezed for w in found.asked.holds)


# --- figures ----------------------------------------------------------------------------------------


@dataclass
class Figures:
    """Shares, 0 to 1. An answer is right if its first quotation is of a right document."""

    questions: int
    precision: float
    recall: float
    left_out: float  # answered, though no document is there
    foreign: float
    holds: float  # right quotations that hold the wanted words

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def weighed(found: Sequence[Found]) -> Iterator[Judged]:
    for one in found:
        yield one, weigh(one.asked.question, one.passages, packaged.vectors)


def judge(found: Sequence[Judged], threshold: float = ANSWERED) -> Figures:
    made = [(one, answer_of(several)) for one, several in found]
    given = [(one, answer) for one, answer in made if _support(answer) >= threshold]
    right = [(one, answer) for one, answer in given if one.is_right(answer.quotes[0].passage)]
    holding = [1 for one, answer in right if _holds(one, answer.quotes[0].quote.text)]

    def count(pairs: Sequence[tuple[Found, QuotedAnswer]], kind: str) -> int:
        return sum(one.kind == kind for one, _ in pairs)

    own = [one for one, _ in given if one.kind != "foreign"]
    return Figures(
        count(made, "there"),
        len(right) / max(1, len(own)),
        len(right) / max(1, count(made, "there")),
        count(given, "left out") / max(1, count(made, "left out")),
        count(given, "foreign") / max(1, count(made, "foreign")),
        len(holding) / max(1, len(right)),
    )


def _support(answer: QuotedAnswer) -> float:
    return answer.quotes[0].support if answer.quotes else 0.0


def checked(found: Sequence[Found]) -> tuple[float, float]:
    """How often a passage supports its own quotation, and one that is of another passage."""
    own, other = [], []
    for one in found:
        quotes = [best_quote(one.asked.question, each).text for each in one.passages[:2]]
        for passage, quote in zip(one.passages[:2], quotes, strict=True):
            own.append(supports(words_of(f"{passage.title}\n{passage.text}"), quote))
        if len(quotes) == 2:
            passage = one.passages[0]
            other.append(supports(words_of(f"{passage.title}\n{passage.text}"), quotes[1]))
    return sum(own) / max(1, len(own)), sum(other) / max(1, len(other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fit", action="store_true", help="print weights and thresholds")
    parser.add_argument("--keep", type=Path, help="a file for what was found, read again if there")
    given = parser.parse_args()
    found = gather(given.data, given.keep)
    if given.fit:
        for group in ("", "zh-en"):
            names = [n for n in found if n.startswith("zh-en") == bool(group)]
            train = [one for n in names if not n.startswith(UNSEEN) for one in found[n]]
            print(group or "within a language")
            show_fit(list(weighed([one for one in train if one.is_train])))
    rows = []
    for name, all_of in found.items():
        test = [one for one in all_of if name.startswith(UNSEEN) or not one.is_train]
        started = time.perf_counter()
        judged = list(weighed(test))
        took = 1000 * (time.perf_counter() - started) / max(1, len(judged))
        figures = judge(judged)
        own, other = checked(test)
        rows.append({
            "work": name, "questions": figures.questions,
            "precision": figures.precision, "recall": figures.recall, "f1": figures.f1,
            "false_answers_left_out": figures.left_out, "false_answers_foreign": figures.foreign,
            "quote_holds_answer": figures.holds, "own_quote_supported": own,
            "other_quote_supported": other, "ms_per_question": took,
        })  # fmt: skip
        rows[-1] = {k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}
        print(" ".join(f"{key} {value}" for key, value in rows[-1].items()))
    record("answers", rows, ("lancedb",))


def gather(data: Path, keep: Path | None) -> dict[str, list[Found]]:
    import pickle  # noqa: PLC0415  only a file of our own is read

    if keep is not None and keep.exists():
        with keep.open("rb") as file:
            return {n: [Found(*one) for one in some] for n, some in pickle.load(file).items()}
    sets = {name: read(data / path) for name, (read, path, _) in SETS.items()}
    found = {}
    for name, made in sets.items():
        modes = MODES[1:] if name.startswith("zh-en") else MODES  # words find nothing there
        with tempfile.TemporaryDirectory() as folder:
            for mode in modes:
                embed = None if mode == MODES[0] else packaged
                foreign = sets[SETS[name][2]]
                found[f"{name}, {mode}"] = ask(made, foreign, Path(folder) / mode, embed)
        print(f"{name}: {len(made.documents)} documents", flush=True)
    if keep is not None:
        with keep.open("wb") as file:
            pickle.dump({n: [tuple(one) for one in some] for n, some in found.items()}, file)
    return found


def show_fit(train: Sequence[Judged]) -> None:
    weights, bias = fit(train)
    told = {name: round(float(value), 2) for name, value in weights._asdict().items()}
    print("weights", told, "bias", round(bias, 2))
    for threshold in (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6):
        f = judge(train, threshold)
        print(
            f"threshold {threshold}: P {f.precision:.3f} R {f.recall:.3f} F1 {f.f1:.3f} false {f.left_out:.3f}"
        )


if __name__ == "__main__":
    main()
