"""A model elsewhere, known by its headers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from baigong.errors import InvalidInput, NotFound, Unreachable
from baigong.hub.peek import peek
from baigong.model.headers import Headers
from tests.hub.endpoint import FAT, Endpoint
from tests.models import make_model


@pytest.mark.parametrize("source", ["acme/tiny", "hf://acme/tiny", "modelscope://acme/tiny"])
@pytest.mark.parametrize("shards", [1, 3])
def test_headers_are_what_the_folder_says_and_the_weights_stay_there(
    tmp_path: Path, source: str, shards: int
) -> None:
    endpoint = Endpoint(make_model(tmp_path / "m", "qwen3", shards=shards))
    with endpoint.open() as url:
        found = peek(source, endpoint=url)
    here = Headers.read(tmp_path / "m")
    assert (found.headers.fields, found.headers.tensors) == (here.fields, here.tensors)
    assert endpoint.sent < shards * (1 << 17) < FAT
    wanted = [f for f in endpoint.names if f.name != "chat_template.json"]
    assert found.download_bytes == sum(map(endpoint.size, wanted))
    assert not set(endpoint.asked) & {"tokenizer.json", "README.md"}


def test_a_server_without_ranges_is_hung_up_on(tmp_path: Path) -> None:
    endpoint = Endpoint(make_model(tmp_path / "m", "qwen3"), knows_ranges=False)
    with endpoint.open() as url:
        found = peek("acme/tiny", endpoint=url)
    assert found.headers.tensors == Headers.read(tmp_path / "m").tensors
    assert endpoint.sent < FAT / 2  # what fits between the two, and no more


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_long_header_is_read_to_its_end(tmp_path: Path, knows_ranges: bool) -> None:
    folder = make_model(tmp_path / "m", "qwen3", num_hidden_layers=80)
    assert struct.unpack("<Q", (folder / "model.safetensors").read_bytes()[:8])[0] > 1 << 16
    endpoint = Endpoint(folder, knows_ranges=knows_ranges)
    with endpoint.open() as url:
        found = peek("modelscope://acme/tiny", endpoint=url)
    assert found.headers.tensors == Headers.read(folder).tensors
    assert endpoint.sent < FAT


def test_a_token_does_not_follow_to_another_host(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    store, front = Endpoint(folder), Endpoint(folder)
    with store.open() as front.elsewhere, front.open() as url:
        peek("acme/tiny", endpoint=url.replace("127.0.0.1", "localhost"), token="secret")
    assert set(front.tokens) == {"Bearer secret"}
    assert set(store.tokens) == {None}


@pytest.mark.parametrize("source", ["acme/none", "modelscope://acme/none"])
def test_a_model_that_is_not_there_is_not_found(tmp_path: Path, source: str) -> None:
    with Endpoint(tmp_path).open() as url, pytest.raises(NotFound, match="acme/none"):
        peek(source, endpoint=url)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x10",
        struct.pack("<Q", 1 << 60),
        struct.pack("<Q", 4) + b"[{]}",
        struct.pack("<Q", 2),
    ],
)
def test_a_broken_header_is_named(tmp_path: Path, data: bytes) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    (folder / "model.safetensors").write_bytes(data)
    with (
        Endpoint(folder).open() as url,
        pytest.raises(InvalidInput, match=r"model\.safetensors is"),
    ):
        peek("acme/tiny", endpoint=url)


def test_a_shard_that_the_endpoint_lacks_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with Endpoint(folder).open() as url, pytest.raises(InvalidInput, match="no model-00002"):
        peek("acme/tiny", endpoint=url)


def test_other_bytes_than_those_asked_for_are_refused(tmp_path: Path) -> None:
    endpoint = Endpoint(make_model(tmp_path / "m", "qwen3"), wrong_range=True)
    with endpoint.open() as url, pytest.raises(Unreachable, match="bytes from 0 on"):
        peek("acme/tiny", endpoint=url)


def test_an_endpoint_that_is_not_there_says_so() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        peek("modelscope://acme/tiny", endpoint="http://127.0.0.1:9")


def test_an_index_names_the_files_and_others_are_left_alone(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3", shards=2)
    plain = Headers.read(folder)
    (folder / "consolidated.safetensors").write_bytes(b"another form of the same weights")
    (folder / "model-extra.safetensors").write_bytes(b"and another")
    assert Headers.read(folder) == plain
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weights": {}}), "utf-8")
    with pytest.raises(InvalidInput, match=r"index\.json is broken"):
        Headers.read(folder)
