"""A file that is fetched from elsewhere while others read it."""

import hashlib
import threading

import anyio.to_thread
import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from baigong.errors import Unreachable
from baigong.hub.mirror.arriving import Arriving
from tests.hub.endpoint import served

DATA = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(DATA).hexdigest()


class Elsewhere:
    """A server of one file, with the faults that a test wants of it."""

    def __init__(self, *, data=DATA, breaks=(), knows_ranges=True, leads_to=None):
        self.asked, self.gate = [], threading.Event()
        self.gate.set()
        self._data, self._breaks, self._knows_ranges = data, list(breaks), knows_ranges
        self._leads_to = leads_to

    async def file(self, request: Request) -> Response:
        given = request.headers.get("range", "")
        self.asked.append(given)
        if self._leads_to and not request.url.query:
            return RedirectResponse(self._leads_to, 302)
        start = int(given.removeprefix("bytes=").rstrip("-") or 0) if self._knows_ranges else 0
        stop = self._breaks.pop(0) if self._breaks else len(self._data)

        async def body():
            for at in range(start, stop, 1 << 16):
                if at >= len(self._data) // 2:
                    await anyio.to_thread.run_sync(self.gate.wait)
                yield self._data[at : min(at + (1 << 16), stop)]
            if stop < len(self._data):
                raise ConnectionResetError

        headers = {"content-length": str(len(self._data) - start)}
        return StreamingResponse(body(), 206 if start else 200, headers)


@pytest.fixture
def fetch(blobs):
    """Begins the fetch of the file of a server that runs for the test's length."""
    running = []

    def begin(elsewhere):
        context = served(Route("/file", elsewhere.file))
        url = context.__enter__()
        running.append((context, elsewhere))
        return Arriving(blobs, DIGEST, len(DATA), f"{url}/file", {})

    yield begin
    for context, elsewhere in running:
        elsewhere.gate.set()
        context.__exit__(None, None, None)


def test_a_file_is_read_while_it_comes_and_is_a_blob_afterwards(fetch, blobs):
    elsewhere = Elsewhere()
    elsewhere.gate.clear()
    arriving = fetch(elsewhere)
    pieces = arriving.pieces(100, len(DATA))
    first = next(pieces)
    assert DATA[100:].startswith(first) and not blobs.has(DIGEST)
    elsewhere.gate.set()
    assert first + b"".join(pieces) == DATA[100:]
    arriving.wait()
    assert blobs.get(DIGEST) == DATA


def test_a_connection_that_breaks_is_gone_on_with(fetch, blobs):
    elsewhere = Elsewhere(breaks=[1 << 18, 1 << 20])
    arriving = fetch(elsewhere)
    assert b"".join(arriving.pieces(0, len(DATA))) == DATA
    arriving.wait()
    assert [given for given in elsewhere.asked if given] and len(elsewhere.asked) == 3


def test_a_server_without_ranges_sends_again_what_is_not_written_twice(fetch, blobs):
    arriving = fetch(Elsewhere(breaks=[1 << 20], knows_ranges=False))
    assert b"".join(arriving.pieces(0, len(DATA))) == DATA
    arriving.wait()
    assert blobs.get(DIGEST) == DATA


def test_what_an_earlier_process_had_is_not_asked_for_again(fetch, blobs):
    (blobs.incoming / f"mirror-{DIGEST}").write_bytes(DATA[: 1 << 20])
    elsewhere = Elsewhere()
    fetch(elsewhere).wait()
    assert elsewhere.asked == [f"bytes={1 << 20}-"]
    assert blobs.get(DIGEST) == DATA


def test_damaged_bytes_are_told_and_not_kept(fetch, blobs):
    arriving = fetch(Elsewhere(data=DATA[:-1] + b"x"))
    with pytest.raises(Unreachable, match="sha256"):
        arriving.wait()
    assert not blobs.has(DIGEST)
    assert not list(blobs.incoming.iterdir())


def test_a_redirect_is_followed_with_what_it_signs(fetch, blobs):
    fetch(Elsewhere(leads_to="/file?signature=1")).wait()
    assert blobs.get(DIGEST) == DATA


def test_a_redirect_into_another_network_is_not_followed(fetch):
    arriving = fetch(Elsewhere(leads_to="http://169.254.169.254/latest"))
    with pytest.raises(Unreachable, match=r"169\.254"):
        arriving.wait()
