import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from baigong.errors import Conflict, Refused, StorageFull
from baigong.industry.build import Build, build
from baigong.industry.recipe import Tune, load_recipe
from baigong.store.points import Points
from baigong.types import Message, Sampling
from tests.industry.trade import STEPS, Quiet, make_trade, open_platform

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from baigong.industry.build import build
from baigong.industry.recipe import load_recipe
from tests.industry.trade import Quiet, open_platform

class Killer(Quiet):
    def started(self, step):
        if step == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    platform = open_platform(Path(sys.argv[1]))
    await build(platform.workshop, load_recipe(Path(sys.argv[2])), Killer())

asyncio.run(main())
"""


def killed_at(step: str, home: Path, recipe: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), str(recipe), step],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        check=False,
    )
    return done.returncode


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which the trade was built, by a build that was killed at the start of every step."""
    folder = tmp_path_factory.mktemp("build")
    recipe = make_trade(folder / "trade")
    for step in STEPS:
        assert killed_at(step, folder / "home", recipe) == -9, step
    return folder / "home"


@pytest.fixture
async def platform(home):
    opened = open_platform(home)
    yield opened
    await opened.close()


@pytest.fixture
def recipe(home):
    return load_recipe(home.parent / "trade" / "recipe.yaml")


async def test_a_build_killed_at_every_step_goes_on_and_redoes_nothing_finished(platform, recipe):
    watch = Quiet()
    release = await build(platform.workshop, recipe, watch)
    assert watch.kept[:8] == STEPS[:-1]
    assert release.ref == "desk@1"
    assert release.passed, release.verdict
    assert platform.releases.live() == {"desk": 1}
    attempts = {step.name: step.attempts for step in platform.jobs.steps(release.job)}
    assert attempts == dict.fromkeys(STEPS, 1)


async def test_building_what_is_live_already_does_nothing(platform, recipe):
    first = await build(platform.workshop, recipe, Quiet())
    watch = Quiet()
    assert await build(platform.workshop, recipe, watch) == first
    assert watch.done == []


async def test_a_build_leaves_what_a_person_looks_at(platform, recipe):
    job = (await build(platform.workshop, recipe, Quiet())).job
    outputs = {step.name: step.output for step in platform.jobs.steps(job)}
    why = {choice["setting"]: choice for choice in outputs["plan"]["choices"]}
    assert (why["tune.rank"]["why"], why["tune.rank"]["why_zh"]) == ("as you say", "按你的设置")
    method = why["tune.method"]
    assert "many share one base" in method["why"] and "共用一个基座" in method["why_zh"]
    assert outputs["prepare"]["report"]["rows"]["train"] > 50
    told = Points(platform.database, job).last_trial()
    curve = outputs["tune"]["curve"]
    assert [point.progress.metrics["step"] for point in told] == [point["step"] for point in curve]


async def test_what_was_evaluated_is_what_answers_with_citations(platform, recipe):
    release = await build(platform.workshop, recipe, Quiet())
    served = platform.serving.open("desk")
    answer = await served.answer([Message("user", "aaa 12")], Sampling(max_tokens=4))
    assert "".join([delta.text async for delta in answer.deltas]) == "yes"
    answer = await served.answer([Message("user", "电饭煲保修多久？")], Sampling(max_tokens=4))
    cited = answer.citations[0]
    text = platform.knowledge.text(cited.knowledge, cited.document).encode()
    assert cited.document == "保修.md"
    assert text[cited.quote_start : cited.quote_end].decode() == cited.quote == "电饭煲保修两年。"
    figures = release.report["retrieval"]  # of questions that the documents made of themselves
    assert figures["questions"] >= 1
    assert {"recall_at_3", "cited", "declined", "seconds"} <= figures.keys()
    lineage = release.content.lineage
    assert platform.hub.get("dataset", lineage["dataset"]).folder.is_dir()
    assert [point["step"] for point in lineage["curve"]]
    assert msgspec.json.decode(msgspec.json.encode(release.report)) == release.report


async def test_a_worse_recipe_is_refused_live_stays_and_the_reason_is_a_sentence(
    platform, recipe, home
):
    """The gate sees what one step of training with next to no weights makes."""
    await build(platform.workshop, recipe, Quiet())
    worse = recipe.model_copy(
        update={"tune": Tune(epochs=0.1, rank=1, alpha=1, learning_rate=1e-6)}
    )
    release = await build(platform.workshop, worse, Quiet())
    assert not release.passed
    assert platform.releases.live() == {"desk": 1}
    assert "desk@1" in release.verdict["sentence"]["en"]
    assert "desk@1" in release.verdict["sentence"]["zh"]
    with pytest.raises(Refused, match="did not pass its gate"):
        platform.releases.promote(release.ref, "by hand")


async def test_a_release_proven_against_what_is_no_longer_live_is_not_promoted(platform, recipe):
    """Someone promotes by hand while the build runs: the proof no longer holds."""
    release = await build(platform.workshop, recipe, Quiet())
    job = platform.jobs.get(release.job)
    outputs = {step.name: step.output or {} for step in platform.jobs.steps(job.id)}
    other = platform.releases.create(
        "desk", "by hand", release.content, release.report, release.verdict
    )
    platform.releases.promote(other.ref, "by hand")
    try:
        with pytest.raises(Conflict, match="became live while desk@1 was proven"):
            await Build(platform.workshop, recipe, job, "").promote(outputs, lambda _: None)
        assert platform.releases.live() == {"desk": other.number}
    finally:
        platform.releases.rollback("desk")


@pytest.fixture
async def new(tmp_path):
    opened = open_platform(tmp_path / "home")
    yield opened
    await opened.close()


async def test_two_builds_of_one_recipe_at_once_are_a_conflict_that_says_what_to_do(new, recipe):
    first = asyncio.create_task(build(new.workshop, recipe, Quiet()))
    await asyncio.sleep(0.5)
    with pytest.raises(Conflict, match="baigong jobs"):
        await build(new.workshop, recipe, Quiet())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_full_disk_stops_the_build_with_a_remedy_and_it_goes_on_later(
    new, recipe, monkeypatch
):
    """The disk's own error, at the moment the dataset is frozen."""
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name.startswith(".report.json"):
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFull, match="same command again"):
        await build(new.workshop, recipe, Quiet())
    monkeypatch.undo()

    class Enough(Exception):
        pass

    class UntilGround(Quiet):
        def started(self, step):
            if step == "ground":
                raise Enough

    watch = UntilGround()
    with pytest.raises(Enough):
        await build(new.workshop, recipe, watch)
    assert (watch.kept, watch.done) == (["plan"], ["prepare"])
