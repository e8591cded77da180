import json

import pytest

from baigong.app import Platform
from baigong.cli import main
from baigong.config import Settings
from baigong.jobs import BACKGROUND


@pytest.fixture
def jobs():
    platform = Platform.open(Settings.load())
    yield platform.jobs
    platform.database.close()


def told(capsys, *words, code=0):
    """What `baigong jobs WORDS --json` prints."""
    with pytest.raises(SystemExit) as ended:
        main(["jobs", *words, "--json"])
    assert ended.value.code == code
    return json.loads(capsys.readouterr().out)


def test_a_job_is_paused_resumed_and_cancelled_by_its_id(jobs, capsys):
    job = jobs.open("build", "desk", "d", {BACKGROUND: True}).id
    assert told(capsys, "pause", job)["state"] == "paused"
    assert told(capsys)[0]["state"] == "paused"
    assert told(capsys, "resume", job)["state"] == "queued"
    assert told(capsys, "cancel", job)["state"] == "cancelled"
    assert "cancelled already" in told(capsys, "resume", job, code=1)["error"]["message"]


def test_what_cannot_be_gone_on_with_here_says_what_goes_on(jobs, capsys):
    ingest = jobs.open("ingest", "handbook", "d", {}).id
    jobs.wish(ingest, "pause")
    error = told(capsys, "resume", ingest, code=1)["error"]
    assert "request that began it" in error["hint"]
    old = jobs.open("build", "desk", "d", {"recipe": "d"}).id
    jobs.wish(old, "pause")
    assert "with the recipe again" in told(capsys, "resume", old, code=1)["error"]["hint"]


@pytest.mark.parametrize("words", [("pause",), ("stop", "1f")])
def test_an_act_that_is_none_or_lacks_its_job_is_refused(jobs, capsys, words):
    assert "error" in told(capsys, *words, code=1)
