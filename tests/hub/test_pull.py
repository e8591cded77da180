import hashlib
import json
import subprocess
import sys

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from baigong.errors import InvalidInput, NotFound, Unsupported
from baigong.hub.hub import Hub
from baigong.hub.pull import Unreachable, add_dataset, pull
from tests.ggufs import make_gguf
from tests.hub.endpoint import served
from tests.models import make_model

FILES = {
    "config.json": json.dumps({"architectures": ["Qwen3ForCausalLM"]}).encode(),
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"pickle",
    "modeling_evil.py": b"import os",
}
COMMIT = "c" * 40


async def hf_info(request: Request) -> Response:
    if request.path_params["name"] != "tiny":
        return JSONResponse(
            {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"}
        )
    siblings = [
        {
            "rfilename": path,
            "size": len(data),
            "lfs": {
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
                "pointerSize": 130,
            },
        }
        for path, data in FILES.items()
    ]
    return JSONResponse({"id": "acme/tiny", "sha": COMMIT, "siblings": siblings})


async def hf_file(request: Request) -> Response:
    data = FILES[request.path_params["path"]]
    etag = hashlib.sha256(data).hexdigest()
    return PlainTextResponse(data, headers={"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})


HF = (
    Route("/api/models/acme/{name}", hf_info),
    Route("/api/models/acme/{name}/revision/{rev}", hf_info),
    Route("/acme/tiny/resolve/{rev}/{path:path}", hf_file, methods=["GET", "HEAD"]),
)


def modelscope(files: dict[str, bytes], sent: list[str]) -> tuple[Route, ...]:
    async def listing(request: Request) -> Response:
        if request.path_params["name"] != "tiny":
            return JSONResponse({"Code": 404}, 404)
        rows = [
            {
                "Path": path,
                "Type": "blob",
                "Size": len(data),
                "Sha256": hashlib.sha256(data).hexdigest(),
            }
            for path, data in files.items()
        ]
        return JSONResponse({"Code": 200, "Success": True, "Data": {"Files": rows}})

    async def file(request: Request) -> Response:
        data = files[request.query_params["FilePath"]]
        begin = request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        sent.append(f"{request.query_params['FilePath']} from {begin}")
        return Response(data[int(begin) :], 206 if int(begin) else 200)

    return (
        Route("/api/v1/models/acme/{name}/repo/files", listing),
        Route("/api/v1/models/acme/{name}/repo", file),
    )


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def fetch(hub, tmp_path):
    def run(source, **kwargs):
        return pull(hub, source, workdir=tmp_path / "pulls", report=lambda p: None, **kwargs)

    return run


def names(kept):
    return sorted(p.name for p in kept.folder.iterdir())


def test_a_local_folder_comes_without_its_code_and_pickles(fetch, tmp_path):
    (tmp_path / "tiny").mkdir()
    for path, data in FILES.items():
        (tmp_path / "tiny" / path).write_bytes(data)
    kept = fetch(str(tmp_path / "tiny"))
    assert kept.name == "local/tiny"
    assert kept.facts["architecture"] == "Qwen3ForCausalLM"
    assert names(kept) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_pickled_weights_alone_are_refused(fetch, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    (tmp_path / "tiny" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(Unsupported, match="no safetensors"):
        fetch(str(tmp_path / "tiny"))


def test_a_hugging_face_endpoint_is_pulled_by_its_own_client(fetch):
    with served(*HF) as url:
        kept = fetch("acme/tiny", endpoint=url)
    assert names(kept) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert kept.facts["commit"] == COMMIT
    assert (kept.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_an_unknown_remote_model_is_not_found(fetch):
    with served(*HF) as url, pytest.raises(NotFound, match="acme/none"):
        fetch("acme/none", endpoint=url)
    with served(*modelscope(FILES, [])) as url, pytest.raises(NotFound, match="acme/none"):
        fetch("modelscope://acme/none", endpoint=url)


def test_a_modelscope_endpoint_is_pulled(fetch):
    with served(*modelscope(FILES, [])) as url:
        kept = fetch("modelscope://acme/tiny", endpoint=url)
    assert names(kept) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_broken_download_goes_on_where_it_was(fetch, tmp_path):
    sent: list[str] = []
    folder = tmp_path / "pulls" / "modelscope" / "acme" / "tiny" / "newest"
    folder.mkdir(parents=True)
    (folder / "model.safetensors.partial").write_bytes(FILES["model.safetensors"][:3000])
    with served(*modelscope(FILES, sent)) as url:
        kept = fetch("modelscope://acme/tiny", endpoint=url)
    assert "model.safetensors from 3000" in sent
    assert (kept.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_damaged_download_is_refused_and_removed(fetch, tmp_path):
    folder = tmp_path / "pulls" / "modelscope" / "acme" / "tiny" / "newest"
    folder.mkdir(parents=True)
    (folder / "model.safetensors.partial").write_bytes(b"damaged")
    with served(*modelscope(FILES, [])) as url, pytest.raises(Unreachable, match="damaged"):
        fetch("modelscope://acme/tiny", endpoint=url)
    assert not (folder / "model.safetensors").exists()


def test_an_endpoint_cannot_write_outside_its_folder(fetch, tmp_path):
    evil = {**FILES, "../../../../evil.safetensors": b"x"}
    with served(*modelscope(evil, [])) as url, pytest.raises(InvalidInput, match="outside"):
        fetch("modelscope://acme/tiny", endpoint=url)


def test_an_endpoint_that_is_not_there_says_so(fetch):
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        fetch("modelscope://acme/tiny", endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("source", ["nowhere", "ftp://a/b", "a/b/c"])
def test_a_source_that_is_nothing_is_refused_with_what_is_allowed(fetch, source):
    with pytest.raises(InvalidInput, match="modelscope://"):
        fetch(source)


@pytest.fixture
def gguf(tmp_path):
    return make_gguf(tmp_path / "Tiny-Q8_0.gguf", make_model(tmp_path / "tiny", "qwen3"), "Q8_0")


def test_a_gguf_file_is_kept_as_an_ordinary_model(fetch, gguf, tmp_path):
    kept = fetch(str(gguf))
    assert kept.name == "local/Tiny-Q8_0"
    assert kept.facts == {
        "source": "file",
        "file": "Tiny-Q8_0.gguf",
        "architecture": "Qwen3ForCausalLM",
    }
    assert names(kept) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert not list((tmp_path / "pulls").rglob("*.*"))
    assert fetch(str(gguf), name="a/b").revision == kept.revision


def test_a_gguf_file_that_cannot_be_read_leaves_nothing(fetch, gguf, hub, tmp_path):
    gguf.write_bytes(gguf.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match="cut short"):
        fetch(str(gguf))
    assert not list((tmp_path / "pulls").rglob("*.*"))
    assert "local/Tiny-Q8_0" not in hub.names("model")


def test_one_gguf_file_of_many_is_pulled(fetch, gguf):
    sent: list[str] = []
    files = {"q8/tiny.gguf": gguf.read_bytes(), "q4/tiny.gguf": b"no", "q8/other.gguf": b"no"}
    with served(*modelscope(files, sent)) as url:
        kept = fetch("modelscope://acme/tiny/q8/tiny.gguf", endpoint=url)
        assert sent == ["q8/tiny.gguf from 0"]
        with pytest.raises(NotFound, match=r"q8/none\.gguf"):
            fetch("modelscope://acme/tiny/q8/none.gguf", endpoint=url)
        with pytest.raises(Unsupported) as refused:
            fetch("modelscope://acme/tiny", endpoint=url)
    assert kept.name == "acme/tiny" and kept.facts["file"] == "tiny.gguf"
    assert "FILE.gguf" in (refused.value.hint or "")


def test_a_machine_that_cannot_read_gguf_says_what_to_install(gguf):
    script = f"""
import sys
sys.modules["gguf"] = None  # as if it were not installed
from pathlib import Path
from baigong.errors import Unsupported
from baigong.model.gguf.file import File
try:
    File(Path({str(gguf)!r}))
except Unsupported as error:
    print(error.hint)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "Run `pip install 'baigong[gguf]'`.\n"


def test_a_file_of_rows_becomes_a_dataset_without_its_neighbours(hub, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    (tmp_path / "secret.csv").write_text("s")
    kept = add_dataset(hub, tmp_path / "rows.csv")
    assert (kept.name, names(kept)) == ("local/rows", ["rows.csv"])


def test_a_dataset_that_is_not_there_is_not_found(hub, tmp_path):
    with pytest.raises(NotFound, match=r"rows\.csv"):
        add_dataset(hub, tmp_path / "rows.csv")
