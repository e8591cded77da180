"""The knowledge of a recipe while it is built: whose documents they are, and what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from baigong.errors import Conflict, DataProblems, Problem
from baigong.industry.embedder import sentence_vectors
from baigong.industry.recipe import Knowledge, Recipe
from baigong.jobs import Jobs
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.ingest import ingest
from baigong.knowledge.measure import measure_base, read_questions
from baigong.knowledge.questions import made_questions
from baigong.knowledge.records import KnowledgeVersion
from baigong.knowledge.reindex import prepare
from baigong.knowledge.write import sources_of
from baigong.types import Embed, Embedders, Report


def own_sources(jobs: Jobs, bases: KnowledgeBases, recipe: Recipe) -> list[str]:
    """The names of the sources whose documents the recipe's own knowledge base holds.

    Raises:
        Conflict: it holds others' documents, which the build would take out. Its own are those of
            this recipe and of earlier builds of it.
    """
    spec = recipe.knowledge
    if spec is None or spec.from_ is not None:
        return []
    name, own = recipe.name, [Folder(Path(source)).name for source in spec.sources]
    earlier = {each for said in jobs.specs("build", name) for each in said.get("sources", [])}
    others = sorted(sources_of(bases, name) - set(own) - earlier)
    if others:
        raise Conflict(
            f"The knowledge base '{name}' holds documents that no build of this recipe put there, "
            f"from {', '.join(others[:3])}; its sources would replace them.",
            hint=f"Use it as it is with `knowledge: {{from: {name}}}`, name these sources in the "
            "recipe too, or give the recipe another name.",
            param="knowledge.sources",
        )
    return own


def keep_documents(
    bases: KnowledgeBases, name: str, spec: Knowledge, embed: Embed | None, report: Report
) -> tuple[KnowledgeVersion, Sequence[Problem]]:
    """What the sources hold now and nothing else, kept as a version.

    Raises:
        DataProblems: they hold no text.
    """
    if spec.from_ is not None:
        return bases.pin(spec.from_), ()
    prepare(bases, name, embed)
    sources = [Folder(Path(source)) for source in spec.sources]
    summary = ingest(bases, name, sources, embed, report, only=True)
    version = bases.get(name)
    if not version.documents:
        problems = summary.problems or [
            Problem(path, None, "", "holds no files.") for path in spec.sources
        ]
        raise DataProblems(problems, hint="Give a folder with documents that hold text.")
    return bases.pin(name), summary.problems


async def measure_documents(
    bases: KnowledgeBases, ref: str, file: str | None, embedders: Embedders, report: Report
) -> dict[str, float]:
    """Figures of the knowledge base, on questions of its own where the recipe has none."""
    if file is None:
        questions = await asyncio.to_thread(made_questions, bases, ref)
    else:
        questions = read_questions(Path(file))
    quality = await measure_base(bases, ref, questions, sentence_vectors, embedders, report)
    return {name: float(value) for name, value in msgspec.to_builtins(quality).items()}
