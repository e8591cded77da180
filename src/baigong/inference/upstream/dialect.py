"""What each kind of server calls our sampling fields, and which of them it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.upstream.settings import Kind
from baigong.types import Grammar, Sampling

# Where these stand for `max_tokens` and `temperature`, the upstream's own defaults hold.
UNSAID = Sampling(max_tokens=-1, temperature=-1.0)

_PLAIN = Sampling()
_OPENAI = {
    name: name
    for name in (
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
    )
}
_MORE = _OPENAI | {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
}

Constraint = Callable[[str], dict[str, Any]]  # a grammar's source as fields of a request


@dataclass(frozen=True, slots=True)
class Dialect:
    """A kind of server.

    Attributes:
        fields: our name of a sampling field to its own.
        grammars: how each kind of grammar is asked for.
        top_k_off: what says that `top_k` is off.
        health: a path that answers 200 while the server is well; empty where there is none.
        load: the path that loads an adapter; empty where adapters are fixed at the start.
        unload: the path that lets go of it.
        adapter_field: what names an adapter in a request.
        takes_ids: whether it takes the token ids that end an answer, and can be told to write
            special tokens out.
        scores: whether it tells logprobs by token id.
        stream_options: what to ask of a stream beside its text.
    """

    fields: Mapping[str, str]
    grammars: Mapping[str, Constraint] = field(default_factory=dict)
    top_k_off: int = 0
    health: str = "/health"
    load: str = ""
    unload: str = ""
    adapter_field: str = "model"
    takes_ids: bool = False
    scores: bool = False
    stream_options: Mapping[str, bool] = field(default_factory=lambda: {"include_usage": True})

    def body(self, sampling: Sampling, upstream: str, *, is_whole: bool) -> dict[str, Any]:
        """The sampling as fields of a request.

        Args:
            sampling: what was asked.
            upstream: its name, for errors.
            is_whole: tell every field, so that no default of the server or of the model's
                generation_config.json takes the place of ours; else those alone that ask for something.

        Raises:
            Unsupported: a field asks for what this kind of server has no word for.
        """
        found: dict[str, Any] = {}
        for name in Sampling.__struct_fields__:
            value = getattr(sampling, name)
            if name in self.fields:
                if is_whole or value != getattr(_PLAIN, name):
                    found[self.fields[name]] = value
            elif name == "grammar" and value is not None:
                found |= self._grammar(value, upstream)
            elif name == "logprobs" and value is not None and self.scores and is_whole:
                found |= {"logprobs": value, "return_tokens_as_token_ids": True}
            elif name == "scores_prompt":
                if value and sampling.logprobs is not None:
                    raise _unsupported("logprobs of a prompt", upstream, "logprobs")
            elif value != getattr(_PLAIN, name):
                raise _unsupported(name, upstream)
        return self._written(found, sampling)

    def _written(self, found: dict[str, Any], sampling: Sampling) -> dict[str, Any]:
        """Without what is absent, and with what is off written as the server does."""
        if sampling.top_k == 0 and "top_k" in found:
            found["top_k"] = self.top_k_off
        if sampling.temperature < 0:
            found.pop("temperature", None)
        if sampling.max_tokens < 0:
            found.pop("max_tokens", None)
        if sampling.logit_bias:
            found["logit_bias"] = {str(id): bias for id, bias in sampling.logit_bias.items()}
        return {name: value for name, value in found.items() if value not in (None, (), {})}

    def _grammar(self, grammar: Grammar, upstream: str) -> dict[str, Any]:
        write = self.grammars.get(grammar.kind)
        if write is None:
            raise _unsupported(f"grammar ({grammar.kind})", upstream, "grammar")
        return write(grammar.source)


def _unsupported(what: str, upstream: str, param: str = "") -> Unsupported:
    return Unsupported(
        f"The upstream '{upstream}' has no word for {what}.",
        hint="Leave it out.",
        param=param or what,
    )


def _structured(name: str) -> Constraint:
    return lambda source: {"structured_outputs": {name: source}}


def _schema(source: str) -> Any:
    try:
        return msgspec.json.decode(source)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"The JSON schema is not JSON: {error}", param="grammar") from error


_COUNTING = {"include_usage": True, "continuous_usage_stats": True}
_STRUCTURED: dict[str, Constraint] = {
    "json_schema": lambda source: {"structured_outputs": {"json": _schema(source)}},
    "regex": _structured("regex"),
    "lark": _structured("grammar"),
}

DIALECTS: dict[Kind, Dialect] = {
    "vllm": Dialect(
        _MORE,
        _STRUCTURED,
        load="/v1/load_lora_adapter",
        unload="/v1/unload_lora_adapter",
        takes_ids=True,
        scores=True,
        stream_options=_COUNTING,
    ),
    "sglang": Dialect(
        _MORE,
        {
            "json_schema": lambda source: {"json_schema": source},
            "regex": lambda source: {"regex": source},
        },
        top_k_off=-1,
        load="/load_lora_adapter",
        unload="/unload_lora_adapter",
        adapter_field="lora_path",
        takes_ids=True,
        stream_options=_COUNTING,
    ),
    "llamacpp": Dialect(
        _MORE | {"repetition_penalty": "repeat_penalty"},
        {"json_schema": lambda source: {"json_schema": _schema(source)}},
    ),
    "baigong": Dialect(_MORE, _STRUCTURED),
    "openai": Dialect(
        _OPENAI,
        {
            "json_schema": lambda source: {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": _schema(source)},
                }
            }
        },
        health="",
    ),
}
