from __future__ import annotations

import os
import socket
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from baigong.errors import InvalidInput, NotFound, Unreachable
from baigong.knowledge.connectors.git import Place, Repository, read_place
from baigong.knowledge.connectors.gitrun import Git
from tests.knowledge.connectors.site import HOST, Reader, WebSite


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=Ida", "-c", "user.email=ida@example.com"]
    settings += ["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]
    command = ["git", *settings, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=change")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    (folder / "code.bin").write_bytes(b"\0" * 1000)
    commit(folder, readme="read me", docs__a="alpha", docs__泵="beta")
    return folder


def opened(repository: Path, tmp_path: Path, more: str = "") -> Repository:
    return Repository(read_place(f"git+file://{repository}{more}"), tmp_path / "cache")


def kept(tmp_path: Path) -> set[str]:
    """The kinds and sizes of all objects that the mirror holds."""
    (mirror,) = (each for each in (tmp_path / "cache" / "git").iterdir() if each.is_dir())
    rows = git(mirror, "cat-file", "--batch-all-objects", "--batch-check")
    return {" ".join(row.split()[1:]) for row in rows.splitlines() if " blob " in row}


def test_only_changed_files_are_fetched_and_read_again(repository: Path, tmp_path: Path) -> None:
    reader = Reader()
    assert reader.look(opened(repository, tmp_path)) == ["docs/a.md", "docs/泵.md", "readme.md"]
    assert reader.documents["docs/a.md"].data == b"alpha"
    assert reader.problems == {"*.bin": "1 file of a kind that we do not read; skipped."}
    assert kept(tmp_path) == {"blob 5", "blob 4", "blob 7"}  # and not the 1000 bytes
    assert reader.look(opened(repository, tmp_path)) == []
    (repository / "readme.md").unlink()
    commit(repository, docs__a="alpha and more")
    assert reader.look(opened(repository, tmp_path)) == ["docs/a.md"]
    assert sorted(reader.documents) == ["docs/a.md", "docs/泵.md"]
    assert kept(tmp_path) == {"blob 5", "blob 4", "blob 7", "blob 14"}


def test_a_folder_of_a_branch(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "release/1.0")
    commit(repository, docs__deep__c="gamma")
    git(repository, "checkout", "--quiet", "main")
    reader = Reader()
    assert reader.look(opened(repository, tmp_path, "//docs#release/1.0")) == [
        "a.md",
        "deep/c.md",
        "泵.md",
    ]
    assert len(Reader().look(opened(repository, tmp_path, "//docs"))) == 2


def test_a_branch_that_was_rewritten_is_followed(repository: Path, tmp_path: Path) -> None:
    reader = Reader()
    reader.look(opened(repository, tmp_path))
    (repository / "docs" / "a.md").write_text("ALPHA")
    git(repository, "commit", "--quiet", "--all", "--amend", "--message=other")
    assert reader.look(opened(repository, tmp_path)) == ["docs/a.md"]


def test_a_repository_that_cannot_filter_is_read_too(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "uploadpack.allowFilter", "false")
    assert len(Reader().look(opened(repository, tmp_path))) == 3


def test_links_and_submodules_are_not_followed(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (repository / "link.md").symlink_to(tmp_path / "secret.md")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    commit(other, inner="inner")
    git(repository, "submodule", "--quiet", "add", str(other), "sub")
    commit(repository)
    reader = Reader()
    assert reader.look(opened(repository, tmp_path)) == ["docs/a.md", "docs/泵.md", "readme.md"]
    assert reader.problems["link.md"] == "is a link; not followed."
    assert reader.problems["sub"] == "is a submodule; not read."


def test_hooks_of_a_template_do_not_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    for name in ("reference-transaction", "post-checkout"):
        (template / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (template / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[init]\ntemplateDir = {template.parent}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    Reader().look(opened(repository, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_what_a_killed_process_left_is_no_hindrance(repository: Path, tmp_path: Path) -> None:
    Reader().look(opened(repository, tmp_path))
    (mirror,) = (each for each in (tmp_path / "cache" / "git").iterdir() if each.is_dir())
    for name in ("shallow.lock", "config.lock", "refs/heads/mirror.lock", "packed-refs.lock"):
        (mirror / name).touch()
    (mirror / "config").unlink()
    commit(repository, docs__a="more")
    assert len(Reader().look(opened(repository, tmp_path))) == 3


def test_what_is_wrong_is_said(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="no such branch"):
        opened(repository, tmp_path, "#nope").list()
    with pytest.raises(NotFound, match="no folder 'nope'"):
        opened(repository, tmp_path, "//nope").list()
    with pytest.raises(NotFound, match="no repository at"):
        opened(tmp_path / "nothing", tmp_path).list()
    with pytest.raises(InvalidInput, match="not a public address"):
        Repository(read_place(f"git+http://{HOST}:1/x"), tmp_path).list()
    with pytest.raises(Unreachable, match="could not be fetched"):
        Repository(read_place(f"git+http://{HOST}:1/x"), tmp_path, (HOST,)).list()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="Install git"):
        opened(repository, tmp_path).list()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (301, InvalidInput, "status 301"),
        (401, NotFound, "asks for a login"),
        (403, InvalidInput, "status 403"),
        (404, NotFound, "no repository"),
        (500, Unreachable, "500"),
    ],
)
def test_what_a_server_refuses_is_said(
    site: WebSite, tmp_path: Path, status: int, error: type[Exception], words: str
) -> None:
    told = {"Location": "/b/info/refs", "WWW_Authenticate": 'Basic realm="x"'}
    site.put("/a/info/refs?service=git-upload-pack", status=status, **told)
    with pytest.raises(error, match=words):
        Repository(read_place(f"git+{site.url}/a"), tmp_path, (HOST,)).list()
    assert not any(path.startswith("/b") for path in site.paths)


@pytest.mark.parametrize(
    "text",
    [
        *("git+ext::sh -c touch% /tmp/x", "git+ext://x", "git+ssh://git@x.example/a"),
        *("git+https://ida:s3cret@x.example/a", "git+https://x.example/a#--upload-pack=x"),
        *("git+https://x.example/a#a:b", "git+https://x.example/a//../b", "git+https:///"),
    ],
)
def test_other_places_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidInput, NotFound)) as caught:
        Repository(read_place(text), tmp_path).list()
    assert "s3cret" not in str(caught.value)


def test_one_name_for_one_place(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.parent)
    texts = (f"git+file://{repository}", f"git+{repository}/", "git+work", "git+./work")
    assert {read_place(text).name for text in texts} == {f"git+file://{repository}"}
    place = Place("https://x.example/a/b.git", "docs/de", "main")
    assert read_place("git+https://X.example:443/a/b.git//docs/de/#main") == place
    assert read_place(place.name) == place


def test_over_http_the_address_that_was_checked_is_asked(
    repository: Path, tmp_path: Path, site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only this process knows the name: that git connects at all shows that it uses the pin."""
    real = socket.getaddrinfo

    def known(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        return real(HOST if host == "git.example" else host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    backend = Backend(repository)
    for path in ("/work/info/refs?service=git-upload-pack", "/work/git-upload-pack"):
        site.answers[path] = backend.answer
    place = read_place(f"git+http://git.example:{site.url.rpartition(':')[2]}/work//docs")
    reader = Reader()
    assert reader.look(Repository(place, tmp_path / "cache", ("git.example",))) == ["a.md", "泵.md"]
    assert kept(tmp_path) == {"blob 5", "blob 4"}
    assert reader.look(Repository(place, tmp_path / "cache", ("git.example",))) == []


class Backend:
    """Git's own server, as a web server runs it."""

    def __init__(self, repository: Path) -> None:
        self._root = repository.parent

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": handler.command,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": HOST,
        }
        told = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=True
        ).stdout
        head, _, data = told.partition(b"\r\n\r\n")
        handler.send_response(200)
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def test_a_file_that_is_too_large_does_not_hide_the_next(repository: Path, tmp_path: Path) -> None:
    (repository / "large.md").write_bytes(b"x" * 3_000_000)
    commit(repository)
    source = opened(repository, tmp_path)
    blobs = {entry.path: entry.stamp or "" for entry in source.list().entries}
    (mirror,) = (each for each in (tmp_path / "cache" / "git").iterdir() if each.is_dir())
    files = Git(mirror)
    assert files.blob(blobs["large.md"], 2_999_999) is None
    assert files.blob(blobs["readme.md"], 100) == b"read me"
    assert files.blob(blobs["large.md"], 3_000_000) == b"x" * 3_000_000
    with pytest.raises(Unreachable, match="has lost files"):
        files.blob("0" * 40, 100)
    assert files.blob(blobs["docs/a.md"], 100) == b"alpha"
