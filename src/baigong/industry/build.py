"""From a recipe to a release: nine steps, each done once, each resumed where a kill interrupted it.

plan → prepare → ground → tune → parity → evaluate → gate → release → promote. Knowledge is built
before tuning because a grounded model is tuned on the passages that retrieval really finds.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pydantic import ValidationError

from baigong import __version__
from baigong.errors import Conflict, InvalidInput
from baigong.evals.report import Contender, EvalReport
from baigong.hub.hub import Hub, Revision
from baigong.industry.card import write_card
from baigong.industry.checkpoints import TUNE_FOLDER, hub_name, keep_checkpoints
from baigong.industry.choices import choices_of
from baigong.industry.contest import contest
from baigong.industry.data.loading import load_rows
from baigong.industry.data.rows import Dataset
from baigong.industry.documents import keep_documents, measure_documents, own_sources
from baigong.industry.embedder import sentence_vectors
from baigong.industry.gate import judge
from baigong.industry.grounding import ground_row, inert
from baigong.industry.head_parity import check_heads
from baigong.industry.quantised import DTYPES, exact
from baigong.industry.recipe import Recipe, recipe_digest
from baigong.industry.releases import Content, Release, Releases
from baigong.industry.serving import Served, Serving
from baigong.industry.teaching import find_teacher, learn_from, wish_of
from baigong.inference.engines import Engines
from baigong.jobs import Job, Jobs, Output, Step, Watch
from baigong.knowledge.answer import find
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.retrieve import Retriever
from baigong.model.chat import tokenizer_of
from baigong.tuning import curve, picture
from baigong.tuning.parity import check_parity
from baigong.tuning.plan import plan_tuning
from baigong.tuning.search import Tried, search
from baigong.tuning.spec import WHOLE
from baigong.types import Embed, Message, Report, Row

Outputs = Mapping[str, Output]

KIND = "build"  # of the job
_TOLD = ("rows", "dropped", "languages", "tokens", "near", "private")  # of the rows' report
PARITY_PROMPTS = 8
PARITY_CHARACTERS = 400  # of a plain text


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
    sources = await asyncio.to_thread(own_sources, workshop.jobs, workshop.knowledge, recipe)
    digest = await asyncio.to_thread(_digest, workshop, recipe)
    job = _job_of_live(workshop, recipe.name, digest)
    if job is None:
        work_digest = digest
        if workshop.weights is not None:
            work_digest = hashlib.sha256(f"{digest} {workshop.weights}".encode()).hexdigest()
        job = workshop.jobs.open(KIND, recipe.name, work_digest, job_spec(recipe, digest, sources))
    return await _run(Build(workshop, recipe, job, digest), watch)


async def go_on(workshop: Workshop, job: Job, watch: Watch) -> Release:
    """Go on with a build from its row alone.

    Raises:
        InvalidInput: the row does not say what is built.
        DataProblems, Conflict, Refused: as `build`.
    """
    try:
        recipe = Recipe.model_validate(job.spec.get("declared"))
    except ValidationError as error:
        raise InvalidInput(
            f"The job {job.id} does not hold a recipe that this version can read.",
            hint="Run `baigong build` with the recipe again.",
            param="job",
        ) from error
    return await _run(Build(workshop, recipe, job, job.spec["recipe"]), watch)


def job_spec(recipe: Recipe, digest: str, sources: Sequence[str] = ()) -> Output:
    """What the row of a build says: enough to go on with it."""
    declared = recipe.model_dump(mode="json", by_alias=True)
    return {"recipe": digest, "declared": declared, "sources": list(sources)}


async def _run(work: Build, watch: Watch) -> Release:
    outputs = await work.shop.jobs.run(work.job, work.steps, watch)
    return work.shop.releases.get(outputs["release"]["ref"])


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
        ranker = await asyncio.to_thread(_find_ranker, self.shop.hub, self.recipe)
        teacher = await asyncio.to_thread(find_teacher, self.shop.serving, self.recipe)
        wish = wish_of(self.recipe, teacher)
        plan = await asyncio.to_thread(plan_tuning, dataset.rows, base.folder, wish)
        return {
            "base": f"{base.name}@{base.revision}",
            "teacher": teacher and teacher.name,
            "rerank": ranker and ranker.ref,
            "live": live.ref if live else None,
            "tune": msgspec.to_builtins(plan),
            "choices": msgspec.to_builtins(choices_of(self.recipe, wish, plan)),
            "summary": f"{_against(live, base, dataset.digest)}; {plan.sentence}",
        }

    async def prepare(self, outputs: Outputs, _: Report) -> Output:
        """Rows validated, deduplicated, split by content hash and frozen in the hub."""
        hub, base = self.shop.hub, self._base(outputs)
        dataset = await asyncio.to_thread(load_rows, hub, self.recipe, base)
        folder = self.folder / "dataset"
        await asyncio.to_thread(dataset.write, folder)
        kept = await asyncio.to_thread(hub.add, "dataset", self._hub_name, folder, {}, private=True)
        report = dataset.report
        counts = ", ".join(f"{n} {split}" for split, n in report.rows.items())
        dropped = "".join(f", {n} dropped ({why})" for why, n in report.dropped.items())
        return {
            "dataset": f"{kept.name}@{kept.revision}",
            "digest": dataset.digest,
            "labels": list(dataset.labels),
            "warnings": list(report.warnings),
            "report": {name: getattr(report, name) for name in _TOLD},
            "summary": f"{counts} rows{dropped}; differences above "
            f"{100 * report.detectable:.0f} points will show",
        }

    async def ground(self, outputs: Outputs, report: Report) -> Output:
        """Knowledge parsed, cut and indexed, as a version that never changes; then measured."""
        spec = self.recipe.knowledge
        if spec is None:
            return {"version": None, "summary": "no knowledge in this recipe"}
        embed, bases = self._embed(self._base(outputs)), self.shop.knowledge
        version, problems = await asyncio.to_thread(
            keep_documents, bases, self.recipe.name, spec, embed, report
        )
        quality = await measure_documents(
            bases, version.ref, spec.questions, self.shop.serving.embedders, report
        )
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
        """An adapter, trained in a process of its own that resumes from its checkpoints.

        One tuning at a time has the processors and GPUs of a machine; others wait in line.
        """
        base = self._base(outputs)
        rows = await self._rows(outputs)
        name, done = outputs["plan"].get("teacher"), self.folder / "teacher.jsonl"
        lesson = await learn_from(self.shop.serving, self.recipe, name, rows, done, report)
        folder = self.folder / TUNE_FOLDER
        async with self.shop.jobs.turn(self.job, f"devices of {socket.gethostname()}", report):
            result, tried = await search(lesson.rows, base.folder, lesson.wish, folder, report)
        curve.write(result.curve, result.folder)
        await asyncio.to_thread(picture.write, result.curve, result.folder)
        checkpoints = await asyncio.to_thread(
            keep_checkpoints,
            self.shop.hub,
            self.recipe.name,
            outputs["plan"]["base"],
            result.folder.parent,
        )
        output: Output = {
            "checkpoints": checkpoints,
            "curve": msgspec.to_builtins(result.curve),
            "settings": msgspec.to_builtins(result.settings),
            "folder": result.folder.relative_to(self.folder).as_posix(),
            "tried": msgspec.to_builtins(tried),
            "seconds": result.seconds,
            "tokens": result.tokens,
            "summary": f"{lesson.told}{_best_of(tried)}{result.steps} steps, {result.tokens:,} tokens, "
            f"loss {result.loss:.3f}",
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
            folder = (self.folder / outputs["tune"]["folder"]).parent
            agreed = await check_heads(folder, served, rows)
            return {"summary": f"{agreed} rows agree in token ids or pixels, and in what is said"}
        adapter = served.adapter.folder if served.adapter else None
        prompts = [_asked(row, self.recipe) for row in rows[:PARITY_PROMPTS]]
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
        verdict = judge(report, self.recipe.gate, live=outputs["evaluate"]["live"])
        return {
            "verdict": msgspec.to_builtins(verdict),
            "summary": "passed" if verdict.passed else "refused",
        }

    async def release(self, outputs: Outputs, _: Report) -> Output:
        """Immutable, numbered and signed, with its lineage. A refused one is kept to be read."""
        content = self._content(outputs)
        if content.adapter is not None:  # a whole model would be loaded again for another card
            report = msgspec.convert(outputs["evaluate"]["report"], EvalReport)
            folder, base = self.folder / outputs["tune"]["folder"], self._base(outputs)
            kept = await asyncio.to_thread(self._keep, base, outputs["tune"], folder, report)
            content = msgspec.structs.replace(content, adapter=kept)
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
        return hub_name(self.recipe.name)

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
        facts = {"base": f"{base.name}@{base.revision}"}
        kept = self.shop.hub.add("model", self._hub_name, folder, facts, private=True)
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
        ranker = serving.rankers(rerank) if (rerank := outputs["plan"].get("rerank")) else None
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
            rerank=outputs["plan"].get("rerank"),
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
                **({"teacher": teacher} if (teacher := outputs["plan"].get("teacher")) else {}),
                "software": _software(),
                "curve": outputs["tune"]["curve"],
            },
        )


def _find_ranker(hub: Hub, recipe: Recipe) -> Revision | None:
    """The reranker that the recipe names, as it is now: a release does not change with it."""
    spec = recipe.knowledge
    return hub.get("model", spec.rerank) if spec and spec.rerank else None


def _asked(row: Row, recipe: Recipe) -> Sequence[Message] | str:
    """What parity asks of a row."""
    is_text = recipe.task == "text"
    return row.messages[-1].content[:PARITY_CHARACTERS] if is_text else row.messages


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


def _best_of(tried: Sequence[Tried]) -> str:
    """What a search chose, in words."""
    if not tried:
        return ""
    best = max((one for one in tried if one.state == "done"), key=lambda one: one.score or 0.0)
    choice = ", ".join(f"{name} {value:.3g}" for name, value in best.choice.items())
    return f"best of {len(tried)} trials ({choice}); "


def _software() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "tokenizers")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"baigong": __version__, **found}
