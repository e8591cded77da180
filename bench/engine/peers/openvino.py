"""OpenVINO GenAI's continuous batching. Its 16-bit file is float16, its arithmetic here bfloat16."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, SchedulerConfig

from bench.engine.play import CannotPlay, Heard, Job, Play, Request, serve

CACHE_GB = 2
BYTES = {"16 bit": 2, "int8": 1}  # of a weight


class OpenVino:
    def __init__(self, job: Job) -> None:
        scheduling = SchedulerConfig()
        scheduling.cache_size = CACHE_GB
        settings = {"INFERENCE_NUM_THREADS": job.threads}
        folder = converted(job)
        self._pipeline = ContinuousBatchingPipeline(str(folder), scheduling, "CPU", settings)
        self._next = 0

    def play(self, play: Play) -> list[Heard]:
        began = time.perf_counter()
        heard: list[Heard] = []
        handles: list[Any] = []
        for wave in (0, 1):
            for request in play.requests:
                if request.wave == wave:
                    heard.append(Heard(0, []))
                    handles.append(self._submit(request))
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
                now = time.perf_counter() - began
                for one, handle in zip(heard, handles, strict=True):
                    _listen(one, handle, now)
                if len(heard) < len(play.requests) and all(one.times for one in heard):
                    break
        return [Heard(len(one.ids), one.times, one.ids) for one in heard]

    def close(self) -> None: ...

    def _submit(self, request: Request) -> Any:
        config = GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = request.new
        config.ignore_eos, config.do_sample = True, False
        self._next += 1
        ids = openvino.Tensor(np.array([request.ids], np.int64))
        return self._pipeline.add_request(self._next, ids, config)


def _listen(heard: Heard, handle: Any, now: float) -> None:
    while handle.can_read():
        for output in handle.read().values():
            heard.ids.extend(output.generated_ids)
            heard.times.extend([now] * len(output.generated_ids))


def converted(job: Job) -> Path:
    """The model in OpenVINO's format, made by its own exporter and compressor on first use.

    Raises:
        CannotPlay: the file's size says that its weights are not what was asked for.
    """
    folder = job.converted(f"openvino-{job.weights.replace(' ', '-')}")
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        _export(job.model, part)
        if job.weights == "int8":
            _compress(part)
        part.rename(folder)
    parameters = (Path(job.model) / "model.safetensors").stat().st_size / 4  # it is in float32
    size = (folder / "openvino_model.bin").stat().st_size / parameters
    if not 0.95 < size / BYTES[job.weights] < 1.2:
        raise CannotPlay(f"{folder.name} takes {size:.2f} bytes a weight; remove it and try again")
    return folder


def _export(model: str, folder: Path) -> None:
    # The exporter brings torch and transformers, which a measured process should not hold.
    from optimum.exporters.openvino import main_export  # noqa: PLC0415
    from optimum.intel import OVConfig  # noqa: PLC0415

    main_export(
        model,
        folder,
        task="text-generation-with-past",
        library_name="transformers",
        ov_config=OVConfig(dtype="fp16"),
        convert_tokenizer=True,
    )


def _compress(folder: Path) -> None:
    """Eight bits for every matrix, the embedding too: what the exporter's own int8 is."""
    import nncf  # noqa: PLC0415

    path = folder / "openvino_model.xml"
    whole = openvino.Core().read_model(path)
    small = nncf.compress_weights(whole, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(small, folder / "small.xml", compress_to_fp16=False)
    del whole, small  # they map the files that are replaced
    for ending in (".xml", ".bin"):
        (folder / "small").with_suffix(ending).replace(path.with_suffix(ending))


if __name__ == "__main__":
    serve(OpenVino, "openvino", "openvino-genai")
