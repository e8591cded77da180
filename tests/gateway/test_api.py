from urllib.parse import quote

import httpx2
import pytest

from tests.servers import RETURNS, WARRANTY, add_release, open_platform, serving


def test_releases_are_listed_and_shown_whole(url):
    listed = httpx2.get(f"{url}/api/releases").json()["data"]
    assert [(r["ref"], r["live"], r["passed"]) for r in listed] == [("support@1", True, True)]
    for name in ("support", "support@1"):
        shown = httpx2.get(f"{url}/api/releases/{name}").json()
        assert shown["ref"] == "support@1"
        assert shown["content"]["knowledge"] == "handbook"
        assert {"report", "verdict", "digest", "signature"} <= shown.keys()


def test_promote_and_rollback_move_the_pointer_without_a_restart(tmp_path):
    platform = open_platform(tmp_path)
    add_release(platform, tmp_path)
    add_release(platform, tmp_path, max_tokens=3)
    refused = add_release(
        platform, tmp_path, verdict={"passed": False, "sentence": {"en": "worse by 0.2"}}
    )
    asked = {"model": "support", "messages": [{"role": "user", "content": "Hi"}]}
    with serving(platform) as url:

        def spent():
            reply = httpx2.post(f"{url}/v1/chat/completions", json=asked, timeout=60).json()
            return reply["model"], reply["usage"]["completion_tokens"]

        assert spent() == ("support@2", 3)
        moved = httpx2.post(f"{url}/api/releases/support/rollback").json()
        assert moved == {"name": "support", "live": 1, "previous": 2}
        assert spent() == ("support@1", 12)
        reason = {"reason": "again"}
        moved = httpx2.post(f"{url}/api/releases/support@2/promote", json=reason).json()
        assert moved == {"name": "support", "live": 2, "previous": 1}
        assert spent() == ("support@2", 3)
        reply = httpx2.post(f"{url}/api/releases/{refused.ref}/promote")
        assert reply.status_code == 422
        assert "worse by 0.2" in reply.json()["error"]["message"]
        assert httpx2.post(f"{url}/api/releases/support/promote").status_code == 400
        wrong = {"reason": ""}
        reply = httpx2.post(f"{url}/api/releases/support@2/promote", json=wrong)
        assert reply.json()["error"]["param"] == "reason"


def test_jobs_are_listed_with_their_steps(tmp_path):
    platform = open_platform(tmp_path)
    job = platform.jobs.open("build", "support", "0" * 64, {"recipe": "x"})
    with serving(platform) as url:
        assert httpx2.get(f"{url}/api/jobs").json()["data"][0]["id"] == job.id
        shown = httpx2.get(f"{url}/api/jobs/{job.id}").json()
        assert (shown["state"], shown["steps"]) == ("running", [])


def test_a_job_is_paused_resumed_by_the_server_and_cancelled(tmp_path):
    platform = open_platform(tmp_path)
    job = platform.jobs.open("build", "support", "0" * 64, {"recipe": "x"})
    with serving(platform) as url:
        at = f"{url}/api/jobs/{job.id}"
        assert httpx2.post(f"{at}/pause").json()["state"] == "paused"
        reply = httpx2.post(f"{at}/resume")  # a row of old, which does not hold its recipe
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "job")
        assert httpx2.post(f"{at}/cancel").json()["state"] == "cancelled"
        assert httpx2.post(f"{at}/pause").status_code == 409
        assert httpx2.post(f"{url}/api/jobs/none/pause").status_code == 404


@pytest.mark.parametrize(("name", "text"), [("returns.md", RETURNS), ("zh/保修 说明.md", WARRANTY)])
def test_a_document_is_given_whole_under_any_encoding_of_its_name(url, platform, name, text):
    knowledge = platform.knowledge.versions("handbook")[0].ref
    for base, document in (
        (knowledge, quote(name)),
        (quote(knowledge, safe=""), quote(name, safe="")),
    ):
        found = httpx2.get(f"{url}/api/knowledge/{base}/{document}").json()
        assert found == {"knowledge": knowledge, "document": name, "text": text}


@pytest.mark.parametrize("path", ["handbook/none.md", "none/returns.md", ""])
def test_an_unknown_document_is_404(url, path):
    assert httpx2.get(f"{url}/api/knowledge/{path}").status_code == 404


def test_a_document_cannot_be_a_path_out_of_the_knowledge_base(url):
    for path in ("..%2F..%2Fsecret.key", "%2Fetc%2Fpasswd", "returns.md'%20OR%20'1'='1"):
        assert httpx2.get(f"{url}/api/knowledge/handbook/{path}").status_code == 404
