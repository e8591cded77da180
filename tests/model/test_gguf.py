"""GGUF files become model folders that answer as the originals do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader, GGUFWriter
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders, normalizers, trainers
from tokenizers.models import BPE

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.__main__ import load
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.messages import EngineConfig
from baigong.model.chat import ChatTokenizer
from baigong.model.gguf.convert import convert
from baigong.types import Message, Sampling
from tests.ggufs import ARCHITECTURES, make_gguf
from tests.models import SPECIALS, make_model

IDS = [(i * 31) % 256 for i in range(90)]
# What a file cannot say of a model that does not exist.
OVERRIDES: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": None},
    "mixtral": {"rope_theta": 1e6},  # written in every real one
    "gemma2": {"query_pre_attn_scalar": 32},
    "gemma3_text": {
        "query_pre_attn_scalar": 32,
        "sliding_window_pattern": 6,
        "num_hidden_layers": 7,
    },
}


def to_folder(path: Path) -> Path:
    folder = path.with_suffix("")
    convert(path, folder, lambda progress: None)
    return folder


@torch.inference_mode()
def engine_logits(folder: Path, dtype: str = "float32") -> torch.Tensor:
    """What our engine says after every token."""
    model, _ = load(folder, EngineConfig(dtype=dtype, threads=1))
    found = []
    sequence = Sequence(0, IDS[:1], 500, Sampling(), frozenset(), None)
    sequence.extent = model.cache.reserve(128)
    for id in [*IDS[1:], 0]:
        logits = model.forward(Batch.of({sequence: sequence.num_pending}))
        assert logits is not None
        found.append(logits[0].float())
        sequence.computed = len(sequence.ids)
        sequence.ids.append(id)
    return torch.stack(found)


@torch.inference_mode()
def reference_logits(folder: Path) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    logits: torch.Tensor = model(torch.tensor([IDS])).logits[0]
    return logits


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", list(ARCHITECTURES))
def test_the_engine_answers_as_the_original_does(tmp_path: Path, kind: str) -> None:
    original = make_model(tmp_path / "original", kind, **OVERRIDES.get(kind, {}))
    wanted = reference_logits(original)
    folder = to_folder(make_gguf(tmp_path / "exact.gguf", original, "F32"))
    assert distance(engine_logits(folder), wanted) < 1e-4
    assert distance(reference_logits(folder), wanted) < 1e-4  # as it is tuned


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize(
    ("quantised", "limit"), [("F16", 0.003), ("BF16", 0.02), ("Q8_0", 0.05), ("Q4_0", 0.6)]
)
def test_what_is_quantised_stays_as_near_as_that_allows(
    tmp_path: Path, kind: str, quantised: str, limit: float
) -> None:
    original = make_model(tmp_path / "original", kind, **OVERRIDES.get(kind, {}))
    folder = to_folder(make_gguf(tmp_path / "m.gguf", original, quantised))
    assert 1e-6 < distance(engine_logits(folder), reference_logits(original)) < limit


def test_our_own_quantisation_works_on_what_comes_of_it(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "qwen3", hidden_size=128, intermediate_size=256)
    folder = to_folder(make_gguf(tmp_path / "m.gguf", original, "F16"))
    assert distance(engine_logits(folder, "int8"), reference_logits(original)) < 0.05


def test_types_that_need_no_change_are_kept_bit_for_bit(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "llama")
    before = load_file(original / "model.safetensors")
    folder = to_folder(make_gguf(tmp_path / "a.gguf", original, "F32"))
    after = load_file(folder / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    half = load_file(
        to_folder(make_gguf(tmp_path / "b.gguf", original, "F16")) / "model.safetensors"
    )
    name = "model.layers.1.self_attn.k_proj.weight"
    assert half[name].dtype == np.float16
    assert np.array_equal(half[name], before[name].astype(np.float16))


def test_quantised_tensors_become_bfloat16_rounded_to_the_nearest(tmp_path: Path) -> None:
    from safetensors.torch import load_file as load_torch

    original = make_model(tmp_path / "original", "qwen3")
    path = make_gguf(tmp_path / "m.gguf", original, "Q8_0")
    found = load_torch(to_folder(path) / "model.safetensors")["model.embed_tokens.weight"]
    from gguf import dequantize

    (tensor,) = (t for t in GGUFReader(path).tensors if t.name == "token_embd.weight")
    exact = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
    assert torch.equal(found, exact.to(torch.bfloat16))


def test_rope_scaling_of_any_kind_is_kept(tmp_path: Path) -> None:
    for number, rope in enumerate((
        {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0},
        {"rope_type": "default", "rope_theta": 123456.0},
    )):
        original = make_model(tmp_path / f"{number}", "llama", rope_parameters=rope)
        folder = to_folder(make_gguf(tmp_path / f"m{number}.gguf", original, "F32"))
        assert distance(engine_logits(folder), reference_logits(original)) < 1e-4


def test_a_bias_of_queries_and_keys_is_turned_with_them(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "llama")
    weights = load_file(original / "model.safetensors")
    random = np.random.default_rng(5)
    for layer in range(2):
        for name, size in (("q", 64), ("k", 32), ("v", 32), ("o", 64)):
            bias = random.standard_normal(size).astype(np.float32)
            weights[f"model.layers.{layer}.self_attn.{name}_proj.bias"] = bias
    from safetensors.numpy import save_file

    save_file(weights, original / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((original / "config.json").read_text())
    (original / "config.json").write_text(json.dumps(config | {"attention_bias": True}))
    folder = to_folder(make_gguf(tmp_path / "m.gguf", original, "F32"))
    assert distance(engine_logits(folder), reference_logits(original)) < 1e-4


def test_tokens_marks_and_template_are_those_of_the_original(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "qwen2")
    folder = to_folder(make_gguf(tmp_path / "m.gguf", original))
    before, after = ChatTokenizer(original), ChatTokenizer(folder)
    turns = [Message("user", "Grüße, 世界!\n\n  x"), Message("assistant", "yes 12 <|im_end|>")]
    assert after.encode(turns) == before.encode(turns)
    assert after.render(turns) == before.render(turns)
    assert after.decode(after.encode(turns)) == before.decode(before.encode(turns))
    assert after.encode_training(turns) == before.encode_training(turns)
    assert after.eos_ids >= before.eos_ids
    assert {after.tokenizer.id_to_token(id) for id in after.eos_ids} <= set(SPECIALS)


def test_a_template_for_tools_is_kept_beside_the_other(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "qwen2")
    path = make_gguf(
        tmp_path / "m.gguf", original, tokenizer__chat_template__tool_use="{{ tools }}"
    )
    assert ChatTokenizer(to_folder(path)).templates.keys() == {"default", "tool_use"}


def test_a_document_begins_with_its_mark_where_the_file_says_so(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "llama")
    fields = {"tokenizer__ggml__bos_token_id": 256, "tokenizer__ggml__add_bos_token": True}
    tokenizer = ChatTokenizer(to_folder(make_gguf(tmp_path / "m.gguf", original, **fields)))
    assert tokenizer.encode_text("a", special=True)[0] == 256
    assert len(tokenizer.encode_text("a", special=False)) == 1
    plain = ChatTokenizer(to_folder(make_gguf(tmp_path / "n.gguf", original)))
    assert len(plain.encode_text("a", special=True)) == 1


TEXTS = (
    "",
    " ",
    "the cat sat",
    "  two  spaces",
    "über\n\n\tnaïve 世界 🦙",
    "<s> the </s>x",
    "a" * 40,
)


def sentencepiece(folder: Path) -> Tokenizer:
    """A tokenizer as Llama 2 has it, trained on a few words."""
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Prepend("▁"),
        normalizers.Replace(" ", "▁"),
    ])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ])
    words = ["the cat sat on the mat", "two cats and a hat", "naïve übermut", "that other one"]
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(words * 3, trainer)
    whole = json.loads(tokenizer.to_str())
    whole["added_tokens"] = [t for t in whole["added_tokens"] if t["content"] not in bytes_]
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.save(str(folder / "sentencepiece.json"))
    return tokenizer


def test_merges_of_a_sentencepiece_vocabulary_follow_from_its_scores(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "llama")
    wanted = sentencepiece(tmp_path)
    vocabulary = wanted.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    path = make_gguf(
        tmp_path / "m.gguf",
        original,
        tokenizer__ggml__model="llama",
        tokenizer__ggml__pre="default",
        tokenizer__ggml__merges=None,
        tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=kinds,
        tokenizer__ggml__scores=[0.0] * 259 + [float(-n) for n in range(len(tokens) - 259)],
        tokenizer__ggml__bos_token_id=1,
        tokenizer__ggml__eos_token_id=2,
    )
    folder = to_folder(path)
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        ids = found.encode(text, add_special_tokens=False).ids
        assert ids == wanted.encode(text, add_special_tokens=False).ids, text
        assert found.decode(ids) == wanted.decode(ids)
    assert found.encode("the").ids[0] == 1  # where no field says otherwise
    assert ChatTokenizer(folder).eos_ids == {2}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"general__architecture": "mamba"}, "mamba"),
        ({"tokenizer__ggml__pre": "nobody-knows"}, "nobody-knows"),
        ({"tokenizer__ggml__model": "t5"}, "t5"),
        ({"general__type": "adapter"}, "no model that writes"),
        ({"llama__attention__causal": False}, "no model that writes"),
        ({"llama__rope__scaling__type": "dynamic"}, "dynamic"),
        ({"llama__feed_forward_length": [128, 64]}, "different sizes"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, fields: Any, said: str) -> None:
    original = make_model(tmp_path / "original", "llama", rope_parameters=None)
    with pytest.raises(Unsupported, match=said):
        to_folder(make_gguf(tmp_path / "m.gguf", original, **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"llama__block_count": None}, "llama.block_count"),
        ({"llama__block_count": 3}, "Layer 2"),
        ({"tokenizer__ggml__tokens": None}, "no tokenizer"),
        ({"tokenizer__ggml__merges": ["a bc"]}, "a and bc"),
        ({"tokenizer__ggml__token_type": [1, 1]}, "kinds of 2"),
        ({"tokenizer__ggml__eos_token_id": 300}, "300 as its eos"),
        ({"llama__attention__head_count": 7}, "7 heads"),
    ],
)
def test_what_lacks_a_part_is_refused(tmp_path: Path, fields: Any, said: str) -> None:
    original = make_model(tmp_path / "original", "llama")
    with pytest.raises(InvalidInput, match=said):
        to_folder(make_gguf(tmp_path / "m.gguf", original, **fields))


def test_a_file_that_is_cut_short_or_no_gguf_is_refused(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "llama")
    whole = make_gguf(tmp_path / "m.gguf", original).read_bytes()
    for number, data in enumerate((
        whole[:-100],
        whole[: len(whole) // 2],
        whole[:3000],
        whole[:30],
        whole[:4],
        b"",
        b"PK" * 999,
    )):
        path = tmp_path / f"cut{number}.gguf"
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match="cut short"):
            to_folder(path)


def split(path: Path, count: int) -> list[Path]:
    """The same in so many files, the first one with all fields."""
    reader = GGUFReader(path)
    parts = []
    for number in range(count):
        part = path.with_name(f"{path.stem}-{number + 1:05d}-of-{count:05d}.gguf")
        writer = GGUFWriter(part, "llama")
        if number == 0:
            for name, field in reader.fields.items():
                if not name.startswith(("GGUF.", "general.architecture")):
                    writer.add_key_value(
                        name, field.contents(), field.types[0], sub_type=field.types[-1]
                    )
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number::count]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(part)
    return parts


def test_split_files_are_read_together_or_not_at_all(tmp_path: Path) -> None:
    original = make_model(tmp_path / "original", "llama")
    whole = make_gguf(tmp_path / "m.gguf", original)
    parts = split(whole, 3)
    wanted = load_file(to_folder(whole) / "model.safetensors")
    for part in parts:
        found = load_file(to_folder(part) / "model.safetensors")
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    parts[1].unlink()
    with pytest.raises(InvalidInput, match=r"m-00002-of-00003\.gguf is not beside it"):
        to_folder(parts[0])
    parts[2].replace(parts[1])
    split(whole, 2)
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    parts[1].replace(tmp_path / "m-00002-of-00002.gguf")
    with pytest.raises(InvalidInput, match="do not belong together"):
        to_folder(tmp_path / "m-00001-of-00002.gguf")
