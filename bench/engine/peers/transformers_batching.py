"""transformers' own continuous batching, with its manager kept running between plays."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from bench.engine.play import Heard, Job, Play, one_wave, serve

PAGES = 128  # of 256 tokens each; left to itself it would take most of the machine's memory


class GenerateBatch:
    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        dtype = getattr(torch, job.weights)
        model = AutoModelForCausalLM.from_pretrained(Path(job.model), dtype=dtype).eval()
        self._manager = model.init_continuous_batching(
            GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=64),
            ContinuousBatchingConfig(num_blocks=PAGES, max_batch_tokens=512),
        )
        self._manager.start()

    def play(self, play: Play) -> list[Heard]:
        requests = one_wave(play)
        began = time.perf_counter()
        names = [self._manager.add_request(one.ids, max_new_tokens=one.new) for one in requests]
        heard: dict[str, Heard] = {}
        while len(heard) < len(names):
            result = self._manager.get_result(timeout=60)
            assert result is not None and result.error is None, result
            if result.is_finished():
                now = time.perf_counter() - began
                ids = list(result.generated_tokens)
                heard[result.request_id] = Heard(len(ids), [now], ids)
        return [heard[name] for name in names]

    def close(self) -> None:
        self._manager.stop(block=True, timeout=5)


if __name__ == "__main__":
    serve(GenerateBatch, "transformers", "torch")
