import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx2
import pytest

from baigong.errors import Conflict, InvalidInput, Refused
from baigong.gateway.keys import Keys
from baigong.gateway.run import listen, serve
from tests.servers import MODEL, add_release, open_platform, serving

PROGRAM = """
import sys
from pathlib import Path
from baigong.console.pages import routes
from baigong.gateway.run import serve
from tests.servers import open_platform

platform = open_platform(Path(sys.argv[1]))
serve(platform, "127.0.0.1", 0, pages=routes(platform), ready=lambda url: print(url, flush=True))
print("goodbye", flush=True)
"""


def test_a_taken_port_names_the_port_its_holder_and_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(Conflict) as caught:
            listen("127.0.0.1", port)
    assert f"Port {port} is taken by" in caught.value.message
    assert str(os.getpid()) in caught.value.message
    assert f"--port {port + 1}" in caught.value.hint


def test_an_address_of_another_machine_is_an_input_error():
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(InvalidInput, match=host):
            listen(host, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_a_usable_key_must_exist_first(tmp_path, host):
    platform = open_platform(tmp_path)
    keys = Keys(platform.database, platform.secret)
    with pytest.raises(Refused, match="baigong keys create"):
        serve(platform, host, 0)
    key_id, _ = keys.create("a")
    keys.revoke(key_id)
    with pytest.raises(Refused, match="baigong keys create"):
        serve(platform, host, 0)


@pytest.fixture
def process(tmp_path):
    """(a server in a process of its own, its url)."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM), "utf-8")
    running = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "home")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        yield running, running.stdout.readline().strip()
    finally:
        running.kill()
        running.communicate()


def _rest(lines):
    try:
        return "\n".join(lines)
    except httpx2.RemoteProtocolError:
        return "cut"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_seconds_in_the_middle_of_a_stream(process, number):
    running, url = process
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4000,
        "stream": True,
    }
    with httpx2.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        began = time.monotonic()
        running.send_signal(number)
        said = _rest(lines)
    out, _ = running.communicate(timeout=10)
    assert time.monotonic() - began < 12
    assert said == "cut" or said.endswith("data: [DONE]\n")  # never an end that only looks whole
    assert out.strip() == "goodbye"
    assert running.returncode == 0


def test_it_serves_and_stops_at_once_when_idle(process):
    running, url = process
    assert httpx2.get(f"{url}/health").status_code == 200
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=10)
    assert running.returncode == 0
    assert time.monotonic() - began < 3


def test_what_is_live_is_loaded_before_anyone_asks(tmp_path):
    platform = open_platform(tmp_path)
    add_release(platform, tmp_path)
    deadline = time.monotonic() + 60
    with serving(platform):
        while not any(stats.adapters for stats in platform.engines.stats()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
