"""The tokenizer: words of every script, learnt from the pairs; punctuation is left out.

Unigram, since it cuts Chinese, which has no blanks, into words by what is likely as a whole. What no
piece covers is told in bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

UNKNOWN = "<unk>"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# Han stands in runs without blanks; `#` and `+` tell C# and C++ from C.
WORDS = r"\p{Han}+|\p{N}{1,4}|[^\s\p{Han}\p{N}\p{P}\p{S}]+[+#]{0,2}"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary` pieces, 256 bytes and the unknown one among them.

    The library breaks ties by chance: two trainings on the same texts differ in a few pieces.
    """
    tokenizer = _around(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary - len(_BYTES),
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        max_piece_length=12,
        n_sub_iterations=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    found: list[tuple[str, float]] = json.loads(tokenizer.to_str())["model"]["vocab"]
    lowest = min(score for _, score in found) - 10
    pieces = [(piece, score) for piece, score in found] + [(byte, lowest) for byte in _BYTES]
    return _around(models.Unigram(pieces, unk_id=0, byte_fallback=True))


def _around(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    # NFKC makes full-width letters, frequent in Chinese text, equal to the plain ones.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)
    return tokenizer
