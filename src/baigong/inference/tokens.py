"""Single tokens as text and bytes, for those who ask how likely each of them was."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from baigong.inference.engine.messages import Scores
from baigong.model.chat import ChatTokenizer
from baigong.types import Candidate, Scored

_MARK = "\u2581"  # what SentencePiece writes for a space


def _byte_characters() -> dict[str, int]:
    """The characters by which byte-level vocabularies, since GPT-2, write the 256 bytes."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    written = [*shown, *(256 + place for place in range(len(hidden)))]
    return {chr(c): byte for c, byte in zip(written, [*shown, *hidden], strict=True)}


_BYTES = _byte_characters()


class TokenBytes:
    """What each id of a tokenizer stands for in a text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._is_byte_level = "ByteLevel" in repr(tokenizer.decoder)
        added = tokenizer.get_added_tokens_decoder()
        self._specials = {id for id, token in added.items() if token.special}
        self._plain = {id: token.content for id, token in added.items() if not token.special}

    def __call__(self, id: int) -> bytes:
        """The bytes of one token; none of a special one, nor of an id without a token."""
        if id in self._specials:
            return b""
        if id in self._plain:
            return self._plain[id].encode()
        token = self._tokenizer.id_to_token(id) or ""
        if self._is_byte_level:
            return bytes(_BYTES[c] for c in token if c in _BYTES)
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace(_MARK, " ").encode()

    def text(self, id: int, data: bytes) -> str:
        """How a token of these bytes is written: what is no whole character as `bytes:\\xe4`."""
        if not data:
            return self._tokenizer.id_to_token(id) or ""
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class Ledger:
    """Collects the scores of tokens until their text is said."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer.tokenizer
        self._bytes: TokenBytes | None = None
        self._held: list[Scored] = []
        self._ahead = 0  # bytes of the last token taken that have not been said

    def add(self, id: int, scores: Scores) -> None:
        """Note a token of the answer."""
        self._held.append(self._scored(id, scores))

    def take(self, said: str | None = None) -> tuple[Scored, ...]:
        """What has been noted since the last time; with `said`, only what that text is made of."""
        count = len(self._held)
        if said is not None:
            room = len(said.encode()) - self._ahead
            count = 0
            while room > 0 and count < len(self._held):
                room -= len(self._held[count].bytes)
                count += 1
            self._ahead = max(0, -room)
        taken = tuple(self._held[:count])
        del self._held[:count]
        return taken

    def prompt(self, ids: Sequence[int], scores: Sequence[Scores]) -> tuple[Scored, ...]:
        """The prompt's tokens; nothing comes before the first, so that it has no logprob."""
        first = self._candidate(ids[0], None)
        rest = [self._scored(id, one) for id, one in zip(ids[1:], scores, strict=True)]
        return (Scored(first.text, first.bytes, None), *rest)

    def _scored(self, id: int, scores: Scores) -> Scored:
        own = self._candidate(id, scores.logprob)
        pairs = zip(scores.ids, scores.logprobs, strict=True)
        likeliest = tuple(self._candidate(id, logprob) for id, logprob in pairs)
        return Scored(own.text, own.bytes, own.logprob, likeliest)

    def _candidate(self, id: int, logprob: float | None) -> Candidate:
        if self._bytes is None:
            self._bytes = TokenBytes(self._tokenizer)
        data = self._bytes(id)
        return Candidate(self._bytes.text(id, data), data, logprob)
