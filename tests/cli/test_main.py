import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from baigong.cli import VERBS, main

CLI = Path(__file__).parents[2] / "src" / "baigong" / "cli"


def run(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "baigong", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_none_of_the_platform():
    """That is what keeps it instant; a clock would measure the machine instead."""
    code = (
        "import sys; from baigong.cli import main; main(['--help']);"
        "heavy = {'torch', 'pydantic', 'sqlalchemy', 'typer', 'rich', 'lancedb', 'starlette'};"
        "sys.exit(sorted(heavy & set(sys.modules)).__repr__() if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)


def test_no_verb_but_the_trainers_imports_torch_to_say_its_help():
    verbs = [verb for verb in VERBS if verb != "pretrain"]
    code = f"import sys, importlib; [importlib.import_module('baigong.cli.' + v) for v in {verbs}];"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_file_and_help(verb, capsys):
    module = importlib.import_module(f"baigong.cli.{verb}")
    module.app(args=["--help"], prog_name=f"baigong {verb}", standalone_mode=False)
    assert f"baigong {verb}" in capsys.readouterr().out


def test_a_mistyped_verb_gets_a_suggestion():
    done = run("biuld")
    assert done.returncode == 2
    assert "baigong build" in done.stderr


def test_an_expected_error_is_two_lines_and_no_traceback():
    done = run("promote", "support@1")
    assert done.returncode == 1
    assert "support@1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_expected_error_is_json_for_a_program():
    done = run("promote", "support@1", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "release_not_found"


def test_an_unknown_setting_is_named(monkeypatch):
    monkeypatch.setenv("BAIGONG_PROT", "1")
    done = run("jobs")
    assert done.returncode == 1
    assert "BAIGONG_PROT" in done.stderr
    assert "BAIGONG_PORT" in done.stderr


def test_a_setting_out_of_range_is_named(monkeypatch):
    monkeypatch.setenv("BAIGONG_PORT", "70000")
    done = run("jobs")
    assert "BAIGONG_PORT = '70000'" in done.stderr


@pytest.mark.parametrize("verb", ["releases", "jobs", "keys list"])
def test_lists_of_a_new_home_say_what_to_do_or_are_empty_json(verb):
    words = verb.split()
    assert run(*words).stdout.strip()
    assert json.loads(run(*words, "--json").stdout) == []


def test_a_key_is_shown_once_and_kept_only_as_a_digest(tmp_path):
    made = json.loads(run("keys", "create", "shop", "--json").stdout)
    assert made["key"].startswith(f"bg-{made['id']}-")
    secret = made["key"].removeprefix(f"bg-{made['id']}-").encode()
    stored = b"".join(p.read_bytes() for p in (tmp_path / "home").rglob("*") if p.is_file())
    assert secret not in stored


def test_main_without_words_is_help(capsys):
    main([])
    assert "Usage: baigong VERB" in capsys.readouterr().out
