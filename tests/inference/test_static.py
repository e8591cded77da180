"""The static embedder in the package, and folders that are none."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import baigong
from baigong.errors import InvalidInput, NotFound
from baigong.inference.static import StaticEmbed, is_static

FOLDER = Path(baigong.__file__).parent / "foundation" / "pollen"

# A question, the text that answers it, and one that does not.
NEAR = (
    ("怎样读取一个文本文件？", "Open the file and read its contents as text.", "The cat sleeps."),
    ("如何给开源项目做贡献", "How to contribute to an open source project", "A bowl of rice"),
    ("今天天气很好。", "The weather is fine today.", "She bought a red car yesterday."),
    ("我想学习英语", "I want to study English.", "The train left at noon."),
    ("医生给病人开药", "The doctor gave the patient some medicine.", "The river is wide."),
    ("list all running processes", "列出所有正在运行的进程", "他每天早上喝一杯牛奶"),
    ("Where is the railway station?", "火车站在哪里？", "这本书很有意思"),
    ("He lost his money", "他把钱丢了", "这座山很高"),
    ("delete a directory", "删除一个目录", "昨天晚上下雨了"),
    ("高血压患者饮食注意什么", "血压高的人应少吃盐，多吃蔬菜。", "本次列车开往上海。"),
    ("公司拖欠工资怎么办", "用人单位应当按时支付劳动者工资。", "植物通过光合作用生长。"),
    (
        "symptoms of diabetes",
        "Diabetes causes thirst and high blood sugar.",
        "Ships cross the sea.",
    ),
    (
        "my card was declined",
        "The payment by card did not go through",
        "Birds build nests in trees",
    ),
)


@pytest.fixture(scope="module")
def embed() -> StaticEmbed:
    return StaticEmbed(FOLDER)


@pytest.mark.parametrize(("question", "near", "far"), NEAR)
def test_shipped_model_ranks_the_answer_first(
    embed: StaticEmbed, question: str, near: str, far: str
) -> None:
    asked, right, wrong = embed.vectors([question, near, far])
    assert asked @ right > asked @ wrong + 0.1


def test_shipped_model_finds_each_answer_among_all(embed: StaticEmbed) -> None:
    asked, right = (embed.vectors([row[side] for row in NEAR]) for side in (0, 1))
    assert ((asked @ right.T).argmax(1) == np.arange(len(NEAR))).mean() > 0.9


def test_odd_texts_give_finite_unit_vectors(embed: StaticEmbed) -> None:
    odd = ["", " \n", "。！？", "\ud800", "\x00", "𠮷野家", "🙂🙂", "a" * 100_000, "ﷺ", "𐍈" * 3]
    vectors = embed.vectors(odd)
    assert vectors.shape == (len(odd), embed.size) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embed.vectors([]).shape == (0, embed.size)


def test_many_texts_are_as_each_alone_and_as_the_plain_mean(embed: StaticEmbed) -> None:
    texts = [f"{question} {near}" * (1 + at % 3) for at, (question, near, _) in enumerate(NEAR)]
    together = embed.vectors(texts * 100)
    tensors = load_file(FOLDER / "model.safetensors")
    table = tensors["embeddings"].astype(np.float64) * tensors["weights"][:, None]
    for at, text in enumerate(texts):
        mean = table[embed.tokenizer.encode(text).ids].mean(axis=0)
        plain = mean / np.linalg.norm(mean)
        assert np.allclose(together[at], plain, atol=1e-5)
        assert np.allclose(embed.vectors([text])[0], together[at + len(texts)], atol=1e-6)


def test_words_seen_before_change_nothing(embed: StaticEmbed) -> None:
    texts = [f"{question} {near} {number}" for number, (question, near, _) in enumerate(NEAR)]
    before = embed.vectors(texts)
    embed.vectors([f"word{number} {number}" for number in range(120_000)])  # more than are kept
    assert np.array_equal(embed.vectors(texts), before)
    assert np.array_equal(embed.vectors(texts), before)
    assert np.array_equal(StaticEmbed(FOLDER).vectors(texts), before)


def test_full_width_and_capital_letters_are_the_plain_ones(embed: StaticEmbed) -> None:
    first, second = embed.vectors(["ＰＹＴＨＯＮ ３", "python 3"])
    assert np.allclose(first, second)


def test_it_is_an_embed_of_the_platform(embed: StaticEmbed) -> None:
    rows = asyncio.run(embed(["你好", "hello"]))
    assert len(rows) == 2 and len(rows[0]) == embed.size
    assert StaticEmbed(FOLDER, "baigong/pollen@1").name == "baigong/pollen@1"
    assert is_static(FOLDER) and not is_static(FOLDER.with_name("sapling"))


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(FOLDER, folder / "model"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\xff nonsense"])
def test_missing_or_broken_file_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = _copy(tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=f"model/{name}"):
        StaticEmbed(folder)


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = _copy(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    broken = {
        "has [0-9]+ tokens": {name: tensor[:100] for name, tensor in tensors.items()},
        "no table": {"weights": tensors["weights"]},
        "numbers that are none": tensors | {"weights": np.full_like(tensors["weights"], np.nan)},
    }
    for message, content in broken.items():
        save_file(content, path)
        with pytest.raises(InvalidInput, match=message):
            StaticEmbed(path.parent)
    with pytest.raises(NotFound):
        StaticEmbed(tmp_path / "none")


def test_shipped_folder_is_small_and_its_card_is_of_the_recorded_run() -> None:
    from baigong.tuning.embedder.card import write_card

    facts = json.loads((FOLDER / "training.json").read_text("utf-8"))
    assert (FOLDER / "README.md").read_text("utf-8") == write_card(facts)
    assert facts["measured"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 13_000_000
