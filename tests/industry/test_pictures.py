"""Pictures from folders, tars and lists: classes by folder, and no path that leads outside."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from PIL import Image

from baigong.industry.data.pictures import read_pictures
from baigong.model.data_url import image_of


def png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()


PNG = png()


def put(folder: Path, *names: str, data: bytes = PNG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_folders_name_the_classes(tmp_path):
    put(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    put(tmp_path, "cat/notes.txt", data=b"not looked at")
    (table,) = read_pictures(tmp_path)
    assert not table.problems
    assert [record.values["label"] for record in table.records] == ["cat", "cat", "dog"]
    assert image_of(table.records[0].values["image"]) == PNG


def test_a_tar_is_read_and_nothing_of_it_is_written(tmp_path):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("all/red/1.png", "../../red/2.png"):
            info = tarfile.TarInfo(name)
            info.size = len(PNG)
            tar.addfile(info, io.BytesIO(PNG))
        link = tarfile.TarInfo("red/3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (table,) = read_pictures(path)
    assert [record.values["label"] for record in table.records] == ["red", "red"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_list_stays_in_its_folder(tmp_path):
    put(tmp_path, "set/a.png", "outside.png")
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "outside.png")
    listing = tmp_path / "set" / "list.csv"
    listing.write_text("path,label\na.png,x\n../outside.png,x\nlink.png,x\n/etc/passwd,x\n")
    (table,) = read_pictures(listing)
    assert [record.values["label"] for record in table.records] == ["x"]
    assert [problem.line for problem in table.problems] == [3, 4, 5]
    assert all("leads out" in problem.message for problem in table.problems)


def test_what_is_no_picture_is_named(tmp_path):
    put(tmp_path, "a/1.png", data=b"<svg>")
    (table,) = read_pictures(tmp_path)
    assert "a/1.png is no picture" in table.problems[0].message
    put(tmp_path / "cut", "a/1.png", data=PNG[: len(PNG) // 2])
    (cut,) = read_pictures(tmp_path / "cut")
    assert "a/1.png cannot be read: " in cut.problems[0].message
    (empty,) = read_pictures(put(tmp_path / "none", "x.txt").parent / "none")
    assert "holds no pictures" in empty.problems[0].message
