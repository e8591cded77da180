"""`baigong fit`, also for a model that is not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from baigong.cli import main
from tests.hub.endpoint import FAT, Endpoint
from tests.models import make_model


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    with pytest.raises(SystemExit) as left:
        main(["fit", *arguments, "--context", "128", "--json"])
    assert not left.value.code
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_model_elsewhere_takes_what_its_folder_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = Endpoint(make_model(tmp_path / "m", "qwen3"))
    here = said(capsys, str(tmp_path / "m"))
    with endpoint.open() as url:
        there = said(capsys, "acme/tiny", "--endpoint", url)
    bytes_there = there.pop("download")
    assert here.pop("download") is None
    assert isinstance(bytes_there, int) and bytes_there > FAT > endpoint.sent
    del here["free on this machine"], there["free on this machine"]
    assert there == here


def test_a_name_that_is_nowhere_gets_the_names_that_are_here(
    tmp_path: Path,
) -> None:
    with Endpoint(tmp_path).open() as url:
        done = subprocess.run(
            [sys.executable, "-m", "baigong", "fit", "baigong/saplink"],
            env={**os.environ, "HF_ENDPOINT": url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "'baigong/saplink' does not exist there" in done.stderr
    assert "baigong/sapling" in done.stderr
