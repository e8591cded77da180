"""`baigong models`: the catalogue, filtered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baigong.app import Platform
from baigong.cli import main
from baigong.config import Settings
from tests.models import make_model


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    with pytest.raises(SystemExit) as left:
        main(["models", *arguments, "--json"])
    assert not left.value.code
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_words_and_options_leave_those_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "qwen3", "--can", "adapters", "--most", "5", "--license", "apache-2.0")
    assert {"Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B-Base"} <= {one["name"] for one in found}
    assert all(one["billions"] <= 5 and "adapters" in one["uses"] for one in found)
    speech = listed(capsys, "--task", "automatic-speech-recognition", "--language", "zh")
    assert {one["uses"] == [] for one in speech} == {True}


def test_those_in_the_hub_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    Platform.open(Settings.load()).hub.add("model", "Qwen/Qwen3-0.6B", folder, {})
    assert [one["name"] for one in listed(capsys, "--here")] == ["Qwen/Qwen3-0.6B"]
    with pytest.raises(SystemExit):
        main(["models", "Qwen3-0.6B"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("here")] == ["Qwen/Qwen3-0.6B"]
