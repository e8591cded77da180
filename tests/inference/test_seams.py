"""A text may be cut at its seams, and no token shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import baigong
from baigong.inference.seams import seams_of

TOKENIZER = Path(baigong.__file__).parent / "foundation" / "pollen" / "tokenizer.json"

TEXTS = (
    "水泵温度过高时，应当停机检查。中华人民共和国的历史悠久，北京大学在海淀区。",
    "用GPU训练3个模型，共1992年12月（约3.14万元）；“你好”，他说：『再见』！",
    "C++ and c# don't: e-mail@x.org, well-known (a.b.c) [1] _under_score_ 100,000.50 x…y",
    "㈠第一 ㍿株式会社 ㋀元旦 ⼀部首 豈更 𠀀𠀁水𠀀 水㐀水 々人々 〇一二 時々",
    "水\u0301 a\u0301水 水\u200b水 (\u0308a) =\u0338水 ﬁne Ⅷ章 ＡＢＣ水 ｶﾞ水 ΟΔΟΣ水",
    "",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TOKENIZER))


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_are_those_of_the_whole_text(tokenizer: Tokenizer, text: str) -> None:
    seams = seams_of(tokenizer)
    assert seams is not None
    every = "\n".join(TEXTS)
    for opened, whole in zip(seams.open([text, every, text]), [text, every, text], strict=True):
        assert tokenizer.encode(opened).ids == tokenizer.encode(whole).ids


def test_chinese_comes_apart(tokenizer: Tokenizer) -> None:
    seams = seams_of(tokenizer)
    assert seams is not None
    [opened] = seams.open(["水泵温度过高时，应当停机检查。"])
    assert max(map(len, opened.split())) <= 4


def test_no_seams_are_seen_where_tokens_may_reach_over_them() -> None:
    vocab = [("<unk>", 0.0), ("▁", -1.0), ("水", -2.0), ("▁水", -2.0)]
    model = models.Unigram(vocab, 0, False)
    marking = Tokenizer(model)
    marking.pre_tokenizer = pre_tokenizers.Metaspace()
    assert seams_of(marking) is None
    by_words = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    by_words.normalizer = normalizers.BertNormalizer()
    by_words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    assert seams_of(by_words) is None
    assert seams_of(Tokenizer(model)) is None
