"""Ranking and classifying over the wire, and vectors of a model that only makes vectors."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from baigong.hub.pull import pull
from baigong.model.chat import ChatTokenizer
from tests.inference.local import save_model
from tests.models import VOCABULARY, make_model
from tests.servers import MODEL, open_platform, serving

LABELS = {0: "question", 1: "complaint", 2: "praise"}
DOCUMENTS = ["thirty days", "two years of warranty", "no"]
LENGTH = 64


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reading")


@pytest.fixture(scope="module")
def models(home: Path) -> dict[str, Any]:
    """transformers' models of what is served, by the names under which they are."""
    from transformers import AutoConfig

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": LENGTH,
    }
    kind = "AutoModelForSequenceClassification"
    sight = {"image_size": 16, "patch_size": 8, "id2label": {0: "cat", 1: "dog"}}
    seer = AutoConfig.for_model("vit", **sizes | sight)
    return {
        "tests/seer": save_model(home / "seer", "AutoModelForImageClassification", seer),
        "tests/embedder": save_model(
            home / "embedder", "AutoModel", AutoConfig.for_model("bert", **sizes)
        ),
        "tests/ranker": save_model(
            home / "ranker", kind, AutoConfig.for_model("bert", num_labels=1, **sizes)
        ),
        "tests/classifier": save_model(
            home / "classifier", kind, AutoConfig.for_model("bert", id2label=LABELS, **sizes)
        ),
    }


@pytest.fixture(scope="module")
def judge(home: Path) -> Path:
    """A model that writes, with "yes" and "no" among its tokens."""
    folder = make_model(home / "judge", "qwen3", vocab_size=VOCABULARY + 2)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def url(home: Path, models: dict[str, Any], judge: Path) -> Iterator[str]:
    from transformers import ViTImageProcessorPil

    platform = open_platform(home / "platform")
    (home / "embedder" / "1_Pooling").mkdir()
    (home / "embedder" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}', "utf-8")
    (home / "seer" / "tokenizer.json").unlink()
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(home / "seer")
    modules = [{"type": f"x.{kind}", "path": path} for path, kind in (("1_Pooling", "Pooling"),)]
    (home / "embedder" / "modules.json").write_text(json.dumps(modules), "utf-8")
    for name in (*models, "tests/judge"):
        folder = str(home / name.partition("/")[2])
        pull(platform.hub, folder, name=name, workdir=home, report=lambda _progress: None)
    with serving(platform) as found:
        yield found


def post(url: str, path: str, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/{path}", json=body, timeout=60)


@pytest.fixture(scope="module")
def tokenizer(home: Path, models: dict[str, Any]) -> ChatTokenizer:
    return ChatTokenizer(home / "ranker")


@torch.inference_mode()
def score(model: Any, tokenizer: ChatTokenizer, query: str, document: str) -> float:
    first, second = tokenizer.encode_text(query), tokenizer.encode_text(document)
    types = torch.tensor([[0] * len(first) + [1] * len(second)])
    logits = model(input_ids=torch.tensor([first + second]), token_type_ids=types).logits
    return float(logits.sigmoid())


def test_documents_come_back_best_first(
    url: str, models: dict[str, Any], tokenizer: ChatTokenizer
) -> None:
    reply = post(url, "rerank", model="tests/ranker", query="how long?", documents=DOCUMENTS)
    assert reply.status_code == 200, reply.text
    results = reply.json()["results"]
    expected = [score(models["tests/ranker"], tokenizer, "how long?", one) for one in DOCUMENTS]
    assert [r["index"] for r in results] == sorted(range(3), key=lambda i: -expected[i])
    for result in results:
        assert result["relevance_score"] == pytest.approx(expected[result["index"]], abs=1e-4)
        assert result["document"] == {"text": DOCUMENTS[result["index"]]}
    read = sum(len("how long?") + len(one) for one in DOCUMENTS)
    assert reply.json()["usage"] == {"prompt_tokens": read, "total_tokens": read}


def test_only_the_best_are_told_and_without_their_text(url: str) -> None:
    documents = [{"text": one} for one in DOCUMENTS]
    body = {"query": "how long?", "documents": documents, "top_n": 2, "return_documents": False}
    results = post(url, "rerank", model="tests/ranker", **body).json()["results"]
    assert [sorted(result) for result in results] == [["index", "relevance_score"]] * 2


def test_a_document_beyond_the_context_is_read_as_far_as_it_fits(
    url: str, models: dict[str, Any], tokenizer: ChatTokenizer
) -> None:
    long = "warranty " * 50
    body = {"query": "how long?", "documents": [long]}
    found = post(url, "rerank", model="tests/ranker", **body).json()["results"][0]
    expected = score(
        models["tests/ranker"], tokenizer, "how long?", long[: LENGTH - len("how long?")]
    )
    assert found["relevance_score"] == pytest.approx(expected, abs=1e-4)


def test_a_model_that_writes_ranks_by_yes_and_no(url: str, judge: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(judge).eval(), ChatTokenizer(judge)
    reply = post(url, "rerank", model="tests/judge", query="how long?", documents=DOCUMENTS)
    assert reply.status_code == 200, reply.text
    for result in reply.json()["results"]:
        # The prompt that the makers of Qwen3-Reranker publish.
        prompt = (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the "
            'Query and the Instruct provided. Note that the answer can only be "yes" or "no".'
            "<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant "
            "passages that answer the query\n<Query>: how long?\n<Document>: "
            f"{DOCUMENTS[result['index']]}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = torch.tensor([tokenizer.encode_text(prompt)])
        with torch.inference_mode():
            logits = model(ids).logits[0, -1, [VOCABULARY, VOCABULARY + 1]]
        assert result["relevance_score"] == pytest.approx(float(logits.softmax(-1)[0]), abs=1e-4)


def test_a_model_without_a_token_for_yes_cannot_rank(url: str) -> None:
    reply = post(url, "rerank", model=MODEL, query="how long?", documents=DOCUMENTS)
    assert reply.status_code == 501
    assert "'yes' is 3 tokens" in reply.json()["error"]["message"]


def test_texts_are_classified(url: str, models: dict[str, Any], tokenizer: ChatTokenizer) -> None:
    reply = post(url, "classify", model="tests/classifier", input=["why?", "well done"])
    assert reply.status_code == 200, reply.text
    with torch.inference_mode():
        logits = [
            models["tests/classifier"](
                input_ids=torch.tensor([tokenizer.encode_text(text)])
            ).logits[0]
            for text in ("why?", "well done")
        ]
    for row, logit in zip(reply.json()["data"], logits, strict=True):
        assert row["probs"] == pytest.approx(logit.softmax(-1).tolist(), abs=1e-4)
        assert row["label"] == LABELS[int(logit.argmax())]
        assert row["num_classes"] == 3


def test_images_are_classified(url: str, models: dict[str, Any]) -> None:
    from transformers import ViTImageProcessorPil

    pictures = [Image.effect_noise((30, 20), 90).convert("RGB") for _ in range(3)]
    sent = []
    for picture in pictures:
        file = io.BytesIO()
        picture.save(file, "PNG")
        sent.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    reply = post(url, "classify", model="tests/seer", input=sent)
    assert reply.status_code == 200, reply.text
    prepare = ViTImageProcessorPil(size={"height": 16, "width": 16})
    with torch.inference_mode():
        pixels = prepare(images=pictures, return_tensors="pt")
        expected = models["tests/seer"](**pixels).logits.softmax(-1)
    for row, shares in zip(reply.json()["data"], expected, strict=True):
        assert row["probs"] == pytest.approx(shares.tolist(), abs=1e-4)
        assert row["label"] in ("cat", "dog")
    file = io.BytesIO()
    Image.new("1", (8000, 7000)).save(file, "PNG")
    huge = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    for wrong in ("a cat", "data:image/png;base64,!", "data:image/png;base64,aaaa", huge):
        reply = post(url, "classify", model="tests/seer", input=[sent[0], wrong])
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == "input"


def test_vectors_are_made_as_the_pulled_folder_says(
    url: str, models: dict[str, Any], tokenizer: ChatTokenizer
) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        data = client.embeddings.create(model="tests/embedder", input=["a", "some text"]).data
        with torch.inference_mode():
            for item, text in zip(data, ("a", "some text"), strict=True):
                ids = torch.tensor([tokenizer.encode_text(text)])
                expected = models["tests/embedder"](input_ids=ids).last_hidden_state[0, 0]
                assert item.embedding == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("path", "model", "body", "message"),
    [
        (
            "chat/completions",
            "tests/embedder",
            {"messages": [{"role": "user", "content": "a"}]},
            "cannot write",
        ),
        ("embeddings", "tests/ranker", {"input": "a"}, "cannot make vectors"),
        ("completions", "tests/seer", {"prompt": "a"}, "has no tokenizer.json"),
        ("classify", MODEL, {"input": "a"}, "cannot tell labels of texts"),
        ("rerank", "tests/classifier", {"query": "a", "documents": ["b"]}, "cannot rank"),
    ],
)
def test_a_model_that_cannot_says_what_it_can(
    url: str, path: str, model: str, body: dict[str, Any], message: str
) -> None:
    reply = post(url, path, model=model, **body)
    assert reply.status_code == 501
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("rerank", {"query": "a", "documents": []}, "documents"),
        ("rerank", {"query": "", "documents": ["b"]}, "query"),
        ("rerank", {"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        ("classify", {"input": []}, "input"),
        ("classify", {"input": "a" * (LENGTH + 1)}, "messages"),
    ],
)
def test_bad_input_names_the_field(url: str, path: str, body: dict[str, Any], param: str) -> None:
    reply = post(url, path, model="tests/classifier", **body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_a_vector_store_is_searched_in_the_order_of_a_ranker(
    client: openai.OpenAI, models: dict[str, Any], tokenizer: ChatTokenizer
) -> None:
    """OpenAI's own names mean our order; a model that is not in the hub is told."""
    store = client.vector_stores.create(name="ranked").id
    for n, text in enumerate(DOCUMENTS):
        client.vector_stores.files.upload_and_poll(
            vector_store_id=store, file=(f"{n}.md", text.encode())
        )
    query = "days, years, no"

    def found(**ranking: Any) -> list[Any]:
        page = client.vector_stores.search(store, query=query, ranking_options=ranking)
        return list(page.data)

    assert {hit.filename for hit in found(ranker="auto")} == {
        f"{n}.md" for n in range(len(DOCUMENTS))
    }
    ranked = found(ranker="tests/ranker")
    told = {
        f"{n}.md": score(models["tests/ranker"], tokenizer, query, f"{n}\n{text}")
        for n, text in enumerate(DOCUMENTS)
    }
    assert [hit.filename for hit in ranked] == sorted(told, key=lambda name: -told[name])
    assert [hit.score for hit in ranked] == pytest.approx(
        sorted(told.values(), reverse=True), abs=1e-4
    )
    with pytest.raises(openai.NotFoundError, match="tests/ranker"):
        found(ranker="tests/rankers")
