from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from baigong.errors import InvalidInput, NotFound, Unreachable
from baigong.knowledge.connectors.s3 import Bucket
from baigong.knowledge.connectors.source import Gone
from tests.knowledge.connectors.bucket import KEY, S3
from tests.knowledge.connectors.site import Reader


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    server = S3({
        "docs/a.md": b"alpha",
        "docs/sub/泵 1.txt": b"beta",
        "docs/z.html": b"<p>zeta</p>",
        "docs/film.mp4": b"?",
        "docs/.hidden/x.md": b"secret",
        "documents/other.md": b"another prefix",
    })
    with server.open() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        monkeypatch.setenv("AWS_REGION", "eu-north-1")
        yield server


DOCS = ["a.md", "sub/泵 1.txt", "z.html"]


def test_only_changed_objects_are_read_again(s3: S3) -> None:
    reader = Reader()
    assert reader.look(Bucket("s3://manuals/docs")) == DOCS
    assert s3.pages >= 3
    assert reader.problems == {"*.mp4": "1 file of a kind that we do not read; skipped."}
    s3.read.clear()
    assert reader.look(Bucket("s3://manuals/docs")) == []
    assert s3.read == []
    s3.objects["docs/a.md"] = b"gamma"
    del s3.objects["docs/z.html"]
    assert reader.look(Bucket("s3://manuals/docs")) == ["a.md"]
    assert s3.read == ["docs/a.md"]
    assert sorted(reader.documents) == DOCS[:2]
    assert reader.documents["a.md"].data == b"gamma"


def test_a_whole_bucket_and_a_single_object(s3: S3) -> None:
    reader = Reader()
    reader.look(Bucket("s3://manuals"))
    assert sorted(reader.documents) == [*(f"docs/{name}" for name in DOCS), "documents/other.md"]
    single = Reader()
    assert single.look(Bucket("s3://manuals/docs/a.md")) == ["a.md"]
    assert single.documents["a.md"].data == b"alpha"


def test_a_file_in_a_folder_of_its_own_name(s3: S3) -> None:
    s3.objects["a.md/a.md"] = b"inner"
    reader = Reader()
    assert reader.look(Bucket("s3://manuals/a.md/")) == ["a.md"]
    assert reader.documents["a.md"].data == b"inner"


def test_an_object_that_goes_between_listing_and_reading_is_gone(s3: S3) -> None:
    source = Bucket("s3://manuals/docs")
    entry = source.list().entries[0]
    del s3.objects["docs/a.md"]
    with pytest.raises(Gone):
        source.read(entry, None)


def test_refusals_say_what_to_do_and_quote_no_key(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="nothing at s3://other-one"):
        Bucket("s3://other-one").list()
    with pytest.raises(NotFound):
        Bucket("s3://manuals/none").list()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    with pytest.raises(InvalidInput, match="AWS_ACCESS_KEY_ID") as caught:
        Bucket("s3://manuals").list()
    assert "s3cret" not in str(caught.value) and "AKIAWRONG" not in str(caught.value)
    s3.fails = True
    with pytest.raises(Unreachable, match="could not be asked"):
        Bucket("s3://manuals").list()


@pytest.mark.parametrize("url", ["s3://", "s3://key:s3cret@bucket/x", "s3://Bad_Name/x", "s3:/x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="s3://bucket/prefix") as caught:
        Bucket(url)
    assert "s3cret" not in str(caught.value)


def test_keys_that_aws_configure_wrote(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = other\n"
        f"[desk]\naws_access_key_id = {KEY}\naws_secret_access_key = s3%cret\n"
    )
    (tmp_path / ".aws" / "config").write_text("[profile desk]\nregion = eu-west-9\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(InvalidInput, match="may not be read with the keys"):
        Bucket("s3://manuals/docs").list()
    monkeypatch.setenv("AWS_PROFILE", "desk")
    assert Reader().look(Bucket("s3://manuals/docs")) == DOCS
    assert s3.regions[-1] == "eu-west-9"
    (tmp_path / ".aws" / "credentials").write_text("aws_secret_access_key = s3cret\n")
    with pytest.raises(InvalidInput, match="not a file of profiles") as caught:
        Bucket("s3://manuals/docs")
    assert "s3cret" not in str(caught.value)


def test_one_name_for_one_prefix(s3: S3) -> None:
    assert {Bucket(f"s3://manuals{end}").name for end in ("/docs", "/docs/", "//docs")} == {
        "s3://manuals/docs"
    }
