"""TRL's SFTTrainer with its own defaults: `python trl.py MODEL ROWS STEPS WARM RANK [float32]`; prints JSON.

Its default is bfloat16, which a processor without units for it only imitates; `float32` is for those.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time

from datasets import load_dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """When the first counted step begins, and when the last one ends."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def on_step_end(self, args, state, control, **_):
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.marks.append((time.perf_counter(), used.ru_utime + used.ru_stime))


def main(model: str, rows: str, steps: str, warm: str, rank: str, dtype: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        config = SFTConfig(
            output_dir=folder,
            max_steps=int(steps),
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            **({"bf16": False} if dtype == "float32" else {}),
        )
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=load_dataset("json", data_files=rows, split="train"),
            peft_config=LoraConfig(
                r=int(rank), lora_alpha=2 * int(rank), target_modules="all-linear"
            ),
            callbacks=[clock],
        )
        tokens = [len(row["input_ids"]) for row in trainer.train_dataset]
        trainer.train()
        (t0, c0), (t1, c1) = clock.marks[int(warm) - 1], clock.marks[-1]
        counted = len(clock.marks) - int(warm)
        each = sum(tokens) / len(tokens) * config.per_device_train_batch_size
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            json.dumps({
                "tokens": each * counted,
                "seconds": t1 - t0,
                "cpu_seconds": c1 - c0,
                "memory_bytes": peak,
                "batch": config.per_device_train_batch_size,
                "loss": trainer.state.log_history[-1].get("train_loss"),
            })
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
