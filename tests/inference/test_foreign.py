"""Models that only transformers knows are served beside each other, and as it would answer."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.messages import Abort, Choose, Done, Embed, Rows
from tests.inference.local import LocalEngine, save_model, transformers_tokens
from tests.models import VOCABULARY

# peft reads a property of models that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

PROMPTS = [[(n * 31 + 7 * i) % 256 for i in range(size)] for n, size in enumerate((3, 40, 17, 1))]

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def foreign(folder: Path, kind: str, **fields: Any) -> Path:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **SIZES | fields)
    save_model(folder, "AutoModelForCausalLM", config)
    return folder


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("gpt2", {}),
        ("gpt_neox", {}),
        ("falcon", {"alibi": True, "new_decoder_architecture": False, "multi_query": True}),
        ("olmo2", {"num_key_value_heads": 2}),
        ("granite", {"embedding_multiplier": 3.0, "logits_scaling": 2.0}),
        ("phi", {"partial_rotary_factor": 0.5}),
        ("mamba", {"state_size": 8}),
        ("cohere2", {"sliding_window": 16, "num_key_value_heads": 2}),
    ],
)
def test_greedy_answers_equal_transformers(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    folder = foreign(tmp_path / "m", kind, **fields)
    engine = LocalEngine(folder, prefill_tokens=32)
    assert engine.facts.architecture == kind
    for number, ids in enumerate(PROMPTS):
        engine.submit(number, ids)
        engine.step()
    engine.finish(*range(len(PROMPTS)))
    for number, ids in enumerate(PROMPTS):
        assert engine.tokens[number] == transformers_tokens(folder, ids)


def test_a_sequence_that_had_to_wait_is_computed_again(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt2")
    roomy = LocalEngine(folder)
    tight = LocalEngine(folder, cache_tokens=512)
    for engine in (roomy, tight):
        for number in range(4):
            engine.submit(number, PROMPTS[1], max_tokens=150)
            engine.submit(10 + number, PROMPTS[number], max_tokens=150)
        engine.finish(*range(4), *range(10, 14))
    assert tight.tokens == roomy.tokens
    assert max(step.waiting for step in tight.steps) > 0


def test_abort_frees_what_was_held(tmp_path: Path) -> None:
    engine = LocalEngine(foreign(tmp_path / "m", "gpt2"), max_batch=1)
    expected = engine.run(1, PROMPTS[1])
    engine.submit(2, PROMPTS[0], max_tokens=400)
    engine.submit(3, PROMPTS[1])
    engine.step(3)
    engine.tell(Abort(2))
    engine.finish(3)
    assert engine.tokens[3] == expected
    assert len(engine.tokens[2]) == 3
    assert not engine.loop._model._states  # type: ignore[attr-defined]


def test_prompts_are_scored(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt_neox")
    engine = LocalEngine(folder, prefill_tokens=8)
    engine.run(1, PROMPTS[2], logprobs=0, scores_prompt=True, max_tokens=1)
    expected = reference(folder)(torch.tensor([PROMPTS[2]])).logits[0].log_softmax(-1)
    told = [score.logprob for score in engine.news[1][0].prompt]
    wanted = [expected[at, id].item() for at, id in enumerate(PROMPTS[2][1:])]
    assert told == pytest.approx(wanted, abs=1e-4)


def test_vectors_and_shares_equal_transformers(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "olmo2")
    engine, model = LocalEngine(folder), reference(folder)
    engine.tell(Embed(1, PROMPTS))
    engine.tell(Choose(2, PROMPTS, [5, 9]))
    engine.finish(1, 2)
    for ids, vector, shares in zip(PROMPTS, rows(engine, 1), rows(engine, 2), strict=True):
        row = torch.tensor([ids])
        mean = model.base_model(row).last_hidden_state[0].mean(0)
        torch.testing.assert_close(vector, mean / mean.norm(), rtol=1e-4, atol=1e-4)
        logits = model(row).logits[0, -1, [5, 9]]
        torch.testing.assert_close(shares, logits.softmax(-1), rtol=1e-4, atol=1e-4)


def test_mixed_adapters_equal_peft(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt_neox")
    paths = {name: adapter(tmp_path / name, folder, seed) for seed, name in enumerate("ab")}
    engine = LocalEngine(folder, prefill_tokens=32)
    names = [None, "a", "b", "a"]
    bare = engine.run(50, PROMPTS[1])
    for number, (name, path) in enumerate(paths.items()):
        engine.add_adapter(100 + number, name, path)
    for number, (name, ids) in enumerate(zip(names, PROMPTS, strict=True)):
        engine.submit(number, ids, adapter=name)
        engine.step()
    engine.finish(*range(len(PROMPTS)))
    for number, (name, ids) in enumerate(zip(names, PROMPTS, strict=True)):
        path = paths[name] if name else None
        assert engine.tokens[number] == transformers_tokens(folder, ids, adapter=path), name
    assert engine.run(51, PROMPTS[1]) == bare


def test_a_replaced_adapter_is_forgotten_when_the_last_answer_is_given(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt_neox")
    engine = LocalEngine(folder)
    engine.add_adapter(1, "a", adapter(tmp_path / "a", folder, 0))
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert engine.done[1] == Done(1, sum(weight.nbytes for weight in weights.values()))
    first = engine.run(2, PROMPTS[0], adapter="a")
    for number in range(3):
        engine.add_adapter(10 + number, "a", adapter(tmp_path / f"b{number}", folder, 7))
    last = engine.run(3, PROMPTS[0], adapter="a")
    assert last == transformers_tokens(folder, PROMPTS[0], adapter=tmp_path / "b2") != first
    assert len(engine.loop._model._adapters._held) <= 2  # type: ignore[attr-defined]


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt_neox")
    engine = LocalEngine(folder)
    wide = foreign(tmp_path / "wide", "gpt_neox", hidden_size=96)
    engine.add_adapter(1, "a", adapter(tmp_path / "a", wide, 0))
    assert isinstance(engine.errors[1], InvalidInput)
    engine.add_adapter(2, "a", adapter(tmp_path / "b", folder, 0))
    expected = transformers_tokens(folder, PROMPTS[0], adapter=tmp_path / "b")
    assert engine.run(3, PROMPTS[0], adapter="a") == expected


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt_neox")
    edit(folder, num_hidden_layers=3)
    with pytest.raises(InvalidInput, match=r"lack gpt_neox\.layers\.2"):
        LocalEngine(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "other", "architectures": ["OtherForCausalLM"]}, "'OtherForCausalLM'"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "'T5ForConditionalGeneration'"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
    ],
)
def test_what_transformers_cannot_serve_either_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = foreign(tmp_path / "m", "gpt2")
    edit(folder, **change)
    with pytest.raises(Unsupported, match=message):
        LocalEngine(folder)


def test_a_model_that_fails_at_its_first_step_is_refused_at_once(tmp_path: Path) -> None:
    # Jamba asks its cache for a length that only layers with attention know, and these have none.
    folder = foreign(tmp_path / "m", "jamba", num_key_value_heads=2, mamba_d_state=8)
    with pytest.raises(Unsupported, match="'jamba' cannot be served step by step"):
        LocalEngine(folder)


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "m", "gpt2")
    ran = tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w').close()", "utf-8")
    auto = {"AutoConfig": "code.OwnConfig", "AutoModelForCausalLM": "code.OwnModel"}
    edit(folder, model_type="own", auto_map=auto)
    with pytest.raises(Unsupported):
        LocalEngine(folder)
    assert not ran.exists()


def adapter(folder: Path, base: Path, seed: int) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules="all-linear",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings).save_pretrained(folder)
    return folder


@torch.inference_mode()
def reference(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def rows(engine: LocalEngine, id: int) -> torch.Tensor:
    reply = engine.done[id]
    assert isinstance(reply, Rows)
    return torch.tensor(array("f", reply.data)).view(-1, reply.size)


def edit(folder: Path, **change: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
