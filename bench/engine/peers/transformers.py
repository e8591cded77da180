"""transformers' generate: one static batch."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from bench.engine.play import Heard, Job, Play, one_wave, serve


class Generate:
    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        dtype = getattr(torch, job.weights)
        self.model = AutoModelForCausalLM.from_pretrained(Path(job.model), dtype=dtype).eval()

    def play(self, play: Play) -> list[Heard]:
        requests = one_wave(play)
        new, ids = requests[0].new, torch.tensor([one.ids for one in requests])
        names = [one.adapter for one in requests]
        began = time.perf_counter()
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
                **({"adapter_names": names} if any(names) else {}),
            )
        times = [time.perf_counter() - began]
        return [Heard(len(row), times, row) for row in out[:, ids.shape[1] :].tolist()]

    def close(self) -> None: ...


if __name__ == "__main__":
    serve(Generate, "transformers", "torch")
