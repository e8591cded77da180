"""What may be in a repository, and what whoever commits is told of."""

import bz2
import collections
import gzip
import io
import json
import lzma
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib

import joblib
import numpy as np
import pytest
from safetensors.numpy import save

from baigong.errors import InvalidInput
from baigong.hub.commits import Lost, Put, Words
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.safety import checks
from baigong.hub.safety.checks import Checks
from baigong.hub.safety.findings import Unsafe

SAID = Words("Change", "alice")


class Evil:
    def __reduce__(self):
        return os.system, ("echo never",)


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def put(hub, database, blobs):
    """Check files, by path, for a repository; the warnings."""
    looks = Checks(database, blobs)
    made = {}

    def check(files, kind="model", *, allows_code=False):
        if kind not in made:
            hub.repositories.create(kind, "alice/tiny", [], SAID)
            made[kind] = True
        one = hub.repositories.find(kind, "alice/tiny")
        settings = type(one.settings)(allows_code=allows_code)
        hub.repositories.change(one, settings=settings)
        one = hub.repositories.find(kind, "alice/tiny")
        puts = [Put(path, hub.keep(content)) for path, content in files.items()]
        return looks.check(one, puts, {}).warnings

    return check


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred(*members, **kind):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in kind.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def saved(write, *values, **named):
    file = io.BytesIO()
    write(file, *values, **named)
    return file.getvalue()


def torch_like():
    state = pickle.dumps(collections.OrderedDict(a=1), 2)
    return zipped(
        archive__data_pkl="", **{"archive__data.pkl": state, "archive__data__0": b"\0" * 64}
    )


def dumped(value, **options):
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


EVIL = pickle.dumps(Evil())
HIDDEN = b"\x80\x04" + b"\x8e" + struct.pack("<Q", 3_000_000) + b"x" * 3_000_000 + b"0" + EVIL[2:]
PICKLES = {
    "pytorch_model.bin": torch_like(),
    "old.bin": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(collections.OrderedDict(), 2),
    "a.pkl": EVIL,
    "plain.pkl": pickle.dumps({"a": 1}),
    "first_protocol.bin": pickle.dumps(Evil(), 0),
    "first_protocol": pickle.dumps(Evil(), 1),
    "whole_first_protocol.md": pickle.dumps(Evil(), 0),
    "renamed.txt": EVIL,
    "behind_much.bin": HIDDEN,
    "headerless_behind_much.bin": HIDDEN[2:],
    "ends_in_a_mistake.bin": EVIL[:-1] + b"\xff",
    "cut.ckpt": HIDDEN[:1000],
    "a.joblib": dumped({"a": np.zeros(3)}),
    "z.joblib": dumped({"a": np.zeros(3)}, compress=("zlib", 3)),
    "g.pkl.gz": gzip.compress(EVIL),
    "b.pkl.bz2": bz2.compress(EVIL),
    "x.pkl.xz": lzma.compress(EVIL),
    "l.pkl.lzma": lzma.compress(EVIL, lzma.FORMAT_ALONE),
    "a.npy": saved(np.save, np.array([Evil()], dtype=object)),
    "a.npz": saved(np.savez, a=np.array([Evil()], dtype=object)),
    "in.zip": zipped(weights=EVIL),
    "by_name.zip": zipped(**{"a.pkl": b"N" * 10}),
    "in.tar.gz": gzip.compress(tarred(("deep/weights", EVIL))),
    "in_in.zip": zipped(**{"a.zip": zipped(**{"b.zip": zipped(weights=EVIL)})}),
}
ELF = b"\x7fELF" + b"\0" * 60
PE = b"MZ" + b"\0" * 58 + struct.pack("<I", 128) + b"\0" * 64 + b"PE\0\0" + b"\0" * 20
CODE = {
    "modeling_x.py": b"print()",
    "deep/handler.py": b"",
    "lib.so": b"",
    "lib.so.1.2": b"",
    "a.pyc": b"",
    "weights.bin": ELF,
    "data.dat": PE,
    "mac": b"\xcf\xfa\xed\xfe" + b"\0" * 20,
    "m.keras": zipped(**{"config.json": json.dumps({"layers": [{"class_name": "Lambda"}]})}),
    "m.h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 99 + b'{"class_name": "Lambda", "config": {}}',
    "script.zip": zipped(**{"code__model.py": "x"}),
}
OPAQUE = {
    "broken.pt": b"PK\x03\x04" + b"x" * 100,
    "cut.npz": saved(np.savez, a=np.zeros(1000))[:-50],
    "deep.zip": zipped(a=zipped(a=zipped(a=zipped(a=zipped(a=zipped(a=b"x")))))),
}
WEIGHTS = save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(0, np.float16)})
HARMLESS = {
    "model.safetensors": WEIGHTS,
    "config.json": b'{"architectures": ["X"]}',
    "README.md": b"# copyright\nc os\nsystem\nis how a pickle begins\n",
    "LICENSE": b"copyright 2024 me\nfor all\n(R.",
    "model.bin": b"content",
    "zeros.bin": b"\0" * 5000,
    "floats.bin": np.linspace(0, 1, 5000, dtype=np.float32).tobytes(),
    "bytes.dat": bytes(range(256)) * 20,
    "a.npy": saved(np.save, np.zeros((3, 3))),
    "a.npz": saved(np.savez, a=np.zeros(3), b=np.arange(4)),
    "data.tar": tarred(("a.txt", b"x"), ("b.json", b"{}")),
    "data.jsonl.gz": gzip.compress(b'{"a": 1}\n' * 100),
    "data.zip": zipped(**{"a.csv": "a,b\n1,2\n" * 100}),
    "x.txt": b"x\x9c is how some compressed files begin",
    "MZ.txt": b"MZ is how programs begin" * 9,
    "m.keras": zipped(**{"config.json": json.dumps({"layers": [{"class_name": "Dense"}]})}),
    "empty": b"",
    "tokenizer.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02" * 50,
}


@pytest.mark.parametrize("path", PICKLES)
def test_pickles_are_refused_in_models(put, path):
    with pytest.raises(Unsafe, match=r"pickle|Python objects"):
        put({path: PICKLES[path]})


@pytest.mark.parametrize("path", CODE)
def test_code_is_refused_in_models(put, path):
    with pytest.raises(Unsafe, match=r"code|program"):
        put({path: CODE[path]})


@pytest.mark.parametrize("path", OPAQUE)
def test_what_cannot_be_looked_into_is_refused_in_models(put, path):
    with pytest.raises(Unsafe, match="looked into"):
        put({path: OPAQUE[path]})


@pytest.mark.parametrize("path", HARMLESS)
def test_the_harmless_passes_without_a_word(put, path):
    assert put({path: HARMLESS[path]}) == ()


def test_a_real_checkpoint_of_torch_is_refused(put):
    import torch

    for name, options in {
        "new.pt": {},
        "old.pt": {"_use_new_zipfile_serialization": False},
    }.items():
        file = io.BytesIO()
        torch.save({"a": torch.zeros(4)}, file, **options)
        with pytest.raises(Unsafe, match=name):
            put({name: file.getvalue()})


def test_what_a_pickle_imports_is_told(put):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(Unsafe, match=r"imports (posix|nt)\.system"):
            put({f"a{protocol}.pkl": pickle.dumps(Evil(), protocol)})


def test_all_files_that_are_refused_are_named_at_once(put):
    with pytest.raises(Unsafe, match=r"(?s)a\.pkl.*b\.py") as error:
        put({"a.pkl": EVIL, "b.py": b"", "c.txt": b"fine"})
    assert "allow-code alice/tiny" in error.value.hint
    assert "c.txt" not in str(error.value)


@pytest.mark.parametrize("kind", ["model", "dataset", "recipe"])
def test_where_they_are_allowed_they_are_told_of(put, kind):
    files = {"a.pkl": EVIL, "b.py": b"", "c.pt": OPAQUE["broken.pt"]}
    warnings = put(files, kind, allows_code=kind == "model")
    assert [line.split()[0] for line in warnings] == ["a.pkl", "b.py", "c.pt"]


def test_a_script_that_loads_a_dataset_is_refused(put):
    with pytest.raises(Unsafe, match="loads the dataset"):
        put({"tiny.py": b""}, "dataset")
    assert put({"tiny.py": b""}, "dataset", allows_code=True)
    assert put({"other.py": b""}, "dataset") == ("other.py is code.",)


def liar(times):
    """A zip archive whose list of members says that they become this much."""
    file = bytearray(zipped(a="x" * 1000))
    at = file.index(b"PK\x01\x02")
    struct.pack_into("<I", file, at + 24, times)
    return bytes(file)


def squeezed():
    """What gzip makes 270 MiB of: one block many times."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = compressor.compress(b"\0" * (8 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return block[:10] + block[10:] * 34


def listed_twice():
    return zipped(**{str(n): liar(1 << 29) for n in range(3)})


@pytest.mark.parametrize("kind", ["model", "dataset", "recipe"])
@pytest.mark.parametrize("content", [liar(2 << 30), zipped(a=liar(2 << 30)), listed_twice()])
def test_bombs_are_refused_everywhere(put, kind, content):
    with pytest.raises(Unsafe, match="unpacks to more"):
        put({"a.zip": content}, kind, allows_code=True)


def test_what_is_squeezed_as_a_whole_is_followed_until_it_is_a_bomb(put):
    with pytest.raises(Unsafe, match="unpacks to more"):
        put({"a.gz": gzip.compress(squeezed())}, "dataset")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tarred(("/etc/passwd", b"x")), "'/etc/passwd', which leads elsewhere"),
        (tarred(("a/../../b", b"x")), "leads elsewhere"),
        (tarred(("a", b""), type=tarfile.SYMTYPE, linkname="/etc"), "'a', which is a link"),
        (tarred(("a", b""), type=tarfile.LNKTYPE, linkname="../b"), "is a link"),
        (tarred(("a", b""), type=tarfile.CHRTYPE), "or a device"),
        (zipped(**{"../a": "x"}), "'../a', which leads elsewhere"),
        (zipped(**{"C:\\a": "x"}), "leads elsewhere"),
        (gzip.compress(tarred(("/a", b"x")), mtime=0), "leads elsewhere"),
    ],
)
def test_archives_that_lead_outside_are_told_of(put, content, said):
    [warning] = put({"a.archive": content}, "dataset")
    assert said in warning


def test_a_link_in_a_zip_archive_is_told_of(put):
    file, info = io.BytesIO(), zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "is a link" in put({"a.zip": file.getvalue()})[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WEIGHTS[:-1], "end at byte 24"),
        (WEIGHTS + b"x", "1 bytes behind"),
        (struct.pack("<Q", 1 << 40) + b"{}", "does not fit"),
        (struct.pack("<Q", 26_000_000) + b" " * 26_000_000, "longer than"),
        (struct.pack("<Q", 16) + b'{"a":{}, "a":{}}', "'a' is there twice"),
        (EVIL, "does not fit"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "does not fit"),
    ],
)
def test_broken_weights_are_refused_everywhere(put, content, said):
    with pytest.raises(Unsafe, match=r"model\.safetensors is not|has 1 bytes") as error:
        put({"model.safetensors": content}, "dataset", allows_code=True)
    assert said in str(error.value)


SECRETS = {
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "AWS": "AKIA" + "ABCDEFGH23456723",
    "Hugging Face": "hf_" + "a" * 36,
    "GitHub": "ghp_" + "A1" * 18,
    "Slack": "xoxb-" + "123456789012-abc",
    "OpenAI": "sk-proj-" + "a1_-" * 12,
    "Google": "AIza" + "a1_-b" * 7,
    "this platform": "bg-" + "0a" * 6 + "-" + "x" * 43,
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_told_with_its_line_and_never_shown(put, kind):
    secret = SECRETS[kind]
    [warning] = put({"notes.md": f"# Notes\n\nkey = {secret} # mine\n".encode()})
    assert warning.startswith("notes.md:3 holds a")
    assert kind in warning
    assert kind == "private key" or secret[:6] in warning
    assert secret not in warning


def test_the_lines_of_many_secrets_are_right_and_the_list_ends(put):
    text = "\n".join(f"{n} {SECRETS['Hugging Face']}" for n in range(1, 100))
    warnings = put({"a.env": text.encode()})
    assert [line.split()[0] for line in warnings] == [f"a.env:{n}" for n in range(1, 21)]


def test_code_of_another_repository_is_told_of(put):
    config = {"auto_map": {"AutoModel": "other/repo--modeling.Model"}}
    assert "another repository" in put({"config.json": json.dumps(config).encode()})[0]


def test_what_is_in_the_repository_already_is_not_looked_at_again(hub, database, blobs):
    one = hub.repositories.create("model", "alice/tiny", [], SAID)
    change = Put("a.pkl", hub.keep(EVIL))
    assert Checks(database, blobs).check(one, [change], {"a.pkl": change.entry}).warnings == ()


def test_a_content_is_read_once(hub, database, blobs):
    one = hub.repositories.create("dataset", "alice/tiny", [], SAID)
    changes = [Put("a.pkl", hub.keep(EVIL))]
    first = Checks(database, blobs).check(one, changes, {})
    blobs.delete(changes[0].entry.digest)
    looks = Checks(database, blobs)
    assert looks.check(one, changes, {}) == first
    assert looks.known({"b.pkl": changes[0].entry})["b.pkl"] == [first.noted[0].finding]
    assert looks.known({"b.bin": changes[0].entry}) == {}  # another name is another question


def test_bytes_that_are_not_here_are_said_to_be_lost(hub, database, blobs):
    one = hub.repositories.create("model", "alice/tiny", [], SAID)
    with pytest.raises(Lost):
        Checks(database, blobs).check(one, [Put("a", Entry("0" * 64, 4, "", ""))], {})


def test_sizes_have_an_end(hub, database, blobs, monkeypatch):
    one, looks = hub.repositories.create("model", "alice/tiny", [], SAID), Checks(database, blobs)
    with pytest.raises(InvalidInput, match="bytes; "):
        looks.check(one, [Put("a", Entry("0" * 64, 1 << 50, "", ""))], {})
    entry = hub.keep(b"x")
    monkeypatch.setattr(checks, "MOST_CHANGES", 3)
    with pytest.raises(InvalidInput, match="4 changes"):
        looks.check(one, [Put(f"{n}", entry) for n in range(4)], {})
    monkeypatch.setattr(checks, "MOST_IN_FOLDER", 3)
    before = {f"d/{n}": entry for n in range(3)}
    with pytest.raises(InvalidInput, match="'d' would have 4 files"):
        looks.check(one, [Put("d/new", hub.keep(b"y"))], before)
    looks.check(one, [Put("e/new", hub.keep(b"y"))], before)
