"""The trainer's own reading of some prompts: `python -m baigong.tuning.reference ASKED ANSWERED`.

Nothing of ours decides here: transformers renders and tokenizes, PEFT applies the adapter, float32
computes. What is served is held against it by `parity`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from baigong.tuning.weights import load_base
from baigong.types import Message


class Asked(msgspec.Struct, frozen=True):
    """Prompts or plain texts to read with a model folder and, where there is one, an adapter folder."""

    base: str
    adapter: str | None
    prompts: list[list[Message] | str]
    tokens: int
    threads: int


class Answered(msgspec.Struct, frozen=True):
    """How the trainer reads one prompt.

    Attributes:
        text: the rendered template.
        ids: its token ids.
        greedy: what greedy decoding adds, without the token that ends an answer.
        gaps: by how much the best logit leads the second, for each greedy token and, where the
            answer ended, for the token that ended it.
        logprobs: of the prompt's tokens from the second on, in nats.
    """

    text: str
    ids: list[int]
    greedy: list[int]
    gaps: list[float]
    logprobs: list[float]


def main(arguments: list[str]) -> int:
    """Read the question file, write the answer file."""
    asked = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Asked)
    torch.set_num_threads(asked.threads)
    tokenizer = AutoTokenizer.from_pretrained(asked.base, local_files_only=True)
    model = load_base(Path(asked.base))
    ends = _ends(model, tokenizer)
    if asked.adapter is not None:
        model = PeftModel.from_pretrained(model, asked.adapter)
    model.eval()
    answers = [_read(prompt, tokenizer, model, ends, asked.tokens) for prompt in asked.prompts]
    Path(arguments[1]).write_bytes(msgspec.json.encode(answers))
    return 0


def _ends(model: Any, tokenizer: Any) -> set[int]:
    named = model.generation_config.eos_token_id
    if named is None:
        named = tokenizer.eos_token_id
    return set(named) if isinstance(named, list) else {named}


def _encoded(prompt: list[Message] | str, tokenizer: Any) -> tuple[str, list[int]]:
    """The text of a prompt by the template, or a plain text as it is; and its ids."""
    if isinstance(prompt, str):
        return prompt, list(tokenizer(prompt)["input_ids"])
    messages = [{"role": m.role, "content": m.content} for m in prompt]
    options = {"add_generation_prompt": True}
    text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    ids = tokenizer.apply_chat_template(messages, return_dict=True, **options)["input_ids"]
    return text, list(ids)


@torch.no_grad()
def _read(
    prompt: list[Message] | str, tokenizer: Any, model: Any, ends: set[int], tokens: int
) -> Answered:
    text, ids = _encoded(prompt, tokenizer)
    greedy: list[int] = []
    gaps: list[float] = []
    step = torch.tensor([ids])
    output = model(input_ids=step, use_cache=True)
    shares = output.logits[0, :-1].float().log_softmax(-1)
    logprobs = shares.gather(1, step[0, 1:, None]).squeeze(1).tolist()
    while len(greedy) < tokens:
        best = output.logits[0, -1].topk(2)
        gaps.append(float(best.values[0] - best.values[1]))
        token = int(best.indices[0])
        if token in ends:
            break
        greedy.append(token)
        past, step = output.past_key_values, torch.tensor([[token]])
        output = model(input_ids=step, past_key_values=past, use_cache=True)
    return Answered(text, ids, greedy, gaps, logprobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
