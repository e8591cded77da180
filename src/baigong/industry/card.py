"""The model card of a release: what the adapter is, what it was learnt from, what it is worth, in plain words.

Hugging Face's form (YAML front matter, then Markdown), written from facts alone.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from baigong.evals.metrics import METRICS
from baigong.evals.report import EvalReport, Score
from baigong.hub.hub import Revision
from baigong.industry.data.report import DataReport
from baigong.industry.recipe import Recipe
from baigong.tuning.spec import WHOLE

FILE = "README.md"
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_PIPELINES = defaultdict(
    lambda: "text-generation",
    classify="text-classification",
    regress="text-classification",
    images="image-classification",
    embed="sentence-similarity",
    rerank="text-ranking",
)
_WHO = {
    "base": "the base, untuned",
    "incumbent": "what was live before",
    "candidate": "this model",
    "baseline": "a plain baseline",
}
# Models that nobody talks to, and where they are asked.
_DOORS = {
    "pairs": "`/v1/embeddings` or `/v1/rerank`",
    "images": "`/v1/classify`, data URLs of pictures",
}
_NOT_FOR = {
    "classification": "It gives one of the labels above to every text, also to one that has none of them.",
    "extraction": "It fills in the fields that it was taught, also where a text has none of them.",
    "grounded": "Without the documents that it was tuned with it has nothing to answer from.",
}


def license_of(base: Revision) -> str | None:
    """The licence that a base's own card names."""
    path = base.folder / FILE
    found = _FRONT.match(path.read_text("utf-8", "replace")) if path.exists() else None
    line = (
        None if found is None else re.search(r"^license:\s*([\w.+-]+)\s*$", found[1], re.MULTILINE)
    )
    return None if line is None else line[1]


def write_card(
    folder: Path,
    recipe: Recipe,
    base: Revision,
    rows: DataReport,
    facts: Mapping[str, Any],
    report: EvalReport | None = None,
) -> None:
    """README.md in `folder`. `facts` are the tune step's output; without a report, nothing is claimed."""
    front = _front(recipe, base, rows, report)
    body = "\n".join(_body(recipe, base, rows, facts, report))
    (folder / FILE).write_text(f"---\n{front}---\n\n{body}\n", "utf-8")


def _front(recipe: Recipe, base: Revision, rows: DataReport, report: EvalReport | None) -> str:
    fields: dict[str, Any] = {
        "base_model": base.name,
        "library_name": "peft" if recipe.tune.makes_adapter else "transformers",
        "pipeline_tag": _PIPELINES[recipe.tune.objective],
        "language": sorted(rows.languages, key=lambda name: -rows.languages[name]),
        "datasets": sorted(rows.files),
        "tags": ["baigong", recipe.task],
    }
    if licence := license_of(base):
        fields["license"] = licence
    if report is not None:
        scores = report.scores["candidate"].metrics
        results = [
            {"type": name, "name": METRICS[name].title, "value": round(score.value, 4)}
            for name, score in scores.items()
        ]
        dataset = {"name": "rows kept back", "type": "local", "split": "test"}
        task = {"type": _PIPELINES[recipe.tune.objective], "name": recipe.task}
        fields["model-index"] = [
            {
                "name": recipe.name,
                "results": [{"task": task, "dataset": dataset, "metrics": results}],
            }
        ]
    out = io.StringIO()
    yaml = YAML()
    yaml.allow_unicode = True
    yaml.dump(fields, out)
    return out.getvalue()


def _body(
    recipe: Recipe,
    base: Revision,
    rows: DataReport,
    facts: Mapping[str, Any],
    report: EvalReport | None,
) -> Iterator[str]:
    what = "An adapter (LoRA)" if recipe.tune.makes_adapter else "A model"
    yield f"# {recipe.title.en or recipe.name}\n"
    if recipe.description.en:
        yield f"{recipe.description.en}\n"
    yield f"{what} for {recipe.task}, tuned from `{base.ref}` on {rows.rows['train']:,} rows.\n"
    yield from _calling(recipe)
    yield from _learnt(rows, facts)
    if report is not None:
        yield from _worth(report)
    yield from _limits(recipe, base, rows, report)


def _calling(recipe: Recipe) -> Iterator[str]:
    yield "## How to call it\n"
    if recipe.task in _DOORS:
        yield f"With `baigong serve` running, `{recipe.name}` answers at {_DOORS[recipe.task]}.\n"
        return
    yield "With `baigong serve` running, from any OpenAI client:\n"
    yield "```python"
    yield "from openai import OpenAI\n"
    yield 'client = OpenAI(base_url="http://127.0.0.1:7860/v1", api_key="none")'
    yield 'messages = [{"role": "user", "content": "..."}]'
    yield f'reply = client.chat.completions.create(model="{recipe.name}", messages=messages)'
    yield "print(reply.choices[0].message.content)"
    yield "```\n"
    yield f"In the terminal: `baigong chat {recipe.name}`."
    if recipe.tune.makes_adapter:
        yield "Elsewhere it is a PEFT adapter like any other, for this base alone."
    if (persona := recipe.persona.strip()) and recipe.tune.objective not in WHOLE:
        yield f"\nIt was tuned with this system message, and wants it: `{persona}`"
    yield ""


def _learnt(rows: DataReport, facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it was learnt from\n"
    counts = ", ".join(f"{count:,} to {_USE[split]}" for split, count in rows.rows.items() if count)
    yield f"- Rows: {counts}."
    if rows.dropped:
        dropped = ", ".join(f"{count} ({why})" for why, count in rows.dropped.items())
        yield f"- Left out: {dropped}."
    if rows.languages:
        shares = sorted(rows.languages.items(), key=lambda item: -item[1])
        yield f"- Languages: {', '.join(f'{name} {100 * share:.0f} %' for name, share in shares)}."
    if rows.labels:
        shown = ", ".join(f"`{label}`" for label in list(rows.labels)[:30])
        more = f" and {len(rows.labels) - 30} more" if len(rows.labels) > 30 else ""
        yield f"- {len(rows.labels)} labels: {shown}{more}."
    if rows.tokens:
        yield f"- Length: half the rows are below {rows.tokens['p50']} tokens, the longest has {rows.tokens['max']}."
    yield f"- Tuning: {facts['summary']}, {facts['seconds'] / 60:.1f} minutes; see `curve.png` and `curve.json`."
    if settings := facts.get("settings"):
        names = ("method", "rank", "alpha", "epochs", "learning_rate", "batch_size", "seed")
        said = ", ".join(f"{name} {settings[name]}" for name in names if name in settings)
        yield f"- Settings: {said}."
    yield ""


_USE = {"train": "learn from", "validation": "watch by", "test": "judge by"}


def _worth(report: EvalReport) -> Iterator[str]:
    share = f"{100 * report.confidence:.0f} %"
    yield "## What it is worth\n"
    yield f"On {report.rows} rows that no training saw; in brackets the {share} interval.\n"
    yield "| | " + " | ".join(METRICS[name].title for name in report.metrics) + " |"
    yield "|---" * (len(report.metrics) + 1) + "|"
    for who, title in _WHO.items():
        scores = report.scores.get(who)  # type: ignore[call-overload]
        if scores is not None:
            cells = " | ".join(_cell(scores.metrics[name]) for name in report.metrics)
            yield f"| {title} ({scores.name}) | {cells} |"
    yield ""


def _cell(score: Score) -> str:
    return f"{score.value:.3f} ({score.low:.2f}-{score.high:.2f})"


def _limits(
    recipe: Recipe, base: Revision, rows: DataReport, report: EvalReport | None
) -> Iterator[str]:
    yield "## What it is not good for\n"
    yield "- Anything unlike the rows that it was tuned on; nothing above says how it does there."
    if recipe.task in _NOT_FOR:
        yield f"- {_NOT_FOR[recipe.task]}"
    known = " and ".join(sorted(rows.languages))
    yield f"- Other languages than {known}." if known else "- Languages that its rows lack."
    rare = [label for label, by_split in rows.labels.items() if by_split.get("train", 0) < 5]
    if rare:
        yield f"- Labels with fewer than five rows to learn from: {', '.join(rare[:20])}."
    if report is not None:
        yield f"- Telling apart models that differ by less than {100 * rows.detectable:.0f} points: so few test rows do not show it."
        if "baseline" in report.scores:
            metric = report.metrics[0]
            mine, theirs = (report.scores[who].metrics[metric] for who in ("candidate", "baseline"))
            if theirs.value >= mine.value:
                name = report.scores["baseline"].name
                yield f"- Doing what {name} does as well here ({_cell(theirs)}), at a fraction of the cost."
    yield f"- Decisions about people without a person who looks. Its base, `{base.name}`, has limits of its own."
