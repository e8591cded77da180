"""The bytes on the wire, beside what any SDK makes of them."""

import gzip
from pathlib import Path

import httpx2
import pytest

from baigong.errors import EngineUnavailable
from baigong.gateway.doors.openai.chat import _events, guarded
from baigong.gateway.doors.openai.replies import Envelope
from baigong.gateway.doors.openai.requests import ChatRequest, Turn
from baigong.gateway.streams import Many
from baigong.industry.citing import Citation
from baigong.types import Delta
from tests.servers import MODEL

GOLDEN = Path(__file__).parent / "golden"
HELLO = [{"role": "user", "content": "Hello"}]
CITATION = Citation(
    number=1,
    knowledge="handbook@0a1b",
    document="zh/退货 说明.md",
    title="退货",
    text="三十天内可以退货。",
    start=12,
    end=39,
    quote="三十天内",
    quote_start=12,
    quote_end=24,
    score=1.5,
)


async def _deltas(*deltas, error=None):
    for delta in deltas:
        yield delta
    if error is not None:
        raise error


async def _lines(citations, deltas, *, with_usage):
    envelope = Envelope("support@3", "fp_1", "chat", with_usage, id="0", created=1)
    asked = ChatRequest(model="support", messages=[Turn("user", "Hello")])
    many = Many([deltas])
    await many.peek()
    events = _events(envelope, citations, 7, many, asked)
    return b"".join([piece async for piece in guarded(events, None)])


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["plain", "cited_with_usage", "marked", "broken"])
async def test_a_stream_is_these_bytes(name):
    said = (Delta("三十", 1), Delta("", 1), Delta("天。", 2), Delta("", 1, "stop"))
    marked = (Delta("三十天内可以退", 5), Delta("货[1]。五天[1", 5), Delta("]。", 2, "stop"))
    died = EngineUnavailable("The engine died.", hint="Ask again.")
    made = {
        "plain": lambda: _lines((), _deltas(*said), with_usage=False),
        "cited_with_usage": lambda: _lines((CITATION,), _deltas(*said), with_usage=True),
        "marked": lambda: _lines((CITATION,), _deltas(*marked), with_usage=False),
        "broken": lambda: _lines((), _deltas(said[0], error=died), with_usage=False),
    }
    assert await made[name]() == (GOLDEN / f"chat_{name}.txt").read_bytes()


@pytest.mark.anyio
async def test_an_answer_that_the_engine_gave_up_ends_in_an_error():
    lines = await _lines((), _deltas(Delta("a", 1), Delta("", 0, "abort")), with_usage=False)
    assert b'"code":"engine_unavailable"' in lines.splitlines()[-2]
    assert b"[DONE]" not in lines


def test_a_stream_is_marked_as_one_and_ends_with_done(url):
    given = {"model": MODEL, "messages": HELLO, "max_tokens": 2, "stream": True}
    reply = httpx2.post(f"{url}/v1/chat/completions", json=given)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.content.endswith(b"\n\ndata: [DONE]\n\n")
    assert all(line.startswith(b"data: ") for line in reply.content.split(b"\n\n") if line)


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", "/v1/nothing", {}, 404, "unknown_url"),
        ("GET", "/nothing", {}, 404, "unknown_url"),
        ("GET", "/v1/chat/completions", {}, 405, "method_not_allowed"),
        ("DELETE", f"/v1/models/{MODEL}", {}, 403, "forbidden"),
        ("POST", "/v1/chat/completions", {"content": b"{"}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", {"content": b"[1]"}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", {"content": b""}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", {"content": b"[" * 99999}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", {"content": b'{"model":"\xff"}'}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", {"data": {"a": "b"}}, 415, "unsupported_media_type"),
        ("POST", "/v1/chat/completions", {"content": b" " * (17 << 20)}, 413, "request_too_large"),
        ("POST", "/v1/chat/completions", {"json": {"model": MODEL}}, 400, "invalid_value"),
        ("GET", "/api/releases/none", {}, 404, "release_not_found"),
        ("GET", "/api/jobs/none", {}, 404, "job_not_found"),
    ],
)
def test_every_refusal_has_the_one_shape_a_number_and_says_not_to_retry(
    url, method, path, sent, status, code
):
    headers = {} if "data" in sent else {"content-type": "application/json"}
    reply = httpx2.request(method, url + path, headers=headers, timeout=30, **sent)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert {"type", "param"} <= error.keys()
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.headers["x-should-retry"] == "false"


def test_a_body_that_lies_about_its_encoding_is_not_json(url):
    body = gzip.compress(b'{"model":"x"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    reply = httpx2.post(f"{url}/v1/chat/completions", content=body, headers=headers)
    assert reply.status_code == 400


def test_health_needs_nothing(url):
    assert httpx2.get(f"{url}/health").json()["status"] == "ok"
