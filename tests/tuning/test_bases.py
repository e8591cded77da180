"""Bases of many families: what is tuned is what the engine serves, and what cannot be tuned is refused first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import AutoConfig

from baigong.errors import InvalidInput
from baigong.inference.engine.messages import Classify
from baigong.model.chat import ChatTokenizer
from baigong.tuning import trainer
from baigong.tuning.base import read_base
from baigong.tuning.examples.pairs import matched_of
from baigong.tuning.spec import TuneSpec
from baigong.tuning.suited import check_base
from baigong.tuning.told import read_told
from baigong.tuning.tune import lay_job, tune
from baigong.types import Message, Row
from tests.inference.local import LocalEngine, save_model, transformers_tokens
from tests.inference.test_encoder import encoder
from tests.inference.test_encoder import rows as answers
from tests.models import END, VOCABULARY, make_model
from tests.tuning.conftest import make_row

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "pad_token_id": None,
    "eos_token_id": END,
}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
WRITERS: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "falcon": {"new_decoder_architecture": False},
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": EXPERTS
    | LATENT
    | {"num_key_value_heads": 4, "n_routed_experts": 4, "first_k_dense_replace": 1}
    | {"n_group": 1, "topk_group": 1, "v_head_dim": 16},
}
SPEC = TuneSpec(rank=4, epochs=1, batch_size=8, learning_rate=0.02, threads=1, processes=1)


def train(rows: list[Row], base: Path, spec: TuneSpec, work: Path) -> None:
    lay_job(rows, base, spec, work)
    assert trainer.main([str(work)]) == 0


@pytest.mark.parametrize("kind", WRITERS)
def test_an_adapter_of_every_family_is_served_as_it_was_trained(
    kind: str, rows: list[Row], tmp_path: Path
) -> None:
    base = tmp_path / "base"
    save_model(base, "AutoModelForCausalLM", AutoConfig.for_model(kind, **SIZES | WRITERS[kind]))
    train(rows, base, SPEC, tmp_path / "work")
    adapter = tmp_path / "work" / "adapter"
    ids = ChatTokenizer(base).encode([Message("user", "Number 7?")])
    engine = LocalEngine(base)
    engine.add_adapter(1, "tuned", adapter)
    assert not engine.errors
    wanted = transformers_tokens(base, ids, 8, adapter)
    assert engine.run(2, ids, max_tokens=8, adapter="tuned") == wanted


def test_layers_that_share_their_weights_learn_to_classify(tmp_path: Path) -> None:
    base = tmp_path / "base"
    encoder(base, "albert", "AutoModelForMaskedLM", embedding_size=32)
    rows = [make_row(f"text {number}", ("yes", "no")[number % 2]) for number in range(16)]
    spec = TuneSpec(objective="classify", rank=4, epochs=1, threads=1, processes=1)
    train(rows, base, spec, tmp_path / "work")
    told = read_told(tmp_path / "work")
    asked = Classify(1, [one.asked for one in told if isinstance(one.asked, list)])
    found = answers(LocalEngine(tmp_path / "work" / "model"), asked)
    torch.testing.assert_close(found, torch.tensor([one.numbers for one in told]))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that only reads, one that sees, one that writes, and one of quantised weights."""
    folder = tmp_path_factory.mktemp("bases")
    encoder(folder / "bert", "bert", "AutoModelForMaskedLM")
    (folder / "resnet").mkdir()
    (folder / "resnet" / "config.json").write_text('{"model_type": "resnet", "num_channels": 3}')
    make_model(folder / "qwen")
    make_model(folder / "packed", quantization_config={"quant_method": "gptq"})
    make_model(folder / "mute")
    (folder / "mute" / "tokenizer.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "objective", "said"),
    [
        ("bert", "supervised", "reads and does not write"),
        ("bert", "continued", "reads and does not write"),
        ("bert", "images", "is no model that looks at pictures"),
        ("resnet", "classify", "looks at pictures, and objective classify"),
        ("resnet", "images", "has no preprocessor_config.json"),
        ("packed", "supervised", "are quantised"),
        ("mute", "embed", "has no tokenizer.json"),
    ],
)
def test_a_base_that_cannot_learn_it_is_refused_first(
    bases: Path, name: str, objective: Any, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        check_base(bases / name, objective)
    assert caught.value.param == "base"
    assert caught.value.hint


def test_a_base_that_can_is_not(bases: Path) -> None:
    for objective in ("classify", "regress", "embed", "rerank"):
        check_base(bases / "bert", objective)
    check_base(bases / "qwen", "supervised")
    assert read_base(bases / "qwen").targets


@pytest.mark.anyio
async def test_what_transformers_cannot_load_is_told_in_a_line(
    rows: list[Row], tmp_path: Path
) -> None:
    base = make_model(tmp_path / "base", "llama")
    config = (base / "config.json").read_text().replace('"llama"', '"nonesuch"')
    (base / "config.json").write_text(config)
    with pytest.raises(InvalidInput, match=r"base cannot be tuned so: .*nonesuch") as caught:
        await tune(rows, base, SPEC, tmp_path / "work")
    assert "\n" not in caught.value.message


def test_a_text_that_is_cut_keeps_what_closes_it_and_no_more_than_its_model_reads(
    tmp_path: Path,
) -> None:
    folder = encoder_with_end(tmp_path / "bert")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    matched = matched_of(folder, 66)(make_row("q" * 300, "a" * 300))
    assert (len(matched.query), len(matched.positive)) == (20, 20)
    assert matched.query[-1] == matched.positive[-1] == END


def encoder_with_end(folder: Path) -> Path:
    """An encoder whose tokenizer puts a token behind every text."""
    encoder(folder, "bert")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>",
        pair="$A <|im_end|> $B:1 <|im_end|>:1",
        special_tokens=[("<|im_end|>", END)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
