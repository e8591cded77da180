"""The model card: every number in it comes from the recorded run or from a measurement kept with it."""

from __future__ import annotations

from typing import Any


def write_card(facts: dict[str, Any]) -> str:
    """README.md from what `training.json` holds."""
    sections = [
        _front_matter(facts),
        f"# {facts['name']}",
        _about(facts),
        _USE,
        _data(facts),
        _training(facts),
        _measured(facts),
        _licence(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: dict[str, Any]) -> str:
    lines = ["---", *([f"license: {facts['licence']}"] if facts["licence"] else [])]
    lines += ["language:", "- zh", "- en", "library_name: model2vec"]
    lines += ["pipeline_tag: feature-extraction", "tags:", "- baigong", "- embeddings", "- static"]
    return "\n".join([*lines, "---"])


def _about(facts: dict[str, Any]) -> str:
    plan = facts["plan"]
    return f"""A static embedder: a table of {plan["vocabulary"]:,} token vectors of {plan["size"]} \
numbers. A text's vector is the mean of its tokens', scaled to length one; a token's length
says how much the token counts. Nothing reads word order, so it cannot tell "A sued B" from "B sued A",
nor hear a negation. It finds what a text is about, in one language and across the languages that
its pairs join, and stands beside full text search rather than in its place. Texts beyond a page or
two blur: cut them first. Traditional characters are tokens of their own and are known less well."""


_USE = """## Use

`baigong.inference.static.StaticEmbed(folder).vectors(texts)` gives float32 rows of length one, without
torch. The folder is model2vec's, so `model2vec.StaticModel.from_pretrained(folder)` reads it too: small
integers in `embeddings`, each row's scale in `weights`. Questions and passages are embedded alike."""


def _data(facts: dict[str, Any]) -> str:
    lines = [
        "## Data",
        "",
        f"{facts['pairs']:,} pairs of texts that belong together.",
        "",
        "| source | pairs | times a pass | what | licence | credit |",
        "|---|---|---|---|---|---|",
    ]
    for source in facts["sources"]:
        told = [source.get(key, "") for key in ("what", "licence", "credit")]
        row = [source["name"] or "-", f"{source['pairs']:,}", str(source["weight"]), *told]
        lines.append(f"| {' | '.join(row)} |")
    if facts.get("note"):
        lines += ["", facts["note"]]
    return "\n".join(lines)


def _training(facts: dict[str, Any]) -> str:
    plan = facts["plan"]
    losses = [point["loss"] for point in facts["curve"]]
    change = f" The loss fell from {losses[0]:.2f} to {losses[-1]:.2f}." if losses else ""
    return f"""## Training

`baigong pretrain embedder`: first the tokenizer (Unigram, NFKC, lower case, bytes for what it does not \
know) in {facts["tokenizer_seconds"]} s, then {facts["steps"]:,} steps of {plan["batch"]} pairs, {plan["epochs"]} \
passes, in {facts["seconds"]:.0f} s, on {facts["machine"]}. Each text has to be told from all others of its batch, in both directions \
(InfoNCE, temperature {plan["temperature"]}), of which {plan["group"]} at a time are of one source; {plan["dropout"]:.0%} \
of the tokens are left out each time. A token's vector is learnt as a row of its own plus the mean of \
the rows of its characters or letters, by row-wise Adagrad from rate {plan["rate"]} down to zero; the \
sums alone are kept, as integers of eight bits with a scale for each token.{change}"""


def _measured(facts: dict[str, Any]) -> str:
    if not facts["measured"]:
        return ""
    lines = [
        "## Measured",
        "",
        "nDCG@10 of exact search, by `python -m bench.embedder`. Fused: with full text, as knowledge does.",
        "",
        "| set | questions | texts | this | with full text | full text | LSA |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in facts["measured"]:
        figures = [row.get(key) for key in ("vectors", "fused", "words", "lsa")]
        told = ["" if figure is None else f"{figure:.3f}" for figure in figures]
        start = f"| {row['set']} | {row['questions']:,} | {row['texts']:,}"
        lines.append(f"{start} | {' | '.join(told)} |")
    return "\n".join(lines)


def _licence(facts: dict[str, Any]) -> str:
    if not facts["licence"]:
        return ""
    return f"""## Licence

`{facts["licence"]}`. Some sources are share-alike. Whether weights are an adaptation of the text they
were trained on is not settled; the weights carry a share-alike licence so that nobody has to rely on
the answer: give credit to the sources above, and share what is trained from these weights under the
same terms."""
