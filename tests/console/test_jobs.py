"""The pages of jobs as HTML: whose they are, and what they say in every state."""

import html
import re
from contextlib import ExitStack

import httpx2
import pytest

from baigong.gateway.keys import Keys
from tests.console import working
from tests.console.conftest import report_of
from tests.servers import PASSED, add_release, open_platform, serving

ENGLISH = {"accept": "text/html", "accept-language": "en"}
CHINESE = {"accept": "text/html", "accept-language": "zh-CN"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    home = tmp_path_factory.mktemp("owned")
    platform = open_platform(home)
    add_release(platform, home)
    return platform


@pytest.fixture(scope="module")
def jobs(platform):
    """Job by name: of alice, of bob, and of an operator."""
    outputs = working.outputs(report_of({"candidate": 0.9, "base": 0.2}), PASSED)
    early = {step: outputs[step] for step in ("plan", "prepare", "ground")}
    return {
        "alice": working.put(
            platform, "ft-1", owner="alice", title="ft:alices", done=outputs, state="done"
        ),
        "bob": working.put(
            platform, "ft-2", owner="bob", title="ft:bobs", points=9, done=early, state="paused"
        ),
        "operator": working.put(
            platform, "desk", title=working.EVIL, done=early, now="tune", state="paused"
        ),
    }


@pytest.fixture(scope="module")
def clients(platform, jobs):
    keys = Keys(platform.database, platform.secret)
    found = {name: keys.create(name, user)[1] for name, user in USERS.items()}
    with ExitStack() as stack:
        url = stack.enter_context(serving(platform))
        yield {
            name: stack.enter_context(
                httpx2.Client(base_url=url, headers=ENGLISH, cookies={"baigong_key": key})
            )
            for name, key in found.items()
        }


USERS = {"alice": "Alice", "bob": "bob", "carol": "carol", "operator": None}


def test_a_user_sees_their_own_jobs_and_an_operator_all(clients, jobs):
    for who, client in clients.items():
        for path in ("/jobs", "/api/jobs"):
            shown = client.get(path).text
            seen = {owner for owner, job in jobs.items() if job.id in shown}
            assert seen == (set(jobs) if who == "operator" else {who} & set(jobs)), (who, path)
    assert "by bob" in clients["operator"].get("/jobs").text


@pytest.mark.parametrize("who", ["alice", "carol"])
@pytest.mark.parametrize("owner", ["bob", "operator"])
def test_anothers_job_is_as_if_it_were_not_there(clients, jobs, platform, who, owner):
    client, job = clients[who], jobs[owner]
    before = platform.jobs.get(job.id)
    none = client.get("/jobs/0000000000000000")
    for prefix in ("", "/api"):
        asked = [client.get(f"{prefix}/jobs/{job.id}")]
        asked += [
            client.post(f"{prefix}/jobs/{job.id}/{act}") for act in ("pause", "resume", "cancel")
        ]
        assert [reply.status_code for reply in asked] == [404] * 4
        for reply in asked:
            assert job.name not in reply.text and "bobs" not in reply.text
    assert none.status_code == 404 and job.id not in none.text
    assert platform.jobs.get(job.id) == before


def test_a_user_is_told_nothing_of_other_jobs_and_of_the_machine(clients, platform):
    note = {"done": 0, "total": 1, "note": "waits for build secret-recipe"}
    job = working.put(platform, "ft-3", owner="carol", title="ft:carols", state="queued")
    with platform.database.begin() as connection:
        row = {"name": "tune", "state": "running", "attempts": 1, "started_at": 0.0}
        connection.execute(working.steps.insert().values(job=job.id, progress=note, **row))
    with working.held(platform, job):
        for path in ("/jobs", f"/jobs/{job.id}"):
            page = clients["carol"].get(path).text
            assert "waits for its turn" in page and "secret-recipe" not in page
            assert "secret-recipe" in clients["operator"].get(path).text
    assert "spec" not in clients["carol"].get(f"/api/jobs/{job.id}").json()
    assert "spec" in clients["operator"].get(f"/api/jobs/{job.id}").json()


def test_what_a_user_may_not_open_in_the_hub_is_named_without_a_link(clients, jobs):
    page = clients["alice"].get(f"/jobs/{jobs['alice'].id}").text
    assert "recipes/desk@fedcba987654" in page and "/hub/datasets/recipes/desk" not in page
    assert "/hub/models/tests/support?revision=0123456789abcdef" in page
    assert 'href="/?release=support%401"' in page


def test_a_job_that_is_done_says_everything(clients, jobs):
    page = html.unescape(clients["alice"].get(f"/jobs/{jobs['alice'].id}").text)
    for wanted in (
        "Better than the base model.",
        "95 % interval",
        "<polyline",
        "tune.rank",
        "there is little to reuse",
        "as you say",
        "4 · duplicates",
        "2 · one text, several answers",
        "3 · too long for the context",
        "all dropped: rows.csv:4",
        "300 steps, 270,000 tokens",
    ):
        assert wanted in page, wanted
    assert "data-every" not in page and "<form" not in page.partition("<main")[2]
    chinese = clients["alice"].get(f"/jobs/{jobs['alice'].id}", headers=CHINESE).text
    assert "可复用的少" in chinese and "比基座模型更好。" in chinese and "4 · 重复" in chinese


def test_a_failure_is_told_with_its_remedy(clients, platform):
    error = "rows.csv:12: label: is empty\nrows.csv:19: label: is <b>empty</b>"
    job = working.put(platform, "bad", now="prepare", state="failed", error=error)
    page = clients["operator"].get(f"/jobs/{job.id}").text
    assert "rows.csv:19" in page and "<b>empty" not in page
    assert "Mend what it names, then resume" in page and "/resume" in page
    row = re.search(rf'<tr id="job-{job.id}">.*?</tr>', clients["operator"].get("/jobs").text, re.S)
    assert "rows.csv:12" in row[0] and "rows.csv:19" not in row[0]


def test_markup_in_names_is_escaped(clients, jobs):
    for path in ("/jobs", f"/jobs/{jobs['operator'].id}"):
        page = clients["operator"].get(path).text
        assert "<img src=x" not in page and html.escape("<img src=x onerror") in page


def test_long_lists_come_by_pages(tmp_path):
    platform = open_platform(tmp_path)
    for number in range(27):
        working.put(platform, f"desk-{number}", state="done")
    with serving(platform) as url:
        first = httpx2.get(f"{url}/jobs", headers=ENGLISH).text
        assert first.count('scope="row"') == 25 and "desk-26" in first
        assert 'href="/jobs?page=2"' in first
        assert httpx2.get(f"{url}/jobs?page=2", headers=ENGLISH).text.count('scope="row"') == 2


def test_foreign_pages_have_no_hand_on_jobs(clients, jobs, platform):
    path = f"/jobs/{jobs['bob'].id}/cancel"
    reply = clients["bob"].post(path, headers={"origin": "https://evil.example"})
    assert reply.status_code == 403
    assert platform.jobs.get(jobs["bob"].id).state == "paused"
    assert clients["bob"].get(path).status_code in {404, 405}
