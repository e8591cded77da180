"""What the verbs say of servers beyond this process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tests.models import make_model
from tests.standin import standing_in


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "baigong", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def home():
    folder = Path(os.environ["BAIGONG_HOME"])
    folder.mkdir(parents=True)
    return folder


def test_serving_through_vllm_without_vllm_is_one_error_that_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    done = run("serve", "--engine", "vllm", "--port", "0")
    assert done.returncode == 1
    assert "vLLM is not installed" in done.stderr
    assert "pip install vllm" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_an_engine_that_does_not_exist_is_named():
    done = run("serve", "--engine", "vlm")
    assert done.returncode == 1
    assert "BAIGONG_ENGINE = 'vlm'" in done.stderr


def test_doctor_asks_every_upstream(home, tmp_path):
    with standing_in(make_model(tmp_path / "m"), "theirs") as rack:
        (home / "upstreams.yaml").write_text(
            f"rack: {{url: '{rack.url}', kind: vllm}}\nbox: {{url: 'http://127.0.0.1:9'}}\n"
        )
        done = run("doctor", "--json")
    found = [one for one in json.loads(done.stdout) if one["name"] == "upstream"]
    assert [one["ok"] for one in found] == [True, False]
    assert found[0]["detail"] == "rack (vllm): theirs"
    assert "'box' cannot be reached" in found[1]["detail"]
    assert done.returncode == 1


def test_doctor_says_what_is_wrong_with_the_file(home):
    (home / "upstreams.yaml").write_text("rack: {url: 'http://10.0.0.1', key: sk-secret}\n")
    done = run("doctor", "--json")
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert "upstreams.yaml:1: rack.key" in found["upstreams"]["detail"]
    assert {one["mend"] for one in found.values() if not one["ok"]} == {
        "Mend the file; docs/reference.md lists the fields."
    }
    assert "sk-secret" not in done.stdout + done.stderr


def test_serve_says_how_upstreams_are_and_answers_through_them(home, tmp_path):
    with standing_in(make_model(tmp_path / "m"), "theirs") as rack:
        (home / "upstreams.yaml").write_text(f"rack: {{url: '{rack.url}', kind: vllm}}\n")
        command = [sys.executable, "-m", "baigong", "serve", "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = server.stdout.readline().split()[3]
            assert any("rack (vllm): well" in line for line in server.stdout)
            with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
                asked = [{"role": "user", "content": "Hello"}]
                stream = client.chat.completions.create(
                    model="theirs", messages=asked, max_tokens=99, stream=True
                )
                said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert said == "theirs says: Hello"
            chat = run("chat", "theirs", "Hello")
            assert chat.stdout.strip() == "theirs says: Hel"
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=30)
        assert server.returncode == 0
