"""Who is compared with. A peer is a row here and a file of its own beside it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """One way to run a model.

    Attributes:
        name: as tables and `--peer` call it.
        module: its file here; also the name of its environment.
        goals: name of a work to the ratio ours / theirs that we want, or None where it only informs.
        pairs: (our weights, its weights) that are compared; "plain" is what the shape says.
        is_best: compare our best of these pairs with its best, not each pair.
        packages: pip requirements of its environment; without any it runs in the project's own.
        bare: more of them, installed without what they ask for.
        unwanted: names of packages that came along and are removed again.
    """

    name: str
    module: str
    goals: dict[str, float | None] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = (("plain", "plain"),)
    is_best: bool = False
    packages: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


OURS = Peer("ours", "ours")

# Newer releases of what the exporter asks for would replace torch by a CUDA build.
_OPENVINO = ("openvino-genai==2026.4.1.0", "torch==2.13.0", "transformers==5.5.4")
_LLAMACPP = ("gguf==0.19.0", "numpy>=2", "safetensors>=0.6", "xllamacpp==2026.10.11549")

PEERS = (
    Peer(
        "openvino",
        "openvino",
        {
            "decode, 1 stream": None,
            "decode, 8 streams": 1.0,
            "decode, 32 streams": 1.0,
            "prefill 512": 1.0,
            "prefill 8 x 512": 1.0,
            "prefill 8 x 512 beside 32 streams": 1.0,
        },
        (("bfloat16", "16 bit"), ("int8", "int8")),
        packages=(*_OPENVINO, "huggingface-hub<1.22", "nncf==3.4.0", "requests", "setuptools"),
        bare=("optimum-intel==2.2.0", "optimum==2.3.0"),
    ),
    Peer(
        "llama.cpp",
        "llamacpp",
        {
            "decode, 1 stream": 0.8,  # and then 1.0
            "decode, 8 streams": 1.2,
            "decode, 32 streams": 1.2,
            "prefill 512": None,
            "prefill 8 x 512": None,
            "prefill 8 x 512 beside 32 streams": None,
        },
        (("bfloat16", "BF16"), ("int8", "Q8_0"), ("int4", "Q4_0")),
        is_best=True,
        packages=_LLAMACPP,
    ),
    Peer(
        "llama.cpp server",
        "llamacpp",
        {"32 streams with 32 adapters": 4.0},
        (("bfloat16", "BF16"),),
        packages=_LLAMACPP,
    ),
    Peer(
        "transformers generate",
        "transformers",
        {
            "decode, 1 stream": None,
            "decode, 8 streams": None,
            "decode, 32 streams": 2.0,
            "prefill 512": None,
            "prefill 8 x 512": None,
        },
    ),
    Peer(
        "transformers generate_batch",
        "transformers_batching",
        {"decode, 8 streams": None, "decode, 32 streams": 2.0},
    ),
    Peer("peft mixed batch", "peft", {"32 streams with 32 adapters": 3.0}),
    Peer(
        "xinference",
        "xinference",
        {"decode, 8 streams": None, "decode, 32 streams": 2.0},
        packages=("xinference==4.1.0", "torch==2.13.0", "transformers==5.17.0", "accelerate"),
        # Built for another torch than the one pinned here, it cannot be imported.
        unwanted=("torchvision", "timm"),
    ),
)
