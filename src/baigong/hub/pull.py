"""Brings a model into the hub: from a folder, a Hugging Face endpoint or a ModelScope endpoint.

Only data travels: safetensors, tokenizer, configuration and papers. Pickled weights and code are
left where they are, and a model that has nothing else is refused. A GGUF file is made a folder of
that kind first.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2

from baigong.errors import InvalidInput, NotFound, Unreachable, Unsupported
from baigong.hub.hub import Hub, Revision
from baigong.hub.names import check_name
from baigong.hub.remote import (
    RemoteFile,
    hugging_face_errors,
    hugging_face_files,
    modelscope_client,
    modelscope_files,
    modelscope_url,
)
from baigong.model.gguf.convert import convert
from baigong.model.gguf.file import stem_of
from baigong.store.blobs import digest_file
from baigong.store.room import room_for
from baigong.types import Progress, Report

WANTED = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "README.md",
    "LICENSE*",
    "training.json",
    "preprocessor_config.json",
    # How a text's vector is made, as sentence-transformers writes it.
    "modules.json",
    "sentence_bert_config.json",
    "*_Pooling/config.json",
    "*_Dense/config.json",
)


def pull(
    hub: Hub,
    source: str,
    *,
    name: str | None = None,
    endpoint: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    workdir: Path,
    report: Report,
) -> Revision:
    """Bring `source` into the hub.

    Args:
        source: a folder, a .gguf file, `owner/name` or `hf://owner/name` (Hugging Face), or
            `modelscope://owner/name`; of a GGUF file there, `owner/name/FILE.gguf`.
        name: what to call it here; default the remote name, or `local/<folder>`.
        endpoint: another address that speaks the same protocol.
        workdir: where downloads are kept until they are whole, so that they resume.

    Raises:
        NotFound: the folder or the remote model does not exist.
        Unsupported: the model has no safetensors, or no config.json, or is GGUF of a kind that is
            not read.
        InvalidInput: a GGUF file is damaged, or a part of it is missing.
        Unreachable: run the same command again; the download goes on where it was.
    """
    if Path(source).expanduser().is_dir():
        folder = Path(source).expanduser().resolve()
        _check(folder, source)
        return _keep(hub, folder, name or f"local/{folder.name}", {"source": "folder"})
    path = Path(source).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _keep_gguf(hub, path, name or f"local/{stem_of(path)}", {}, workdir, report)
    scheme, remote, file = address(source)
    fetch = _from_modelscope if scheme == "modelscope" else _from_hugging_face
    folder = workdir / (scheme or "hf") / remote / (revision or "newest")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (lambda path: _is_part(path, file)) if file else is_wanted
    facts = fetch(remote, folder, wanted, endpoint, revision, token, report)
    facts = {"source": source, **facts}
    if file:
        if not (folder / file).is_file():
            raise NotFound(f"The model '{remote}' has no file {file} there.")
        kept = _keep_gguf(hub, folder / file, name or remote, facts, workdir, report)
    else:
        _check(folder, source)
        kept = _keep(hub, folder, name or remote, facts)
    shutil.rmtree(folder)
    return kept


def address(source: str) -> tuple[str, str, str]:
    """The scheme and the `owner/name` of a model that is elsewhere, and the GGUF file meant of it.

    The scheme may be empty, and so may the file, which may lie in a folder.

    Raises:
        InvalidInput: it is neither.
    """
    scheme, _, rest = source.rpartition("://")
    owner, _, path = rest.partition("/")
    name, _, file = path.partition("/")
    remote = f"{owner}/{name}" if file.endswith(".gguf") else rest
    if scheme not in {"", "hf", "modelscope"} or remote.count("/") != 1:
        raise InvalidInput(
            f"'{source}' is neither a folder nor a model.",
            hint="Write a folder, a .gguf file, owner/name, hf://owner/name or "
            "modelscope://owner/name.",
            param="source",
        )
    return scheme, remote, file


def add_dataset(hub: Hub, source: Path, name: str | None = None) -> Revision:
    """Keep a file of rows, or a folder of those, as a dataset that recipes call `dataset://NAME`.

    Raises:
        NotFound: there is no such file or folder.
        InvalidInput: the name is not owner/name.
    """
    source = source.expanduser().resolve()
    if not source.exists():
        raise NotFound(f"There is no {source.name} here.", hint="Give a file or folder of rows.")
    folder = source if source.is_dir() else source.parent
    name = name or f"local/{source.name.partition('.')[0]}"
    only = None if source.is_dir() else source.name
    return hub.add("dataset", name, folder, {}, wanted=lambda path: only in (None, path))


def _keep(hub: Hub, folder: Path, name: str, facts: dict[str, Any]) -> Revision:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    facts["architecture"] = (config.get("architectures") or ["unknown"])[0]
    # A local folder may hold anything: checkpoints, notebooks, secrets.
    return hub.add("model", name, folder, facts, wanted=is_wanted)


def _keep_gguf(
    hub: Hub, path: Path, name: str, facts: dict[str, Any], workdir: Path, report: Report
) -> Revision:
    check_name(name)  # before what may take minutes
    folder = workdir / "gguf" / stem_of(path)
    try:
        with room_for(path.name):
            convert(path, folder, report)
        return _keep(hub, folder, name, {"source": "file", "file": path.name, **facts})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_part(name: str, file: str) -> bool:
    """Whether a file is that GGUF file, or another part of it."""
    path, wanted = PurePosixPath(name), PurePosixPath(file)
    same = (path.parent, path.suffix) == (wanted.parent, ".gguf")
    return same and stem_of(Path(path)) == stem_of(Path(wanted))


def is_wanted(name: str) -> bool:
    """Whether a file belongs to a model, and may be brought here."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in WANTED)


def _check(folder: Path, source: str) -> None:
    if not (folder / "config.json").is_file():
        raise Unsupported(
            f"'{source}' has no config.json.",
            hint="It is not a transformers model. Of GGUF files, name one: folder/FILE.gguf or "
            "owner/name/FILE.gguf.",
        )
    if not any(folder.glob("*.safetensors")):
        raise Unsupported(
            f"'{source}' has no safetensors.",
            hint="Pickled weights can run code when they are read; ask for a safetensors revision, "
            "or convert it with transformers' save_pretrained.",
        )


def _from_hugging_face(
    name: str,
    folder: Path,
    wanted: Callable[[str], bool],
    endpoint: str | None,
    revision: str | None,
    token: str | None,
    report: Report,
) -> dict[str, Any]:
    # A library of its own weight, needed for this verb alone.
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    with hugging_face_errors(name, endpoint):
        commit, files = hugging_face_files(name, endpoint, revision, token)
        files = [file for file in files if wanted(file.path)]
        with _watched(folder, files, report):
            for file in files:
                hf_hub_download(
                    name,
                    file.path,
                    revision=commit,
                    local_dir=folder,
                    endpoint=endpoint,
                    token=token,
                )
    _verify(folder, files)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return {"commit": commit}


def _from_modelscope(
    name: str,
    folder: Path,
    wanted: Callable[[str], bool],
    endpoint: str | None,
    revision: str | None,
    token: str | None,
    report: Report,
) -> dict[str, Any]:
    url, revision = modelscope_url(name, endpoint), revision or "master"
    with modelscope_client(endpoint, token) as client:
        files = modelscope_files(client, name, url, revision)
        files = [file for file in files if wanted(file.path)]
        with _watched(folder, files, report):
            for file in files:
                query = {"Revision": revision, "FilePath": file.path}
                _download(client, url, query, folder / file.path, file.size)
    _verify(folder, files)
    return {"commit": revision}


def _download(
    client: httpx2.Client, url: str, query: dict[str, str], target: Path, size: int
) -> None:
    """Fetch a file, going on where an earlier try stopped."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    have = partial.stat().st_size if partial.exists() else 0
    if have < size or size == 0:
        headers = {"Range": f"bytes={have}-"} if have else {}
        with client.stream("GET", url, params=query, headers=headers) as response:
            response.raise_for_status()
            mode = "ab" if response.status_code == 206 else "wb"
            with partial.open(mode) as file:
                for piece in response.iter_bytes(1 << 20):
                    file.write(piece)
    partial.replace(target)


def _verify(folder: Path, files: list[RemoteFile]) -> None:
    for file in files:
        path = folder / file.path
        if file.sha256 and digest_file(path) != file.sha256:
            path.unlink()
            raise Unreachable(
                f"{file.path} arrived damaged: its sha256 is not the one announced.",
                hint="It was removed; run the same command again.",
            )


@contextmanager
def _watched(folder: Path, files: list[RemoteFile], report: Report) -> Iterator[None]:
    """Report once a second how many bytes have arrived, whoever writes them."""
    total = sum(file.size for file in files)
    stop = threading.Event()
    began, at_start = time.monotonic(), _bytes_in(folder)

    def watch() -> None:
        while not stop.wait(0.5):
            done = _bytes_in(folder)
            rate = (done - at_start) / max(time.monotonic() - began, 1e-6)
            report(Progress(min(done, total), total, "bytes", rate))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    report(Progress(total, total, "bytes"))


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # renamed between the listing and the look
            continue
    return total
