from __future__ import annotations

from baigong.knowledge.terms import searched_terms, terms, unspaced_share


def test_chinese_gives_characters_and_pairs() -> None:
    assert terms("水泵温度") == ["水", "泵", "温", "度", "水泵", "泵温", "温度"]


def test_words_are_small_letters_and_full_width_ones_plain() -> None:
    assert terms("Max ＡＢ１２!") == ["max", "ab12"]


def test_a_code_comes_whole_and_in_pieces() -> None:
    assert terms("no. AB-1234/5") == ["no", "ab", "1234", "5", "ab-1234/5"]
    assert terms("well-known") == ["well", "known"]


def test_mixed_text_is_cut_between_scripts() -> None:
    assert terms("用GPU训练") == ["用", "gpu", "训", "练", "训练"]


def test_nothing_but_signs_gives_nothing() -> None:
    assert terms(" \"'-*()_ 。！\n") == []


def test_characters_that_only_join_are_not_searched_for_but_in_pairs() -> None:
    assert searched_terms("应由谁赔？") == ["谁", "赔", "应由", "由谁", "谁赔"]
    assert searched_terms("会") == ["会"]


def test_unspaced_share_counts_chinese() -> None:
    assert unspaced_share("温度ab") == 0.5
    assert unspaced_share("") == 0.0
