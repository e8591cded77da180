"""From a recipe to a release: nine steps, each done once, each resumed where a kill interrupted it.

plan → prepare → ground → tune → parity → evaluate → gate → release → promote. Knowledge is built
before tuning because a grounded model is tuned on the passages that retrieval really finds.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from baigong import __version__
from baigong.errors import Conflict, DataProblems, Problem
from baigong.evals.report import Contender, EvalReport
from baigong.hub.chat import tokenizer_of
from baigong.hub.repository import Hub, Kind, Revision
from baigong.industry.card import write_card
from baigong.industry.contest import contest
from baigong.industry.embedder import sentence_vectors
from baigong.industry.gate import judge
from baigong.industry.grounding import ground_row, inert
from baigong.industry.head_parity import check_heads
from baigong.industry.loading import load_rows
from baigong.industry.quantised import DTYPES, exact
from baigong.industry.recipe import Knowledge, Recipe, recipe_digest
from baigong.industry.releases import Content, Release, Releases
from baigong.industry.rows import Dataset
from baigong.industry.serving import Served, Serving
from baigong.inference.engines import Engines
from baigong.jobs import Job, Jobs, Output, Step, Watch
from baigong.knowledge.answer import find
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.ingest import ingest
from baigong.knowledge.measure import measure_base, read_questions
from baigong.knowledge.questions import made_questions
from baigong.knowledge.records import KnowledgeVersion
from baigong.knowledge.reindex import prepare
from baigong.knowledge.retrieve import Retriever
from baigong.knowledge.write import sources_of
from baigong.tuning import curve, picture
from baigong.tuning.parity import check_parity
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import WHOLE, TuneSpec
from baigong.tuning.tune import tune
from baigong.types import Embed, Report, Row

Outputs = Mapping[str, Output]

PARITY_PROMPTS = 8


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts of a platform that a build works with.

    `folder` holds one folder for each job; `dtype` is the setting by which weights are served.
    """

    jobs: Jobs
    hub: Hub
    releases: Releases
    knowledge: KnowledgeBases
    engines: Engines
    serving: Serving
    folder: Path
    dtype: str = "auto"

    @property
    def weights(self) -> str | None:
        """What weights are quantised to: a release is proven with those that serve it."""
        return self.dtype if self.dtype in DTYPES else None


async def build(workshop: Workshop, recipe: Recipe, watch: Watch) -> Release:
    """Build a recipe, or go on with a build of the same content that was interrupted.

    The release is returned whether its gate let it pass or not; only a passed one is live.

    Raises:
        DataProblems: rows or documents have mistakes, all of them listed.
        Conflict: the same recipe is being built by another process.
        Refused: what was trained is not what would be served (parity).
    """
    sources = await asyncio.to_thread(_own_sources, workshop, recipe)
    digest = await asyncio.to_thread(_digest, workshop, recipe)
    job = _job_of_live(workshop, recipe.name, digest)
    if job is None:
        work_digest = digest
        if workshop.weights is not None:
            work_digest = hashlib.sha256(f"{digest} {workshop.weights}".encode()).hexdigest()
        spec = {"recipe": digest, "sources": sources}
        job = workshop.jobs.open("build", recipe.name, work_digest, spec)
    work = Build(workshop, recipe, job, digest)
    outputs = await workshop.jobs.run(job, work.steps, watch)
    return workshop.releases.get(outputs["release"]["ref"])


def _own_sources(workshop: Workshop, recipe: Recipe) -> list[str]:
    """The names of the sources whose documents the recipe's own knowledge base holds.

    Raises:
        Conflict: it holds others' documents, which the build would take out. Its own are those of
            this recipe and of earlier builds of it.
    """
    spec = recipe.knowledge
    if spec is None or spec.from_ is not None:
        return []
    name, own = recipe.name, [Folder(Path(source)).name for source in spec.sources]
    earlier = {
        each for said in workshop.jobs.specs("build", name) for each in said.get("sources", [])
    }
    others = sorted(sources_of(workshop.knowledge, name) - set(own) - earlier)
    if others:
        raise Conflict(
            f"The knowledge base '{name}' holds documents that no build of this recipe put there, "
            f"from {', '.join(others[:3])}; its sources would replace them.",
            hint=f"Use it as it is with `knowledge: {{from: {name}}}`, name these sources in the "
            "recipe too, or give the recipe another name.",
            param="knowledge.sources",
        )
    return own


def _digest(workshop: Workshop, recipe: Recipe) -> str:
    """Of the recipe, its files, and the version of a knowledge base that lives on its own."""
    digest = recipe_digest(recipe)
    name = recipe.knowledge and recipe.knowledge.from_
    if not name:
        return digest
    head = workshop.knowledge.base(name).head
    return hashlib.sha256(f"{digest} {name}@{head}".encode()).hexdigest()


def _job_of_live(workshop: Workshop, name: str, digest: str) -> Job | None:
    """The job that made what is live, if it was of this very content: there is nothing to do then."""
    number = workshop.releases.live().get(name)
    if number is None:
        return None
    live = workshop.releases.get(f"{name}@{number}")
    lineage = live.content.lineage
    is_same = (lineage.get("recipe"), lineage.get("weights")) == (digest, workshop.weights)
    return workshop.jobs.get(live.job) if is_same else None


class Build:
    """One recipe on its way to a release. Each step's output is small JSON; files lie in `folder`."""

    def __init__(self, workshop: Workshop, recipe: Recipe, job: Job, digest: str) -> None:
        self.shop = workshop
        self.recipe = recipe
        self.job = job
        self.digest = digest
        self.folder = workshop.folder / job.id
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def steps(self) -> list[Step]:
        return [
            Step("plan", self.plan),
            Step("prepare", self.prepare),
            Step("ground", self.ground),
            Step("tune", self.tune),
            Step("parity", self.parity),
            Step("evaluate", self.evaluate),
            Step("gate", self.gate),
            Step("release", self.release),
            Step("promote", self.promote),
        ]

    # --- the steps, in order

    async def plan(self, _: Outputs, __: Report) -> Output:
        """What would change against live, and what it will cost. Bad rows end the build here."""
        base = await asyncio.to_thread(self._keep_base)
        dataset = await asyncio.to_thread(load_rows, self.shop.hub, self.recipe, base)
        live = self._live()
        plan = await asyncio.to_thread(plan_tuning, dataset.rows, base.folder, self._tune_spec)
        return {
            "base": f"{base.name}@{base.revision}",
            "live": live.ref if live else None,
            "tune": msgspec.to_builtins(plan),
            "summary": f"{_against(live, base, dataset.digest)}; {plan.sentence}",
        }

    async def prepare(self, outputs: Outputs, _: Report) -> Output:
        """Rows validated, deduplicated, split by content hash and frozen in the hub."""
        dataset = await asyncio.to_thread(
            load_rows, self.shop.hub, self.recipe, self._base(outputs)
        )
        folder = self.folder / "dataset"
        await asyncio.to_thread(dataset.write, folder)
        add = self.shop.hub.add
        kept = await asyncio.to_thread(add, "dataset", self._hub_name, folder, {})
        report = dataset.report
        counts = ", ".join(f"{n} {split}" for split, n in report.rows.items())
        dropped = "".join(f", {n} dropped ({why})" for why, n in report.dropped.items())
        return {
            "dataset": f"{kept.name}@{kept.revision}",
            "digest": dataset.digest,
            "labels": list(dataset.labels),
            "warnings": list(report.warnings),
            "summary": f"{counts} rows{dropped}; differences above "
            f"{100 * report.detectable:.0f} points will show",
        }

    async def ground(self, outputs: Outputs, report: Report) -> Output:
        """Knowledge parsed, cut and indexed, as a version that never changes; then measured."""
        spec = self.recipe.knowledge
        if spec is None:
            return {"version": None, "summary": "no knowledge in this recipe"}
        embed = self._embed(self._base(outputs))
        version, problems = await asyncio.to_thread(
            _ingest, self.shop.knowledge, self.recipe.name, spec, embed, report
        )
        quality = await self._measure(version.ref, spec.questions, report)
        share, asked = 100 * quality["recall_at_3"], "questions" if spec.questions else "made ones"
        found = f"; the right passage is in the first 3 for {share:.0f} % of "
        found += f"{quality['questions']:.0f} {asked}"
        return {
            "version": str(version.number),
            "quality": quality,
            "warnings": [str(problem) for problem in problems],
            "summary": f"{version.documents} documents, {version.chunks} passages{found}",
        }

    async def tune(self, outputs: Outputs, report: Report) -> Output:
        """An adapter, trained in a process of its own that resumes from its checkpoints."""
        base = self._base(outputs)
        rows = await self._rows(outputs)
        result = await tune(rows, base.folder, self._tune_spec, self.folder / "tune", report)
        curve.write(result.curve, result.folder)
        picture.write(result.curve, result.folder)
        output: Output = {
            "curve": msgspec.to_builtins(result.curve),
            "settings": msgspec.to_builtins(result.settings),
            "seconds": result.seconds,
            "tokens": result.tokens,
            "summary": f"{result.steps} steps, {result.tokens:,} tokens, loss {result.loss:.3f}",
        }
        return {
            "result": await asyncio.to_thread(self._keep, base, output, result.folder),
            **output,
        }

    async def parity(self, outputs: Outputs, _: Report) -> Output:
        """What was trained is what is served: the same bytes, token ids and greedy answers."""
        served = self.shop.serving.of_content(self.recipe.name, self._content(outputs))
        rows = [row for row in await self._rows(outputs) if row.split != "test"]
        if self.recipe.tune.objective in WHOLE:
            agreed = await check_heads(self.folder / "tune", served, rows)
            return {"summary": f"{agreed} rows agree in token ids or pixels, and in what is said"}
        adapter = served.adapter.folder if served.adapter else None
        prompts = [row.messages for row in rows[:PARITY_PROMPTS]]
        # Quantised weights choose other tokens at times: how often is for the gate to judge.
        async with exact(served) as same:
            dtype = (await same.facts()).dtype
            result = await check_parity(
                prompts, served.base.folder, adapter, same.heard, dtype=dtype
            )
        return {"summary": f"{result.prompts} prompts agree in bytes, token ids and answers"}

    async def evaluate(self, outputs: Outputs, report: Report) -> Output:
        """Base, incumbent, candidate and a plain baseline on the same frozen test rows."""
        live, content = self._live(), self._content(outputs)
        untuned = msgspec.structs.replace(content, base=outputs["plan"]["base"], adapter=None)
        served: dict[Contender, Served] = {
            "base": self.shop.serving.of_content(content.base.partition("@")[0], untuned),
            "candidate": self.shop.serving.of_content("candidate", content),
        }
        if live is not None:
            served["incumbent"] = self.shop.serving.of_release(live)
        result = await contest(
            self.recipe,
            await self._rows(outputs),
            served,
            self.folder / "evaluate",
            outputs["ground"].get("quality", {}),
            report,
        )
        (self.folder / "report.json").write_bytes(result.to_json())
        return {
            "live": live.ref if live else None,
            "report": msgspec.to_builtins(result),
            "summary": f"{result.rows} test rows, {len(result.scores)} contenders",
        }

    async def gate(self, outputs: Outputs, _: Report) -> Output:
        """One verdict, with its reasons."""
        report = msgspec.convert(outputs["evaluate"]["report"], EvalReport)
        live = outputs["evaluate"]["live"]
        verdict = judge(report, self.recipe.gate, live=live)
        return {
            "verdict": msgspec.to_builtins(verdict),
            "summary": "passed" if verdict.passed else "refused",
        }

    async def release(self, outputs: Outputs, _: Report) -> Output:
        """Immutable, numbered and signed, with its lineage. A refused one is kept to be read."""
        content = self._content(outputs)
        if content.adapter is not None:  # a whole model would be loaded again for another card
            report = msgspec.convert(outputs["evaluate"]["report"], EvalReport)
            folder, base = self.folder / "tune" / "adapter", self._base(outputs)
            keep = (self._keep, base, outputs["tune"], folder, report)
            content = msgspec.structs.replace(content, adapter=await asyncio.to_thread(*keep))
        release = await asyncio.to_thread(
            self.shop.releases.create,
            self.recipe.name,
            self.job.id,
            content,
            outputs["evaluate"]["report"],
            outputs["gate"]["verdict"],
        )
        return {"ref": release.ref, "summary": f"{release.ref}  {release.digest[:12]}"}

    async def promote(self, outputs: Outputs, _: Report) -> Output:
        """The pointer moved, if the gate let it pass and live is still what it was proven against."""
        ref, beaten = outputs["release"]["ref"], outputs["evaluate"]["live"]
        live = self._live()
        if not outputs["gate"]["verdict"]["passed"]:
            return {"live": live.ref if live else None, "summary": "refused: live stays as it is"}
        if live is not None and live.ref not in {beaten, ref}:
            raise Conflict(
                f"{live.ref} became live while {ref} was proven against {beaten or 'nothing'}.",
                hint=f"Build again to prove it against {live.ref}, or `baigong promote {ref}`.",
            )
        await asyncio.to_thread(self.shop.releases.promote, ref, "build")
        return {"live": ref, "summary": f"{ref} answers as '{self.recipe.name}'"}

    # --- what the steps share

    @property
    def _hub_name(self) -> str:
        return f"recipes/{self.recipe.name}"

    @property
    def _tune_spec(self) -> TuneSpec:
        return msgspec.convert(self.recipe.tune.model_dump(), TuneSpec)

    def _live(self) -> Release | None:
        number = self.shop.releases.live().get(self.recipe.name)
        return None if number is None else self.shop.releases.get(f"{self.recipe.name}@{number}")

    def _keep_base(self) -> Revision:
        """The base, kept in the hub: a release must not change when the package does."""
        base = self.shop.hub.get("model", self.recipe.base)
        return self.shop.hub.add("model", base.name, base.folder, base.facts)

    def _keep(
        self, base: Revision, tuned: Output, folder: Path, report: EvalReport | None = None
    ) -> str:
        """What was tuned, in the hub, with its card; the weights stay what they are."""
        rows = Dataset.read(self.folder / "dataset").report
        write_card(folder, self.recipe, base, rows, tuned, report)
        kind: Kind = "adapter" if self.recipe.tune.makes_adapter else "model"
        facts = {"base": f"{base.name}@{base.revision}"}
        kept = self.shop.hub.add(kind, self._hub_name, folder, facts)
        return f"{kept.name}@{kept.revision}"

    def _base(self, outputs: Outputs) -> Revision:
        return self.shop.hub.get("model", outputs["plan"]["base"])

    async def _rows(self, outputs: Outputs) -> list[Row]:
        """The frozen rows; those of a grounded task with the passages that retrieval finds."""
        dataset = await asyncio.to_thread(Dataset.read, self.folder / "dataset")
        if self.recipe.task != "grounded" or self.recipe.knowledge is None:
            return list(dataset.rows)
        ref = f"{self._knowledge}@{outputs['ground']['version']}"
        serving = self.shop.serving
        ranker = serving.rankers(rerank) if (rerank := self.recipe.knowledge.rerank) else None
        retrieve = Retriever(self.shop.knowledge, ref, serving.embedders, rank=ranker)
        tokenizer = tokenizer_of(self._base(outputs).folder)
        spec, rows = self.recipe.knowledge, []
        for row in dataset.rows:
            question = row.messages[-1].content
            found, is_answered = await find(retrieve, question, spec.passages, sentence_vectors)
            # As when serving: where no passage answers, the model is shown none.
            shown = inert(found, tokenizer) if is_answered or not spec.decline else []
            rows.append(ground_row(row, shown))
        return rows

    @property
    def _knowledge(self) -> str | None:
        """The name of the knowledge base."""
        spec = self.recipe.knowledge
        return None if spec is None else spec.from_ or self.recipe.name

    def _embed(self, base: Revision) -> Embed | None:
        """What the recipe's `knowledge.embedder` stands for."""
        spec = self.recipe.knowledge
        wanted = "none" if spec is None else spec.embedder
        return self.shop.serving.embedders.wanted(base.ref if wanted == "base" else wanted)

    async def _measure(self, ref: str, file: str | None, report: Report) -> dict[str, float]:
        """Figures of the knowledge base, on questions of its own where the recipe has none."""
        bases = self.shop.knowledge
        if file is None:
            questions = await asyncio.to_thread(made_questions, bases, ref)
        else:
            questions = read_questions(Path(file))
        embedders = self.shop.serving.embedders
        quality = await measure_base(bases, ref, questions, sentence_vectors, embedders, report)
        return {name: float(value) for name, value in msgspec.to_builtins(quality).items()}

    def _content(self, outputs: Outputs) -> Content:
        recipe, knowledge = self.recipe, self.recipe.knowledge
        is_whole = not recipe.tune.makes_adapter
        result = outputs["tune"]["result"]
        return Content(
            task=recipe.task,
            base=result if is_whole else outputs["plan"]["base"],
            adapter=None if is_whole else result,
            method=recipe.tune.method,
            persona=recipe.persona.strip() or None,
            knowledge=self._knowledge,
            knowledge_version=outputs["ground"]["version"],
            embedder=None if knowledge is None else knowledge.embedder,
            passages=0 if knowledge is None else knowledge.passages,
            rerank=None if knowledge is None else knowledge.rerank,
            declines=knowledge is not None and knowledge.decline,
            max_tokens=recipe.serve.max_tokens,
            temperature=recipe.serve.temperature,
            title=recipe.title.model_dump(),
            description=recipe.description.model_dump(),
            answer_schema=recipe.answer_schema,
            labels=tuple(outputs["prepare"]["labels"]),
            lineage={
                "recipe": self.digest,
                **({} if self.shop.weights is None else {"weights": self.shop.weights}),
                "dataset": outputs["prepare"]["dataset"],
                "rows": outputs["prepare"]["digest"],
                "job": self.job.id,
                "software": _software(),
                "curve": outputs["tune"]["curve"],
            },
        )


def _ingest(
    bases: KnowledgeBases, name: str, spec: Knowledge, embed: Embed | None, report: Report
) -> tuple[KnowledgeVersion, Sequence[Problem]]:
    """What the sources hold now and nothing else, kept as a version."""
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


def _against(live: Release | None, base: Revision, rows: str) -> str:
    """What the plan says would change, in words."""
    if live is None:
        return "nothing is live yet"
    lineage = live.content.lineage
    changed = [
        what
        for what, is_new in (
            ("base", live.content.base.partition("@")[2] != base.revision),
            ("rows", lineage.get("rows") != rows),
        )
        if is_new
    ]
    return f"against {live.ref}: {', '.join(changed) or 'neither base nor rows'} changed"


def _software() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "tokenizers")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"baigong": __version__, **found}
