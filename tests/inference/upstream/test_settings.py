"""What an operator writes into upstreams.yaml, and what is said about mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from baigong.errors import DataProblems, InvalidInput
from baigong.inference.upstream.settings import KeySource, read_upstreams

WHOLE = """\
rack:
  url: http://10.0.0.5:8000/v1/
  kind: vllm
  models: {Qwen/Qwen3-8B: qwen}
  key: {env: RACK_KEY}
  weight: 2
  adapters: true
  timeouts: {connect: 1, first_token: 60, between_tokens: 10}
other:
  url: https://models.example
  models: [a, b]
"""

WRONG = """\
rack:
  url: ftp://10.0.0.5
  kind: vlm
  key: sk-in-the-clear
  timeouts:
    connect: 0
box:
  url: http://me:sk-in-the-clear@10.0.0.6
  weigth: 2
  kind: llamacpp
gguf: {url: http://10.0.0.7, kind: llamacpp, adapters: true}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "upstreams.yaml"
    path.write_text(text, "utf-8")
    return path


def test_every_field_is_read_and_the_rest_has_defaults(tmp_path: Path) -> None:
    found = read_upstreams(write(tmp_path, WHOLE))
    rack, other = found["rack"], found["other"]
    assert (rack.url, rack.models) == ("http://10.0.0.5:8000", {"Qwen/Qwen3-8B": "qwen"})
    assert (rack.weight, rack.adapters, rack.timeouts.between_tokens) == (2, True, 10)
    assert (other.kind, other.models, other.key) == ("openai", {"a": "a", "b": "b"}, None)
    assert (other.weight, other.adapters, other.timeouts.connect) == (1, False, 5)


def test_no_file_is_no_upstream_and_an_empty_one_too(tmp_path: Path) -> None:
    assert read_upstreams(tmp_path / "upstreams.yaml") == {}
    assert read_upstreams(write(tmp_path, "# none yet\n")) == {}


def test_every_mistake_is_told_with_its_line_and_no_key_is_shown(tmp_path: Path) -> None:
    with pytest.raises(DataProblems) as caught:
        read_upstreams(write(tmp_path, WRONG))
    found = {(problem.line, problem.field) for problem in caught.value.problems}
    assert found == {
        (2, "rack.url"),
        (3, "rack.kind"),
        (4, "rack.key"),
        (6, "rack.timeouts.connect"),
        (8, "box.url"),
        (9, "box.weigth"),
        (11, "gguf"),
    }
    text = str(caught.value)
    assert "sk-in-the-clear" not in text
    assert "{env: VARIABLE} or {file: PATH}" in text
    assert "kind llamacpp loads none while it runs" in text


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list\n", "a: 1\na: 2\n"])
def test_what_is_no_mapping_of_upstreams_is_one_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataProblems, match=r"upstreams\.yaml"):
        read_upstreams(write(tmp_path, text))


def test_a_key_is_read_anew_from_where_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RACK_KEY", "first")
    kept = KeySource(env="RACK_KEY", file=None)
    assert kept.read() == "first"
    monkeypatch.setenv("RACK_KEY", "second")
    assert kept.read() == "second"
    path = tmp_path / "key"
    path.write_text("third\n")
    assert KeySource(env=None, file=path).read() == "third"
    path.unlink()
    with pytest.raises(InvalidInput, match="holds no key"):
        KeySource(env=None, file=path).read()
