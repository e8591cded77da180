"""The tokenizer: byte-level BPE trained on a balanced sample, and the chat template beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from baigong.errors import Unsupported
from baigong.tuning.pretrain.corpus import Corpus
from baigong.tuning.pretrain.recipe import TokenizerPlan

END_OF_TEXT, CHAT_START, CHAT_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# A capitalised word never swallows the space before it, so a name or a code has the same ids in
# running text, after a quotation mark and at a line's start: copying is what this model is for.
# Digits stand alone for the same reason. Chinese is kept apart from its punctuation.
PATTERN = (
    r"\p{Lu}+(?!\p{Ll})|\p{Lu}\p{Ll}+| ?\p{Ll}+|'\p{Ll}{1,2}(?!\p{L})|\p{Han}+|\p{N}"
    r"|[\p{L}\p{M}]+| ?[^\s\p{L}\p{M}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The generation marks tell a trainer which tokens are the assistant's, the end mark included.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{{- '\\n' -}}"
    "{%- else -%}"
    "{{- message['content'] + '<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def special_tokens(plan: TokenizerPlan) -> list[str]:
    reserved = [f"<|reserved_{number}|>" for number in range(plan.reserved)]
    return [END_OF_TEXT, CHAT_START, CHAT_END, *reserved]


def token_id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise Unsupported(f"The tokenizer has no token {token}.", hint="Train it with this recipe.")
    return int(found)


def train_tokenizer(corpus: Corpus, plan: TokenizerPlan, examples: Sequence[str] = ()) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocabulary,
        special_tokens=special_tokens(plan),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(corpus, plan, examples), trainer)
    return tokenizer


def _sample(corpus: Corpus, plan: TokenizerPlan, examples: Sequence[str]) -> Iterator[str]:
    """As many Chinese as English characters; the documents already stand in a weighted order."""
    for documents in corpus.documents.values():
        size = 0
        for document in documents:
            yield document.text
            size += len(document.text)
            if size > plan.sample_characters:
                break
    yield from examples


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Written by hand: the generic class must be named, or transformers maps the model type to a
    class that rebuilds its own pre-tokenizer and gives other ids."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "TokenizersBackend",
        "eos_token": CHAT_END,
        "pad_token": END_OF_TEXT,
        "bos_token": None,
        "unk_token": None,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
