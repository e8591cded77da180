"""Our sampling in each server's words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.upstream.dialect import DIALECTS, UNSAID
from baigong.inference.upstream.settings import Kind
from baigong.types import Grammar, Sampling

FULL = Sampling(
    max_tokens=9,
    temperature=0.5,
    top_p=0.9,
    top_k=7,
    seed=3,
    stop=("x",),
    min_p=0.1,
    presence_penalty=0.2,
    frequency_penalty=0.3,
    repetition_penalty=1.1,
    logit_bias={5: -1.0},
)
SHARED: dict[str, Any] = {
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 3,
    "stop": ("x",),
    "presence_penalty": 0.2,
    "frequency_penalty": 0.3,
    "logit_bias": {"5": -1.0},
}
BEYOND = {"top_k": 7, "min_p": 0.1}
KINDS: tuple[Kind, ...] = ("vllm", "sglang", "llamacpp", "baigong", "openai")


@pytest.mark.parametrize(
    ("kind", "penalty"),
    [
        ("vllm", "repetition_penalty"),
        ("sglang", "repetition_penalty"),
        ("baigong", "repetition_penalty"),
        ("llamacpp", "repeat_penalty"),
    ],
)
def test_every_field_goes_by_the_servers_own_name(kind: Kind, penalty: str) -> None:
    body = DIALECTS[kind].body(FULL, "rack", is_whole=True)
    assert body == SHARED | BEYOND | {penalty: 1.1}


def test_what_a_plain_server_has_no_word_for_is_refused_by_name() -> None:
    openai = DIALECTS["openai"]
    plain = msgspec.structs.replace(FULL, top_k=0, min_p=0.0, repetition_penalty=1.0)
    assert openai.body(plain, "rack", is_whole=True) == SHARED
    for name in ("top_k", "min_p", "repetition_penalty"):
        one = msgspec.structs.replace(plain, **{name: getattr(FULL, name)})
        with pytest.raises(Unsupported, match=f"'rack' has no word for {name}") as caught:
            openai.body(one, "rack", is_whole=True)
        assert caught.value.param == name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vllm"])
def test_scores_are_refused_where_they_do_not_come_by_token_id(kind: Kind) -> None:
    with pytest.raises(Unsupported, match="no word for logprobs") as caught:
        DIALECTS[kind].body(Sampling(logprobs=0), "rack", is_whole=True)
    assert caught.value.param == "logprobs"


def test_scores_of_a_prompt_are_refused_and_an_echo_without_them_is_not() -> None:
    vllm = DIALECTS["vllm"]
    with pytest.raises(Unsupported, match="logprobs of a prompt"):
        vllm.body(Sampling(logprobs=0, scores_prompt=True), "rack", is_whole=True)
    plain = vllm.body(Sampling(), "rack", is_whole=True)
    assert vllm.body(Sampling(scores_prompt=True), "rack", is_whole=True) == plain


def test_what_is_off_is_said_so_that_no_default_of_the_model_steps_in() -> None:
    off = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "temperature": 0.0}
    assert off.items() <= DIALECTS["vllm"].body(Sampling(), "rack", is_whole=True).items()
    assert DIALECTS["sglang"].body(Sampling(), "rack", is_whole=True)["top_k"] == -1
    assert DIALECTS["llamacpp"].body(Sampling(), "rack", is_whole=True)["repeat_penalty"] == 1.0


def test_where_the_upstream_has_the_say_only_what_was_asked_is_sent() -> None:
    vllm = DIALECTS["vllm"]
    assert vllm.body(UNSAID, "rack", is_whole=False) == {}
    asked = msgspec.structs.replace(UNSAID, temperature=0.5, top_k=7)
    assert vllm.body(asked, "rack", is_whole=False) == {"temperature": 0.5, "top_k": 7}


@pytest.mark.parametrize(
    ("kind", "grammar", "wanted"),
    [
        ("vllm", Grammar("json_schema", '{"a":1}'), {"structured_outputs": {"json": {"a": 1}}}),
        ("vllm", Grammar("regex", "a+"), {"structured_outputs": {"regex": "a+"}}),
        ("vllm", Grammar("lark", "start: A"), {"structured_outputs": {"grammar": "start: A"}}),
        ("sglang", Grammar("json_schema", '{"a":1}'), {"json_schema": '{"a":1}'}),
        ("sglang", Grammar("regex", "a+"), {"regex": "a+"}),
        ("llamacpp", Grammar("json_schema", '{"a":1}'), {"json_schema": {"a": 1}}),
        (
            "openai",
            Grammar("json_schema", '{"a":1}'),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"a": 1}},
                }
            },
        ),
    ],
)
def test_a_grammar_is_asked_for_in_the_servers_way(
    kind: Kind, grammar: Grammar, wanted: dict[str, Any]
) -> None:
    sampling = msgspec.structs.replace(UNSAID, grammar=grammar)
    assert DIALECTS[kind].body(sampling, "rack", is_whole=False) == wanted


@pytest.mark.parametrize(
    ("kind", "grammar"), [("sglang", "lark"), ("llamacpp", "regex"), ("openai", "regex")]
)
def test_a_grammar_that_the_server_cannot_hold_to_is_refused(kind: Kind, grammar: Any) -> None:
    sampling = Sampling(grammar=Grammar(grammar, "a"))
    with pytest.raises(Unsupported, match=grammar) as caught:
        DIALECTS[kind].body(sampling, "rack", is_whole=True)
    assert caught.value.param == "grammar"


def test_a_schema_that_is_no_json_is_bad_input() -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        DIALECTS["vllm"].body(Sampling(grammar=Grammar("json_schema", "{")), "rack", is_whole=True)
