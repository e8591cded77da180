"""Vectors and labels equal transformers' own, text by text, however they were batched."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from baigong.errors import ContextOverflow, InvalidInput, Unsupported
from baigong.inference.engine.messages import Choose, Classify, Embed, Rows
from tests.inference.local import LocalEngine, save_model
from tests.models import VOCABULARY, make_model

TEXTS = [[(n * 31 + 7 * i) % 250 + 2 for i in range(size)] for n, size in enumerate((3, 40, 17, 9))]

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


def encoder(folder: Path, kind: str, automatic: str = "AutoModel", **fields: Any) -> Any:
    from transformers import AutoConfig

    return save_model(folder, automatic, AutoConfig.for_model(kind, **SIZES | fields))


def pooled(folder: Path, *modules: str, **pooling: Any) -> None:
    """A sentence-transformers folder of these modules."""
    kinds = [("", "Transformer"), *((f"{n + 1}_{kind}", kind) for n, kind in enumerate(modules))]
    written = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(written), "utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")


def rows(engine: LocalEngine, message: Embed | Choose | Classify) -> torch.Tensor:
    engine.tell(message)
    engine.finish(message.id)
    if message.id in engine.errors:
        raise engine.errors[message.id]
    reply = engine.done[message.id]
    assert isinstance(reply, Rows)
    return torch.tensor(array("f", reply.data)).view(-1, reply.size)


@torch.inference_mode()
def states(model: Any, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def close(found: torch.Tensor, expected: list[torch.Tensor]) -> None:
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "modernbert", "distilbert"])
def test_vectors_are_unit_means_of_each_text_alone(tmp_path: Path, kind: str) -> None:
    own = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128} if "dis" in kind else {}
    model = encoder(tmp_path / "m", kind, **own)
    engine = LocalEngine(tmp_path / "m", prefill_tokens=45)
    means = [states(model, ids).mean(0) for ids in TEXTS]
    close(rows(engine, Embed(1, TEXTS)), [mean / mean.norm() for mean in means])


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_a_text_longer_than_the_positions_is_refused(tmp_path: Path, kind: str) -> None:
    encoder(tmp_path / "m", kind)
    engine = LocalEngine(tmp_path / "m")
    assert engine.facts.context == (66 if kind == "bert" else 64)  # RoBERTa leaves two unused
    assert len(rows(engine, Embed(1, [[5] * engine.facts.context]))) == 1
    with pytest.raises(ContextOverflow):
        rows(engine, Embed(2, [[5] * (engine.facts.context + 1)]))


@pytest.mark.parametrize(
    ("modules", "pooling", "mode"),
    [
        (("Pooling", "Normalize"), {"pooling_mode_cls_token": True}, "cls"),
        (("Pooling",), {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        (("Pooling", "Normalize"), {"pooling_mode": "lasttoken"}, "last"),
        (("Pooling",), {"pooling_mode": ["cls", "max"]}, "both"),
    ],
)
def test_the_folder_says_how_vectors_are_made(
    tmp_path: Path, modules: tuple[str, ...], pooling: dict[str, Any], mode: str
) -> None:
    model = encoder(tmp_path / "m", "bert")
    pooled(tmp_path / "m", *modules, **pooling)
    expected = []
    for ids in TEXTS:
        found = states(model, ids)
        vector = {
            "cls": found[0],
            "mean": found.sum(0) / len(ids),
            "last": found[-1],
            "both": torch.cat((found[0], found.max(0).values)),
        }[mode]
        expected.append(vector / vector.norm() if "Normalize" in modules else vector)
    close(rows(LocalEngine(tmp_path / "m"), Embed(1, TEXTS)), expected)


def test_a_dense_layer_comes_after_pooling(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    model = encoder(folder, "bert")
    pooled(folder, "Pooling", "Dense", "Normalize", pooling_mode_mean_tokens=True)
    weight, bias = torch.randn(24, 64), torch.randn(24)
    (folder / "2_Dense").mkdir()
    save_file(
        {"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors"
    )
    settings = {
        "in_features": 64,
        "out_features": 24,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(settings), "utf-8")
    expected = [torch.tanh(weight @ states(model, ids).mean(0) + bias) for ids in TEXTS]
    found = rows(LocalEngine(folder), Embed(1, TEXTS))
    close(found, [vector / vector.norm() for vector in expected])


def test_an_unknown_module_is_refused(tmp_path: Path) -> None:
    encoder(tmp_path / "m", "bert")
    pooled(tmp_path / "m", "Pooling", "WordWeights", pooling_mode_mean_tokens=True)
    with pytest.raises(Unsupported, match="WordWeights"):
        LocalEngine(tmp_path / "m")


@pytest.mark.parametrize("broken", ["{", "[{}]", "7"])
def test_broken_modules_are_refused(tmp_path: Path, broken: str) -> None:
    encoder(tmp_path / "m", "bert")
    (tmp_path / "m" / "modules.json").write_text(broken, "utf-8")
    with pytest.raises(InvalidInput, match=r"modules\.json"):
        LocalEngine(tmp_path / "m")


@pytest.mark.parametrize("native", [True, False])
def test_a_decoder_makes_vectors_of_its_last_token(tmp_path: Path, native: bool) -> None:
    from transformers import AutoModel

    folder = make_model(tmp_path / "m", "qwen3")
    pooled(folder, "Pooling", "Normalize", pooling_mode_lasttoken=True)
    model = AutoModel.from_pretrained(folder).eval()
    engine = LocalEngine(folder, prefill_tokens=45, native=native)
    expected = [states(model, ids)[-1] for ids in TEXTS]
    close(rows(engine, Embed(1, TEXTS)), [vector / vector.norm() for vector in expected])


@pytest.mark.parametrize(
    ("kind", "field"),
    [("gemma3_text", {"use_bidirectional_attention": True}), ("qwen2", {"is_causal": False})],
)
def test_a_decoder_that_looks_ahead_makes_vectors(
    tmp_path: Path, kind: str, field: dict[str, bool]
) -> None:
    from transformers import AutoModel

    folder = make_model(tmp_path / "m", kind, **field)
    causal = LocalEngine(make_model(tmp_path / "causal", kind))
    model = AutoModel.from_pretrained(folder).eval()
    engine = LocalEngine(folder)
    assert engine.facts.tasks == ("embed",)
    expected = [states(model, ids).mean(0) for ids in TEXTS]
    found = rows(engine, Embed(1, TEXTS))
    close(found, [vector / vector.norm() for vector in expected])
    assert not torch.allclose(found, rows(causal, Embed(1, TEXTS)), atol=1e-2)


@pytest.mark.parametrize("native", [True, False])
def test_tokens_are_weighed_among_themselves(tmp_path: Path, native: bool) -> None:
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "m", "qwen3")
    engine = LocalEngine(folder, native=native)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = [model(torch.tensor([ids])).logits[0, -1] for ids in TEXTS]
    expected = [torch.softmax(logit[[100, 7]], -1) for logit in logits]
    close(rows(engine, Choose(1, TEXTS, [100, 7])), expected)


@pytest.mark.parametrize("labels", [1, 3])
def test_texts_are_classified(tmp_path: Path, labels: int) -> None:
    automatic = "AutoModelForSequenceClassification"
    names = {number: f"label {number}" for number in range(labels)}
    model = encoder(tmp_path / "m", "bert", automatic, id2label=names)
    engine = LocalEngine(tmp_path / "m")
    assert engine.facts.labels == tuple(names.values())
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([ids])).logits[0] for ids in TEXTS]
    shares = [logit.sigmoid() if labels == 1 else logit.softmax(-1) for logit in logits]
    close(rows(engine, Classify(1, TEXTS)), shares)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_pairs_are_scored_as_a_cross_encoder_does(tmp_path: Path, kind: str) -> None:
    automatic = "AutoModelForSequenceClassification"
    own: dict[str, Any] = {
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}
    }
    own["type_vocab_size"] = 2 if kind == "bert" else 1
    model = encoder(tmp_path / "m", kind, automatic, num_labels=1, **own)
    seconds = [1, 20, 10, 4]
    expected = []
    for ids, second in zip(TEXTS, seconds, strict=True):
        inputs = {"input_ids": torch.tensor([ids])}
        if kind == "bert":
            inputs["token_type_ids"] = (torch.arange(len(ids)) >= second).long().unsqueeze(0)
        with torch.inference_mode():
            expected.append(model(**inputs).logits[0])
    found = rows(LocalEngine(tmp_path / "m", prefill_tokens=45), Classify(1, TEXTS, seconds))
    close(found, expected)


@pytest.mark.parametrize("pad", [None, 1])
def test_a_decoder_with_labels_is_a_classifier(tmp_path: Path, pad: int | None) -> None:
    model = encoder(
        tmp_path / "m",
        "qwen3",
        "AutoModelForSequenceClassification",
        num_labels=2,
        num_key_value_heads=2,
        head_dim=16,
        pad_token_id=pad,
    )
    engine = LocalEngine(tmp_path / "m")
    assert engine.facts.tasks == ("classify",)
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([ids])).logits[0] for ids in TEXTS]
    close(rows(engine, Classify(1, TEXTS)), [logit.softmax(-1) for logit in logits])


def test_a_model_is_asked_only_what_it_can(tmp_path: Path) -> None:
    encoder(tmp_path / "m", "bert")
    engine = LocalEngine(tmp_path / "m")
    engine.submit(1, [5, 6])
    engine.tell(Classify(2, [[5, 6]]))
    engine.tell(Choose(3, [[5, 6]], [1, 2]))
    engine.finish(1, 2, 3)
    assert all(isinstance(engine.errors[number], Unsupported) for number in (1, 2, 3))
    assert "cannot write. It can make vectors" in str(engine.errors[1])
    assert len(rows(engine, Embed(4, [[5, 6]]))) == 1
