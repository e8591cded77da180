"""Tokens per second of our engine beside transformers' generate, on the same weights in the same run.

    python bench/engine.py [--runs N] [--new TOKENS] [--only WORDS]

Both get the same prompts and make the same number of greedy tokens; times are from the call to the
last token. Ours is measured through the client, processes and all. Runs of the two take turns, and
the best of each counts, because what disturbs a run can only make it slower. "of cpu" is the ratio of
processor time per token, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, logging

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from baigong.inference.client import Engine, EngineConfig  # noqa: E402
from baigong.types import Sampling  # noqa: E402
from tests.models import make_adapter, make_model  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "sapling 256x6": {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 8192,
        "max_position_embeddings": 2048,
    },
    "25M 512x6": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocab_size": 12288,
        "max_position_embeddings": 2048,
    },
}


@dataclass(frozen=True)
class Work:
    """`batch` prompts of `prompt` tokens, `new` tokens each; with an adapter each, or none.

    What counts is the prompt's tokens where only one new token is made, else the new ones.
    """

    name: str
    batch: int
    prompt: int
    new: int
    adapters: int
    goal: float

    @property
    def tokens(self) -> int:
        return self.batch * (self.prompt if self.new == 1 else self.new)

    def prompts(self, vocabulary: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(self.batch)
        shape = (self.batch, self.prompt)
        ids: list[list[int]] = torch.randint(0, vocabulary, shape, generator=generator).tolist()
        return ids

    def adapter(self, row: int) -> str | None:
        return f"adapter{row % self.adapters}" if self.adapters else None


def works(new: int) -> list[Work]:
    decode = [Work(f"decode, batch {batch}", batch, 16, new, 0, 1.3) for batch in (1, 8, 32)]
    mixed = Work("decode, batch 8, 8 adapters", 8, 16, new, 8, 2.0)
    prefill = [Work(f"prefill 512, batch {batch}", batch, 512, 1, 0, 1.0) for batch in (1, 8)]
    return [*decode, mixed, *prefill]


def theirs(model: Any, work: Work, prompts: list[list[int]]) -> None:
    """transformers' generate on one static batch, with PEFT's adapters where there are any."""
    ids = torch.tensor(prompts)
    names = {"adapter_names": [work.adapter(row) for row in range(work.batch)]}
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=work.new,
            min_new_tokens=work.new,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            **(names if work.adapters else {}),
        )
    assert out.shape[1] == work.prompt + work.new


async def ours(engine: Engine, work: Work, prompts: list[list[int]]) -> None:
    """The same through the client, all requests at once."""

    async def one(row: int) -> int:
        sampling = Sampling(max_tokens=work.new)
        stream = engine.generate(prompts[row], sampling, adapter=work.adapter(row))
        return len([token async for token in stream])

    counts = await asyncio.gather(*[one(row) for row in range(work.batch)])
    assert counts == [work.new] * work.batch


async def compare(engine: Engine, model: Any, work: Work, runs: int) -> dict[str, Any]:
    """Take turns, after one round that does not count."""
    prompts = work.prompts(engine.facts.vocabulary)
    process = psutil.Process(engine.stats().pid)
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    busy = {"ours": 0.0, "theirs": 0.0}
    for run in range(runs + 1):
        started, ours_busy = time.perf_counter(), _busy(process)
        await ours(engine, work, prompts)
        between, theirs_busy = time.perf_counter(), _busy(psutil.Process())
        theirs(model, work, prompts)
        rates["ours"].append(work.tokens / (between - started))
        rates["theirs"].append(work.tokens / (time.perf_counter() - between))
        if run:
            busy["ours"] += _busy(process) - ours_busy
            busy["theirs"] += _busy(psutil.Process()) - theirs_busy
    best = {who: max(values[1:]) for who, values in rates.items()}
    middle = {who: median(values[1:]) for who, values in rates.items()}
    ratio = best["ours"] / best["theirs"]
    return {
        "peer": "transformers generate" + (" with peft" if work.adapters else ""),
        "ours": round(best["ours"], 1),
        "theirs": round(best["theirs"], 1),
        "ours_median": round(middle["ours"], 1),
        "theirs_median": round(middle["theirs"], 1),
        "unit": "tokens/s",
        "ratio": round(ratio, 2),
        "cpu_ratio": round(busy["theirs"] / max(busy["ours"], 0.01), 2),
        "goal": work.goal,
        "met": ratio >= work.goal,
    }


async def measure(shape: str, folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All works on one model."""
    model = make_model(folder / "model", "qwen3", **SHAPES[shape])
    engine = await Engine.start(model, EngineConfig(dtype="float32", threads=arguments.threads))
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    mixed: Any = None
    for number in range(8):
        adapter = make_adapter(folder / f"adapter{number}", model, rank=8, seed=number)
        await engine.add_adapter(adapter.name, adapter)
        if mixed is None:
            base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
            mixed = PeftModel.from_pretrained(base, adapter, adapter_name=adapter.name).eval()
        else:
            mixed.load_adapter(adapter, adapter_name=adapter.name)
    rows = []
    for work in works(arguments.new):
        name = f"{shape}: {work.name}"
        if arguments.only in name:
            row = await compare(engine, mixed if work.adapters else plain, work, arguments.runs)
            rows.append({"work": name} | row)
            print(_line(rows[-1]), flush=True)
    await engine.close()
    return rows


def main() -> None:
    """Measure, print a table, and write bench/results/engine.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each side")
    parser.add_argument("--new", type=int, default=64, help="new tokens of each decode request")
    parser.add_argument("--threads", type=int, help="processor threads of both sides")
    parser.add_argument("--only", default="", help="measure only works with this in their name")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    load = os.getloadavg()[0]
    print(f"{'work':<44}{'ours':>10}{'theirs':>10}{'ratio':>8}{'of cpu':>8}{'goal':>7}")
    rows = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            rows += asyncio.run(measure(shape, Path(folder), arguments))
    write(rows, load)


def write(rows: list[dict[str, Any]], load: float) -> None:
    """Keep the figures with what they were measured on; a load above 0 means company."""
    result = {
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "threads": torch.get_num_threads(),
            "load_before": round(load, 1),
        },
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("baigong", "torch", "transformers", "peft")
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": rows,
    }
    path = ROOT / "bench" / "results" / "engine.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _busy(process: psutil.Process) -> float:
    """Processor seconds spent so far: on a busy machine they lie less than the clock does."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _line(row: dict[str, Any]) -> str:
    mark = "" if row["met"] else "  below its goal"
    return (
        f"{row['work']:<44}{row['ours']:>10.0f}{row['theirs']:>10.0f}"
        f"{row['ratio']:>8.2f}{row['cpu_ratio']:>8.2f}{row['goal']:>7.1f}{mark}"
    )


if __name__ == "__main__":
    main()
