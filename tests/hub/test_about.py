"""What a repository's files say of it."""

import hashlib
import json
import struct

import pytest

from baigong.hub.commits import Put, Words
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.repositories import Settings
from tests.models import make_adapter, make_model

SAID = Words("Change", "alice")


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


def about(hub, files):
    """What is said of a repository of these files, given as bytes, text or objects."""
    plain = {
        path: content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
        for path, content in files.items()
    }
    puts = [Put(path, hub.keep(content)) for path, content in plain.items()]
    hub.repositories.create("model", "alice/tiny", puts, SAID)
    return hub.refresh("model", "alice/tiny").about


def tensors(numbers=b"", length=None, **header):
    data = json.dumps(header).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + numbers


def tensor(shape, dtype, start, stop):
    return {"shape": shape, "dtype": dtype, "data_offsets": [start, stop]}


GOOD = tensors(b"\0" * 20, a=tensor([2, 2], "F32", 0, 16), b=tensor([2], "BF16", 16, 20))


@pytest.mark.parametrize("shards", [1, 3])
def test_parameters_are_counted_by_type_over_all_shards(hub, tmp_path, shards):
    from safetensors.numpy import load_file

    folder = make_model(tmp_path / "m", "qwen3", shards=shards)
    here = [load_file(path) for path in folder.glob("*.safetensors")]
    wanted = sum(tensor.size for file in here for tensor in file.values())
    hub.add("model", "acme/tiny", folder, {})
    found = hub.refresh("model", "acme/tiny").about
    assert found.parameters == wanted > 0
    assert sum(found.dtypes.values()) == wanted
    assert (found.library, found.task) == ("transformers", "text-generation")


def test_an_adapter_says_its_library_and_task(hub, tmp_path):
    folder = make_adapter(tmp_path / "a", make_model(tmp_path / "m", "qwen3"))
    hub.add("model", "acme/lora", folder, {})
    found = hub.refresh("model", "acme/lora").about
    assert (found.library, found.task, found.is_adapter) == ("peft", "text-generation", True)
    assert found.parameters > 0


def test_the_index_says_which_files_are_counted(hub):
    index = {"weight_map": {"a": "one.safetensors", "b": "gone.safetensors"}}
    files = dict.fromkeys(("one.safetensors", "consolidated.safetensors"), GOOD)
    found = about(hub, {**files, "model.safetensors.index.json": index})
    assert found.dtypes == {"F32": 4, "BF16": 2}


def test_files_in_folders_are_counted_where_no_file_has_the_usual_name(hub):
    found = about(hub, {"unet/a.safetensors": GOOD, "vae/a.safetensors": GOOD})
    assert found.parameters == 12


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        GOOD[:-1],
        tensors(length=1 << 62),
        struct.pack("<Q", 4) + b"[{]}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 20000) + b'{"a":' + b"[" * 9000 + b" " * 11000,
        tensors(b"\0" * 4, a=tensor([1], "F32", 0, 4), b=tensor([1], "F32", 0, 4)),
        tensors(b"\0" * 8, a=tensor([1], "F32", 4, 8)),
        tensors(b"\0" * 4, a=tensor([2], "F32", 0, 4)),
        tensors(b"\0" * 4, a=tensor([-1], "F32", 0, -4)),
        tensors(b"\0" * 4, a=tensor([2] * 100_000, "F32", 0, 4)),
        tensors(b"\0" * 4, a=tensor([1], "F33", 0, 4)),
        tensors(b"\0" * 4, a=tensor([1], ["F32"], 0, 4)),
        tensors(b"\0" * 4, a=[1]),
    ],
)
def test_broken_weights_say_nothing_and_break_nothing(hub, data):
    found = about(hub, {"model.safetensors": data, "config.json": {"architectures": ["X"]}})
    assert (found.parameters, found.dtypes, found.architecture) == (0, {}, "X")


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "text-generation"),
        ({"architectures": ["GPT2LMHeadModel"]}, "text-generation"),
        ({"architectures": ["BertForSequenceClassification"]}, "text-classification"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "text2text-generation"),
        (
            {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}},
            "image-text-to-text",
        ),
        (
            {"architectures": ["WhisperForConditionalGeneration"]},
            "automatic-speech-recognition",
        ),
        ({"architectures": ["BertModel"]}, "feature-extraction"),
        ({"architectures": "odd"}, ""),
        ("[[[", ""),
    ],
)
def test_the_architecture_implies_a_task(hub, config, task):
    assert about(hub, {"config.json": config}).task == task


def test_the_card_has_the_last_word(hub):
    card = """---
pipeline_tag: text-ranking
library_name: mlx
license: [mit]
language: en
base_model: a/b
tags: [x]
---
"""
    config = {"architectures": ["LlamaForCausalLM"]}
    found = about(hub, {"README.md": card, "config.json": config})
    assert (found.task, found.library, found.license) == ("text-ranking", "mlx", "mit")
    assert (found.languages, found.bases, found.tags) == (["en"], ["a/b"], ["x"])


def test_sentence_transformers_leaves_its_own_file(hub):
    found = about(hub, {"modules.json": [], "config.json": {"architectures": ["BertModel"]}})
    assert (found.library, found.task) == ("sentence-transformers", "sentence-similarity")


def test_weights_that_come_later_are_counted_when_they_are_here(hub):
    entry = Entry(hashlib.sha256(GOOD).hexdigest(), len(GOOD), "", "")
    puts = [
        Put("model.safetensors", entry),
        Put("config.json", hub.keep(b'{"architectures": ["LlamaForCausalLM"]}')),
    ]
    settings = Settings(mirror="elsewhere")
    hub.repositories.create(
        "model", "alice/tiny", puts, SAID, settings=settings, elsewhere="f" * 40
    )
    before = hub.refresh("model", "alice/tiny").about
    assert (before.task, before.parameters) == ("text-generation", 0)
    hub.keep(GOOD)
    assert hub.refresh("model", "alice/tiny").about.parameters == 6
