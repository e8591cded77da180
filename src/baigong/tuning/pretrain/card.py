"""The model card: every number in it comes from the recorded run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


def write_card(facts: dict[str, Any]) -> str:
    sections = [
        _front_matter(facts),
        f"# {facts['name']}",
        facts["recipe"]["summary"],
        _limits(facts),
        _use(facts),
        _architecture(facts),
        _data(facts),
        _training(facts),
        _results(facts),
        _licence(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: dict[str, Any]) -> str:
    lines = ["---", f"license: {facts['recipe']['licence']}", "language:", "- zh", "- en"]
    lines += ["library_name: transformers", "pipeline_tag: text-generation", "tags:"]
    lines += ["- baigong", "- foundation", "- small", "- qwen3", "---"]
    return "\n".join(lines)


def _limits(facts: dict[str, Any]) -> str:
    return f"""## What it is not

It cannot hold a conversation, it knows no facts worth trusting, and it does not follow
instructions in general: it has {facts["parameters"] / 1e6:.1f} M parameters and has read
{facts["tokens"] / 1e6:.1f} M tokens. It is a base for tuning narrow tasks on a machine without an
accelerator: routing a message to a label, copying fields into JSON, choosing a passage and quoting
it. Beyond the lengths it was trained on it degrades. It reads English and simplified Chinese;
traditional Chinese poorly, other languages hardly. Its text has the errors of its sources and the
attitudes of their times."""


def _use(facts: dict[str, Any]) -> str:
    return f"""## Prompts it was trained on

The chat template is ChatML (`<|im_start|>role`, `<|im_end|>`), roles `system`, `user`, `assistant`.

| task | system | user | assistant |
|---|---|---|---|
| quote | empty, or a short instruction | `[1] passage`, blank line, `[2] passage`, blank line, \
question | `[2] the sentence, verbatim`, or `Not in the documents.` / `文档中没有。` |
| extract | names the fields | a message | one line of compact JSON, `null` when absent |
| triage | the labels, the fields, the form of a number | a message | one line of compact JSON |
| label | the labels, in any order | a text | one label |
| copy | asks for a copy | a text | the text |
| translate | names the target language | a sentence | its translation |

The messages of `triage` and part of those of `label` are phrases that people write to a service
desk in general (refunds, parcels, passwords, appointments), made for this training. So a trade
near to a service desk finds more in this base than one far from it. Their author had seen some 25
rows of the sample recipe `customer-service`, and copied none; its figures flatter this base a little.

Rows of {facts["recipe"]["schedule"]["sequence"]} tokens, at the end \
{facts["recipe"]["schedule"]["long_sequence"]}."""


def _architecture(facts: dict[str, Any]) -> str:
    shape, plan = facts["recipe"]["shape"], facts["recipe"]["tokenizer"]
    return f"""## Architecture

Qwen3 as in stock transformers: {facts["parameters"] / 1e6:.1f} M parameters, hidden size \
{shape["hidden"]}, {shape["layers"]} layers, {shape["heads"]} heads of {shape["head_dim"]} with \
{shape["kv_heads"]} key-value heads, feed-forward {shape["intermediate"]}, tied embeddings, context \
{shape["context"]}. Byte-level BPE of {plan["vocabulary"]} tokens, trained on as much Chinese as \
English; digits stand alone, and a capitalised word has the same ids with and without a space \
before it."""


def _data(facts: dict[str, Any]) -> str:
    sources = {source["name"]: source for source in facts["recipe"]["sources"]}
    lines = [
        "## Data",
        "",
        f"{facts['position_tokens'] / 1e6:.2f} M tokens of running text (shares below), and "
        f"{facts['examples']:,} tasks made on the fly from the same text and from seeded chance, "
        f"{1 - facts['position_tokens'] / max(1, facts['tokens']):.0%} of all tokens.",
        "",
        "| source | language | licence | share of the text | credit |",
        "|---|---|---|---|---|",
    ]
    for name, share in sorted(facts["shares"].items(), key=lambda item: -item[1]):
        source = sources[name]
        language = source["language"] or "+".join(dict.fromkeys(source["languages"]))
        lines.append(
            f"| {name} | {language} | {source['licence']} | {share:.1%} | {source['credit']} |"
        )
    return "\n".join(lines)


def _training(facts: dict[str, Any]) -> str:
    schedule = facts["recipe"]["schedule"]
    losses = [row["loss"] for row in facts["curve"]]
    return f"""## Training

{facts["tokens"] / 1e6:.2f} M tokens in {facts["step"]:,} steps of {schedule["batch_tokens"]} tokens, \
{facts["seconds"] / 60:.0f} minutes on {facts["machine"]} \
({facts["tokens"] / max(1.0, facts["seconds"]):.0f} tokens a second), begun {facts["started"]}. Muon (rate {schedule["matrix_lr"]}) for the matrices, AdamW \
({schedule["embedding_lr"]}) for the embedding and the norms; bfloat16 products, float32 weights. \
The rate is a function of the share of the time budget that is spent: it holds, then falls in a \
straight line to zero over the last {schedule["cooldown"]:.0%}. Answers weigh \
{facts["recipe"]["mix"]["answer_weight"]}, prompts {facts["recipe"]["mix"]["prompt_weight"]}, text 1.

Loss, from {losses[0] if losses else 0:.2f} to {losses[-1] if losses else 0:.2f}:

```text
{sparkline(losses)}
```

The whole curve is in `training.json`.{_changes(facts)}"""


def _changes(facts: dict[str, Any]) -> str:
    lines = []
    for row in facts.get("changes", []):
        told = [
            f"{key} from {'unset' if row[key][0] is None else row[key][0]} to {row[key][1]}"
            for key in row
            if key not in {"step", "note"}
        ]
        told += [row["note"]] if "note" in row else []
        lines.append(f"- at step {row['step']}: {'; '.join(told)}")
    return "\n\nChanged on the way:\n\n" + "\n".join(lines) if lines else ""


def sparkline(values: Sequence[float]) -> str:
    if not values:
        return ""
    step = max(1.0, len(values) / _WIDTH)
    count = min(len(values), _WIDTH)
    picked = [values[min(len(values) - 1, int(number * step))] for number in range(count)]
    low, high = min(picked), max(picked)
    scale = (len(_BARS) - 1) / max(1e-9, high - low)
    return "".join(_BARS[round((value - low) * scale)] for value in picked)


def _results(facts: dict[str, Any]) -> str:
    lines = ["## Measured on text that was held back", ""]
    measured = [row for row in facts["curve"] if "bits_per_byte" in row]
    if measured:
        bits = measured[-1]["bits_per_byte"]
        lines += ["| language | bits per byte |", "|---|---|"]
        lines += [f"| {language} | {value:.3f} |" for language, value in bits.items()]
        lines.append("")
    if facts.get("exam"):
        lines += [
            "Fresh tasks, greedy decoding. The passages of `quote`, `copy` and `translate` and half "
            "of `label`'s come from held-back text; the messages of `extract`, `triage` and the rest "
            "of `label` have new values in wordings that training used too, so a real desk's messages "
            "are harder than these.",
            "",
            "| task | language | tasks | whole answer equal | in part | in part, one answer to all |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_exam_row(row) for row in facts["exam"]]
        lines += [
            "",
            "In part: the right passage number or the right refusal (quote); right fields among "
            "all fields (extract, triage). One answer to all: always the same number or refusal, "
            "and `null` in every field. Where a row does not stand clearly above that, the model "
            "has learnt the form of the task and not yet the task.",
        ]
    return "\n".join(lines) if len(lines) > 2 else ""


def _exam_row(row: dict[str, Any]) -> str:
    part, constant = (
        "" if row[name] is None else f"{row[name]:.1%}" for name in ("part", "constant")
    )
    start = f"| {row['kind']} | {row['language']} | {row['count']} | {row['exact']:.1%}"
    return f"{start} | {part} | {constant} |"


def _licence(facts: dict[str, Any]) -> str:
    licences = [source["licence"] for source in facts["recipe"]["sources"]]
    shared = sorted({licence for licence in licences if "-SA" in licence.upper()})
    text = f"## Licence\n\n`{facts['recipe']['licence']}`."
    if shared:
        text += (
            f" Some sources are share-alike ({', '.join(shared)}). Whether weights are an adaptation"
            " of the text they were trained on is not settled; the weights carry a share-alike"
            " licence so that nobody has to rely on the answer: give credit to the sources above,"
            " and share models tuned from these weights under the same terms."
        )
    return text
