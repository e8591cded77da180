"""The wheel's server with the few options of llama-server that the benchmark sets."""

from __future__ import annotations

import argparse
import time

import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("-m", dest="model")
parser.add_argument("-t", dest="threads", type=int)
parser.add_argument("-tb", dest="batch_threads", type=int)
parser.add_argument("-np", dest="slots", type=int)
parser.add_argument("-c", dest="context", type=int)
parser.add_argument("--port", type=int)
parser.add_argument("--cache-ram", type=int)
parser.add_argument("--lora-scaled", default="")
options = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = options.model
params.cpuparams.n_threads = options.threads
params.cpuparams_batch.n_threads = options.batch_threads
params.n_parallel = options.slots
params.n_ctx = options.context
params.port = options.port
params.cache_ram_mib = options.cache_ram
if options.lora_scaled:
    pairs = [one.rsplit(":", 1) for one in options.lora_scaled.split(",")]
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(path, float(scale)) for path, scale in pairs
    ]
server = xllamacpp.Server(params)
while True:
    time.sleep(1)
