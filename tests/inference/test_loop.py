"""One batch, many requests: each gets what it would get alone."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
import torch

from baigong.errors import ContextOverflow, InvalidInput, NotFound
from baigong.inference.engine.messages import Abort, Done, Embed, Rows
from tests.inference.local import LocalEngine, transformers_tokens
from tests.models import ARCHITECTURES, END, make_adapter, make_model

# peft reads a property of models that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def prompt(number: int, length: int) -> list[int]:
    return [(number * 31 + 7 * i) % 256 for i in range(length)]


PROMPTS = [prompt(n, length) for n, length in enumerate((3, 40, 17, 90, 1, 64, 8, 33))]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_greedy_answers_equal_transformers(tmp_path: Path, kind: str) -> None:
    folder = make_model(tmp_path / "m", kind)
    engine = LocalEngine(folder, prefill_tokens=32)
    for number, ids in enumerate(PROMPTS):  # they arrive one by one, while others decode
        engine.submit(number, ids)
        engine.step()
    engine.finish(*range(len(PROMPTS)))
    for number, ids in enumerate(PROMPTS):
        expected = transformers_tokens(folder, ids)
        assert engine.tokens[number] == expected
        assert engine.run(100 + number, ids) == expected
    assert engine.steps[-1].cached_tokens == 0


def test_prompts_cut_into_single_tokens_give_the_same(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    expected = LocalEngine(folder).run(1, PROMPTS[2])
    engine = LocalEngine(folder, prefill_tokens=1)
    engine.submit(2, PROMPTS[0])
    assert engine.run(3, PROMPTS[2]) == expected


def test_mixed_adapters_equal_peft(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3", num_hidden_layers=3)
    adapters: dict[str, Path] = {
        "a": make_adapter(tmp_path / "a", folder, rank=4, seed=1),
        "b": make_adapter(tmp_path / "b", folder, rank=8, seed=2, targets=("q_proj", "k_proj")),
        "c": make_adapter(
            tmp_path / "c",
            folder,
            rank=2,
            seed=3,
            targets=("gate_proj", "v_proj"),
            use_rslora=True,
        ),
        "d": make_adapter(
            tmp_path / "d", folder, rank=4, seed=4, alpha_pattern={"layers.1.mlp.up_proj": 40.0}
        ),
    }
    engine = LocalEngine(folder, prefill_tokens=48)
    for number, (name, path) in enumerate(adapters.items()):
        engine.add_adapter(1000 + number, name, path)
    names = [None, "a", "b", "c", "d", "b", None, "a"]
    for number, (name, ids) in enumerate(zip(names, PROMPTS, strict=True)):
        engine.submit(number, ids, adapter=name)
        engine.step(2)
    engine.finish(*range(len(PROMPTS)))
    for number, (name, ids) in enumerate(zip(names, PROMPTS, strict=True)):
        path = adapters[name] if name else None
        assert engine.tokens[number] == transformers_tokens(folder, ids, adapter=path), name


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("llama", "all-linear"),
        ("gemma2", "all-linear"),
        ("gemma3_text", "all-linear"),
        ("phi3", "all-linear"),
        ("qwen3_moe", ["q_proj", "k_proj", "v_proj", "o_proj"]),
    ],
)
def test_adapter_made_by_peft_is_read(tmp_path: Path, kind: str, targets: str | list[str]) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "m", kind)
    torch.manual_seed(0)
    settings = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=targets,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings).save_pretrained(
        tmp_path / "a"
    )
    engine = LocalEngine(folder)
    engine.add_adapter(1, "a", tmp_path / "a")
    assert engine.run(2, PROMPTS[1], adapter="a") == transformers_tokens(
        folder, PROMPTS[1], adapter=tmp_path / "a"
    )


@pytest.mark.parametrize("native", [True, False])
def test_an_adapter_says_what_memory_it_takes(tmp_path: Path, native: bool) -> None:
    folder = make_model(tmp_path / "m")
    for dtype in ("float32", "bfloat16"):
        engine = LocalEngine(folder, native=native, dtype=dtype)
        for rank in (4, 8):
            path = make_adapter(tmp_path / f"a{rank}", folder, rank=rank, targets=("o_proj",))
            engine.add_adapter(rank, f"a{rank}", path)
            done = engine.done[rank]
            assert isinstance(done, Done)
            numbers = 2 * rank * (64 + 64)  # both halves in both layers
            assert done.size == numbers * (4 if dtype == "float32" else 2)


def test_adapters_come_and_go_while_others_run(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", max_position_embeddings=4096)
    first = make_adapter(tmp_path / "a", folder, seed=1)
    second = make_adapter(tmp_path / "b", folder, seed=2)
    engine = LocalEngine(folder)
    engine.add_adapter(1, "a", first)
    alone = engine.run(2, PROMPTS[0], max_tokens=3000, adapter="a")
    base = engine.run(3, PROMPTS[0], max_tokens=3500)

    engine.submit(4, PROMPTS[0], max_tokens=3500)
    engine.submit(5, PROMPTS[0], max_tokens=3000, adapter="a")
    engine.step(5)
    engine.remove_adapter(6, "a")
    engine.add_adapter(7, "a", second)  # the name is free at once, with other weights
    engine.submit(8, PROMPTS[0], max_tokens=5, adapter="a")
    engine.finish(8)
    assert 6 not in engine.done  # the old weights are still needed
    engine.finish(4, 5)
    assert 6 in engine.done
    assert engine.tokens[4] == base
    assert engine.tokens[5] == alone
    assert engine.tokens[8] != alone[:5]


def test_seed_gives_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"))
    choices = [
        {"temperature": 1.0, "seed": 7},
        {"temperature": 0.8, "seed": 7, "top_p": 0.9},
        {"temperature": 1.3, "seed": 8, "top_k": 20},
        {"temperature": 1.3, "seed": 9, "top_k": 50, "top_p": 0.5},
    ]
    alone = [engine.run(n, PROMPTS[1], **choice) for n, choice in enumerate(choices)]
    for n, choice in enumerate(choices):
        engine.submit(10 + n, PROMPTS[1], **choice)
        engine.submit(20 + n, PROMPTS[n], temperature=1.0)
        engine.step()
    engine.finish(*range(10, 14), *range(20, 24))
    assert [engine.tokens[10 + n] for n in range(4)] == alone
    assert engine.run(30, PROMPTS[1], temperature=1.0, seed=8) != alone[0]
    unseeded = [tuple(engine.run(40 + n, PROMPTS[1], temperature=1.0)) for n in range(3)]
    assert len(set(unseeded)) == 3


def test_top_k_of_one_is_greedy(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"))
    greedy = engine.run(1, PROMPTS[2])
    assert engine.run(2, PROMPTS[2], temperature=5.0, top_k=1) == greedy
    assert engine.run(3, PROMPTS[2], temperature=5.0, top_p=1e-6) == greedy


def test_stop_ids_end_an_answer(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"))
    tokens = engine.run(1, PROMPTS[3])
    assert engine.reasons[1] == "length"
    cut = tokens.index(tokens[9])
    assert engine.run(2, PROMPTS[3], stop_ids=[END, tokens[9]]) == tokens[: cut + 1]
    assert engine.reasons[2] == "stop"


def test_abort_frees_the_place_and_the_others_go_on(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), max_batch=2)
    expected = engine.run(1, PROMPTS[1])
    engine.submit(2, PROMPTS[0], max_tokens=400)
    engine.submit(3, PROMPTS[1])
    engine.submit(4, PROMPTS[2])  # has to wait
    engine.submit(5, PROMPTS[2])  # so has this
    engine.step(3)
    assert engine.steps[-1].running == 2
    assert engine.steps[-1].waiting == 2
    engine.tell(Abort(2))
    engine.tell(Abort(5))
    engine.step()
    assert engine.steps[-1].waiting == 0  # the next one has the place within one step
    engine.finish(3, 4)
    assert engine.tokens[3] == expected
    assert len(engine.tokens[2]) == 3
    assert engine.steps[-1].cached_tokens == 0


def test_a_queue_longer_than_the_batch_is_served_in_order(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), max_batch=3)
    for number in range(10):
        engine.submit(number, prompt(number, 5 + number), max_tokens=4)
    engine.finish(*range(10))
    assert list(engine.reasons) == list(range(10))
    assert max(step.running for step in engine.steps) <= 3


def test_a_full_cache_makes_requests_wait_and_changes_no_answer(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    roomy = LocalEngine(folder)
    tight = LocalEngine(folder, cache_tokens=512)
    assert tight.facts.context == 512
    for engine in (roomy, tight):
        for number in range(6):
            engine.submit(number, prompt(number, 30), max_tokens=200)
        engine.finish(*range(6))
    assert tight.tokens == roomy.tokens
    assert max(step.cached_tokens for step in tight.steps) <= 512
    assert max(step.waiting for step in tight.steps) > 0


def test_a_long_prompt_does_not_stop_its_neighbours(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), prefill_tokens=64)
    engine.submit(1, PROMPTS[0], max_tokens=100)
    engine.step()
    engine.submit(2, prompt(2, 400), max_tokens=1)
    engine.finish(2)
    assert len(engine.tokens[1]) >= 400 // 64  # one token for each part of the prompt


def test_bad_requests_are_rejected_and_the_rest_goes_on(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"))
    engine.submit(1, PROMPTS[0])
    engine.submit(2, [1, 2, 259])
    engine.submit(3, [1, -1])
    engine.submit(4, [1] * 512)
    engine.submit(5, [])
    engine.submit(6, [1], adapter="none")
    engine.submit(7, [1], max_tokens=0)
    engine.submit(8, [1] * 511, max_tokens=50)
    engine.finish(*range(1, 9))
    assert isinstance(engine.errors[2], InvalidInput)
    assert "259 is outside" in str(engine.errors[2])
    assert "-1" in str(engine.errors[3])
    assert isinstance(engine.errors[4], ContextOverflow)
    assert "512 tokens" in str(engine.errors[4])
    assert isinstance(engine.errors[6], NotFound)
    assert engine.errors.keys() == {2, 3, 4, 5, 6, 7}
    assert len(engine.tokens[1]) == 16
    assert len(engine.tokens[8]) == 1  # clipped to the context


def test_embeddings_are_the_mean_of_hidden_states(tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = make_model(tmp_path / "m", "mistral")
    engine = LocalEngine(folder, prefill_tokens=50)
    expected_tokens = engine.run(1, PROMPTS[0])
    engine.submit(2, PROMPTS[0])
    engine.tell(Embed(3, PROMPTS))
    engine.finish(2, 3)
    assert engine.tokens[2] == expected_tokens
    reply = engine.done[3]
    assert isinstance(reply, Rows)
    vectors = torch.tensor(array("f", reply.data)).view(len(PROMPTS), reply.size)
    model = AutoModel.from_pretrained(folder).eval()
    for ids, vector in zip(PROMPTS, vectors, strict=True):
        with torch.inference_mode():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        torch.testing.assert_close(vector, mean / mean.norm(), rtol=1e-4, atol=1e-4)


def test_broken_adapter_is_an_error_and_the_engine_goes_on(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    adapter = make_adapter(tmp_path / "a", folder)
    (adapter / "adapter_config.json").write_text("[]", "utf-8")
    engine = LocalEngine(folder)
    engine.add_adapter(1, "a", adapter)
    assert "cannot be read" in str(engine.errors[1])
    make_adapter(tmp_path / "b", folder)
    (tmp_path / "b" / "adapter_model.safetensors").write_bytes(b"not safetensors")
    engine.add_adapter(2, "b", tmp_path / "b")
    assert isinstance(engine.errors[2], InvalidInput)
    assert len(engine.run(3, PROMPTS[0])) == 16


def test_top_p_keeps_the_fewest_that_hold_the_share() -> None:
    from baigong.inference.engine.batch import Sequence
    from baigong.inference.engine.sampler import sample
    from baigong.types import Sampling

    shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
    logits = shares.log().repeat(400, 1)
    settings = Sampling(temperature=1.0, top_p=0.65)
    drawn = sample(logits, [Sequence(n, [1], 9, settings, frozenset(), None) for n in range(400)])
    assert set(drawn) == {0, 1}
    assert 0.45 < drawn.count(0) / 400 < 0.7  # 4 to 3
