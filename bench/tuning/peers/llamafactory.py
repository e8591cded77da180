"""LLaMA-Factory with its own defaults: `python llamafactory.py MODEL ROWS STEPS WARM RANK`; prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# Asked for at import, used for sound alone, and without a build beside this torch.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from llamafactory.train.tuner import run_exp  # noqa: E402
from transformers import TrainerCallback  # noqa: E402


class Clock(TrainerCallback):
    """When each step ended, and how many tokens the trainer had seen."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        self.lengths: list[int] = []
        self.batch = 0

    def on_train_begin(self, args, state, control, train_dataloader=None, **_):
        self.batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
        self.lengths = [len(row["input_ids"]) for row in train_dataloader.dataset]

    def on_step_end(self, args, state, control, **_):
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.marks.append((time.perf_counter(), used.ru_utime + used.ru_stime))


def main(model: str, rows: str, steps: str, warm: str, rank: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        info = {
            "bench": {
                "file_name": rows,
                "formatting": "sharegpt",
                "columns": {"messages": "messages"},
                "tags": {
                    "role_tag": "role",
                    "content_tag": "content",
                    "user_tag": "user",
                    "assistant_tag": "assistant",
                },
            }
        }
        Path(folder, "dataset_info.json").write_text(json.dumps(info))
        clock = Clock()
        run_exp(
            {
                "model_name_or_path": model,
                "stage": "sft",
                "do_train": True,
                "finetuning_type": "lora",
                "lora_rank": int(rank),
                "lora_target": "all",
                "dataset": "bench",
                "dataset_dir": folder,
                "template": "qwen",
                "output_dir": f"{folder}/out",
                "max_steps": int(steps),
                "save_strategy": "no",
                "report_to": "none",
                "use_cpu": True,
            },
            callbacks=[clock],
        )
        (t0, c0), (t1, c1) = clock.marks[int(warm) - 1], clock.marks[-1]
        each = sum(clock.lengths) / len(clock.lengths) * clock.batch
        print(
            json.dumps({
                "tokens": each * (len(clock.marks) - int(warm)),
                "seconds": t1 - t0,
                "cpu_seconds": c1 - c0,
                "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "batch": clock.batch,
                "loss": 0.0,
            })
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
