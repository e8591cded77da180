"""`baigong tune` as a person calls it: a file of rows, and nothing else written."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from tests.industry.trade import LABELS, open_platform

pytestmark = pytest.mark.timeout(400)

QUICK = ("--epochs", "12", "--set", "tune.rank=8", "--set", "tune.learning_rate=0.01")
FILE = ("--base", "local/tiny", "--name", "desk", "--set", "serve.max_tokens=4")


def tune(*words):
    return subprocess.run(
        [sys.executable, "-m", "baigong", "tune", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.fixture
def rows(tmp_path):
    """A CSV as spreadsheets of China write it, in a home with a tiny base."""
    open_platform(tmp_path / "home")
    lines = [(f"{word * 3} 第{n}", label) for n in range(60) for word, label in LABELS.items()]
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="gb18030", newline="") as out:
        csv.writer(out).writerows([("问题", "标签"), *lines])
    return path


def test_a_plan_says_everything_and_does_nothing(rows, tmp_path):
    done = tune(str(rows), *FILE, *QUICK, "--plan", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["task"] == "classification"
    assert plan["data"]["rows"]["train"] + plan["data"]["rows"]["test"] > 90
    assert plan["probe"]["tokens_per_second"] > 0
    assert plan["seconds"] > 0 and plan["memory_bytes"] > 0 and 0 < plan["detectable"] < 1
    why = {choice["setting"]: choice["why"] for choice in plan["choices"]}
    assert why["tune.rank"] == "as you say"
    assert "GB18030" in str(plan["data"]["warnings"])
    listed = subprocess.run(
        [sys.executable, "-m", "baigong", "jobs", "--json"], capture_output=True, check=True
    )
    assert json.loads(listed.stdout) == []


def test_rows_become_a_live_model_with_its_card_even_if_it_is_killed_on_the_way(rows):
    words = [sys.executable, "-m", "baigong", "tune", str(rows), *FILE, *QUICK]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as first:
        for line in first.stdout:
            if line.startswith("prepare"):
                first.send_signal(signal.SIGKILL)
                break
    done = tune(str(rows), *FILE, *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    took = {words[0]: words[1] for words in lines if words[0] in {"plan", "prepare"}}
    assert took["plan"] == "kept"
    assert "classification, with '问题' as the text" in done.stdout
    assert "desk@1 is live" in done.stdout
    assert "base" in done.stdout and "baseline" in done.stdout and "validation" in done.stdout
    folder = next(words[0] for words in reversed(lines) if words[0].startswith("/"))
    names = {file.name for file in os.scandir(folder)}
    assert {
        "README.md",
        "adapter_model.safetensors",
        "curve.json",
        "curve.png",
        "curve.svg",
    } <= names
    with open(os.path.join(folder, "README.md"), encoding="utf-8") as card:
        _, front, body = card.read().split("---\n", 2)
    facts = YAML(typ="safe").load(front)
    assert facts["base_model"] == "local/tiny"
    assert facts["language"][0] in {"en", "zh"}
    assert facts["model-index"][0]["results"][0]["metrics"][0]["value"] >= 0.8
    assert "What it is not good for" in body and "baigong chat desk" in body


def test_rows_that_are_too_few_are_planned_with_what_is_lacking(rows):
    few = rows.with_name("few.csv")
    few.write_text("question,team\n" + "".join(f"where is it {n},a\n" for n in range(12)))
    done = tune(str(few), "--column", "label=team", "--base", "local/tiny", "--plan")
    assert done.returncode == 0, done.stderr
    assert "a verdict needs 20; add rows" in done.stdout
    assert "every row has the label 'a'; two are the least" in done.stdout
    done = tune(str(few), "--column", "label=team", "--base", "local/tiny")
    assert done.returncode == 1
    assert "a verdict needs 20; add rows" in done.stderr
    assert "Traceback" not in done.stderr


def test_mistakes_are_named_with_line_and_remedy(rows):
    rows.write_text('{"conversations": [{"from": "human", "value": "hi"}]}\n')
    path = rows.rename(rows.with_suffix(".jsonl"))
    done = tune(str(path), "--base", "local/tiny")
    assert done.returncode == 1
    assert "rows.jsonl:1: messages: the assistant never speaks; add the answer" in done.stderr
