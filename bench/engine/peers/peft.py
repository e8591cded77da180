"""PEFT's mixed batch: generate with an adapter named for every row."""

from __future__ import annotations

from peft import PeftModel

from bench.engine.peers.transformers import Generate
from bench.engine.play import Job, serve


class MixedBatch(Generate):
    def __init__(self, job: Job) -> None:
        super().__init__(job)
        (first, folder), *others = job.adapters.items()
        mixed = PeftModel.from_pretrained(self.model, folder, adapter_name=first)
        for name, folder in others:
            mixed.load_adapter(folder, adapter_name=name)
        self.model = mixed.eval()


if __name__ == "__main__":
    serve(MixedBatch, "peft", "transformers", "torch")
