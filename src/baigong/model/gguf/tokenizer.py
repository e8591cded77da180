"""The tokenizer that a GGUF file describes: its tokens, merges and marks as a tokenizer.json."""

from __future__ import annotations

from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import BPE

from baigong.errors import InvalidInput, Unsupported
from baigong.model.gguf.file import File

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)  # tokenizer.ggml.token_type
_SPACE = "▁"

# How text is cut before it is merged, as the tokenizer.json files of those models say.
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START = r"[^\r\n\p{L}\p{N}]?"
_SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_SHORT}|{_WORD}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_SHORT}|{_WORD}|\p{{N}}|{_REST}"
_TEKKEN = rf"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*|\p{{N}}|{_SLASHED}"
_GPT4O = (
    rf"{_START}{_UPPER}*{_LOWER}+{_SHORT}?|{_START}{_UPPER}+{_LOWER}*{_SHORT}?"
    rf"|\p{{N}}{{1,3}}|{_SLASHED}"
)
_SPLITS = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "smaug-bpe": _LLAMA3,
    "dbrx": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
    "gpt-4o": _GPT4O,
    "gpt-2": None,  # what ByteLevel does by itself
    "smollm": r"\p{N}",  # and then that
}
_WHOLE_FIRST = {"llama-bpe", "llama3", "llama-v3", "tekken"}  # a word that is a token is not merged
_COMPOSED = {"qwen2", "deepseek-r1-qwen"}  # NFC first
_WITH_BOS = {"llama-bpe", "llama3", "llama-v3", "tekken"}  # where no field says otherwise

# A file names one end; of these a model may write any.
_ENDS = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
}


class Vocabulary:
    """Tokens and marks of a GGUF file."""

    def __init__(self, file: File) -> None:
        """Read them.

        Raises:
            InvalidInput: the file has no tokens.
            Unsupported: a kind of tokenizer that is not known.
        """
        self._fields, self._file = file.fields, file
        self._tokens: list[str] = self.get("tokens") or []
        if not self._tokens:
            raise InvalidInput(f"{file.name} has no tokenizer.", hint="Is it a whole model?")
        self._types: list[int] = self.get("token_type") or [_NORMAL] * len(self._tokens)
        self._scores: list[float] = self.get("scores") or [0.0] * len(self._tokens)
        if not len(self._tokens) == len(self._types) == len(self._scores):
            raise InvalidInput(
                f"{file.name} has {len(self._tokens)} tokens, but kinds of {len(self._types)} "
                f"and scores of {len(self._scores)}.",
                hint="Its tokenizer is damaged; pull the model from elsewhere.",
            )
        self._kind, self._pre = self.get("model"), self.get("pre", "")
        self._is_bytes = self._kind == "gpt2"
        # The line ends after Phi-3's marks are no tokens, and no field says so.
        self._eats_spaces = file.architecture == "phi3" and not self._is_bytes
        if self._is_bytes and self._pre not in _SPLITS:
            raise Unsupported(
                f"{file.name} cuts text in a way that is not known here ('{self._pre}').",
                hint="Pull the model's safetensors instead.",
            )
        if self._kind not in ("gpt2", "llama"):
            raise Unsupported(
                f"{file.name} has a tokenizer of the kind '{self._kind}', which is not read.",
                hint="Pull the model's safetensors instead.",
            )

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the tokenizer."""
        return self._fields.get(f"tokenizer.ggml.{key}", default)

    def mark(self, name: str) -> int | None:
        """The id of a token with a part of its own, such as "bos"."""
        id: int | None = self.get(f"{name}_token_id")
        if id is not None and id >= len(self._tokens):
            raise InvalidInput(
                f"{self._file.name} gives {id} as its {name} token, of {len(self._tokens)}.",
                hint="Its tokenizer is damaged; pull the model from elsewhere.",
            )
        return id

    @property
    def ends(self) -> list[int]:
        """Ids that end an answer."""
        named = (self.mark(name) for name in ("eos", "eot", "eom"))
        marks = (i for i in self._of(_CONTROL) if self._tokens[i] in _ENDS)
        return list(dict.fromkeys(id for id in (*named, *marks) if id is not None))

    def settings(self) -> dict[str, Any]:
        """tokenizer_config.json, with the chat templates."""
        names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
        ids = {name: self.mark(key) for name, key in names.items()}
        settings: dict[str, Any] = {
            f"{name}_token": self._tokens[id] for name, id in ids.items() if id is not None
        }
        settings |= {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": self._file.need("context_length"),
        }
        prefix = "tokenizer.chat_template"
        templates = [
            {"name": key.removeprefix(prefix).removeprefix(".") or "default", "template": text}
            for key, text in self._fields.items()
            if (key + ".").startswith(prefix + ".")
        ]
        if len(templates) == 1 and templates[0]["name"] == "default":
            settings["chat_template"] = templates[0]["template"]
        elif templates:
            settings["chat_template"] = templates
        return settings

    def tokenizer(self) -> Tokenizer:
        tokenizer = self._byte_level() if self._is_bytes else self._sentencepiece()
        marks = [(i, True) for i in self._of(_CONTROL)] + [(i, False) for i in self._of(_USER)]
        for id, special in sorted(marks):
            mark = self._tokens[id]
            eats = self._eats_spaces and mark not in ("<unk>", "<s>", "<|endoftext|>")
            token = AddedToken(mark, special=special, normalized=False, rstrip=eats)
            add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
            add([token])
        before = self._edge("bos", not self._is_bytes or self._pre in _WITH_BOS)
        after = self._edge("eos", False)
        if edges := before | after:
            tokenizer.post_processor = processors.TemplateProcessing(
                single=[*before, "$A", *after],
                pair=[*before, "$A", *after, "$B:1", *(f"{mark}:1" for mark in after)],
                special_tokens=list(edges.items()),
            )
        return tokenizer

    def _edge(self, name: str, default: bool) -> dict[str, int]:
        """The mark that stands before or after a document, with its id."""
        id = self.mark(name)
        is_added = self.get(f"add_{name}_token", default)
        return {self._tokens[id]: id} if is_added and id is not None else {}

    def _byte_level(self) -> Tokenizer:
        ids = self._ids()
        merges = [tuple(merge.split(" ")) for merge in self.get("merges") or []]
        for merge in merges:
            if len(merge) != 2 or not {*merge, "".join(merge)} <= ids.keys():
                raise InvalidInput(
                    f"{self._file.name} merges {' and '.join(merge)!r}, which are not tokens of it.",
                    hint="Its tokenizer is damaged; pull the model from elsewhere.",
                )
        model = BPE(ids, merges, ignore_merges=self._pre in _WHOLE_FIRST)
        tokenizer = Tokenizer(model)
        if self._pre in _COMPOSED:
            tokenizer.normalizer = normalizers.NFC()
        split = _SPLITS[self._pre]
        steps: list[Any] = [] if split is None else [pre_tokenizers.Split(Regex(split), "isolated")]
        is_plain = self._pre in ("gpt-2", "smollm")
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=is_plain))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def _sentencepiece(self) -> Tokenizer:
        ids = self._ids()
        unknown = next(iter(self._of(_UNKNOWN)), None)
        model = BPE(
            ids,
            self._merges(ids),
            unk_token=None if unknown is None else self._tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
        tokenizer = Tokenizer(model)
        spaces = normalizers.Replace(" ", _SPACE)
        steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        if self.get("add_space_prefix", True):
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces])
            steps.append(decoders.Strip(" ", 1, 0))
        else:
            tokenizer.normalizer = spaces
        tokenizer.decoder = decoders.Sequence(steps)
        return tokenizer

    def _merges(self, ids: dict[str, int]) -> list[tuple[str, str]]:
        """Every way to put a token together from two, the best tokens first."""
        normal = self._of(_NORMAL)
        if not self._file.architecture.startswith("gemma"):  # whose merges follow its ids instead
            normal.sort(key=lambda id: -self._scores[id])
        return [
            (token[:cut], token[cut:])
            for token in (self._tokens[id] for id in normal)
            for cut in range(1, len(token))
            if token[:cut] in ids and token[cut:] in ids
        ]

    def _ids(self) -> dict[str, int]:
        return {token: id for id, token in enumerate(self._tokens) if self._types[id] != _UNUSED}

    def _of(self, kind: int) -> list[int]:
        return [id for id, found in enumerate(self._types) if found == kind]
