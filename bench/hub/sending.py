"""One file through Hugging Face's own client: `python -m bench.hub.sending up|down URL FILE`.

A process of its own. It prints seconds, and seconds of processor time, of the transfer alone.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_TOKEN="none")
REPOSITORY = "local/bench"


def main() -> None:
    from huggingface_hub import HfApi  # noqa: PLC0415  reads the environment

    parser = argparse.ArgumentParser(prog="bench.hub.sending", description=__doc__)
    parser.add_argument("way", choices=["up", "down"])
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    api = HfApi(endpoint=f"{options.url}/hf")
    api.create_repo(REPOSITORY, exist_ok=True)
    start, busy = time.perf_counter(), time.process_time()
    if options.way == "up":
        api.upload_file(
            path_or_fileobj=options.file, path_in_repo="weights.onnx", repo_id=REPOSITORY
        )
    else:
        api.hf_hub_download(REPOSITORY, "weights.onnx", local_dir=options.file)
    took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - busy}
    print(json.dumps(took))


if __name__ == "__main__":
    main()
