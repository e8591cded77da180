"""Answers keep to their grammar and end with it; a wrong grammar is told, and nobody waits for one."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from threading import Event
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from typing_extensions import override

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.grammar import Grammars, Matcher
from baigong.inference.engine.messages import Abort
from baigong.types import Grammar
from tests.inference.local import LocalEngine
from tests.models import END, VOCABULARY, make_model

PROMPT = [(7 * i) % 256 for i in range(24)]
IDS = itertools.count(1000)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["红", "green", None]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def schema(wanted: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(wanted))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("grammar") / "m")


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    return LocalEngine(folder)


def text(folder: Path, tokens: list[int]) -> str:
    decoded: str = Tokenizer.from_file(str(folder / "tokenizer.json")).decode(tokens)
    return decoded


@pytest.mark.parametrize("seed", range(4))
def test_a_json_answer_satisfies_its_schema(folder: Path, engine: LocalEngine, seed: int) -> None:
    grammar = schema(PERSON)
    options = {"temperature": 1.5, "seed": seed, "max_tokens": 400}
    tokens = engine.run(100 + seed, PROMPT, grammar=grammar, **options)
    assert engine.reasons[100 + seed] == "stop"
    jsonschema.validate(json.loads(text(folder, tokens)), PERSON)


SCHEMAS = st.recursive(
    st.sampled_from([
        {"type": "boolean"},
        {"type": "null"},
        {"type": "integer", "minimum": -9, "maximum": 99},
        {"type": "string", "maxLength": 4},
        {"type": "string", "pattern": "^[a-c]{2,3}$"},
        {"enum": [1, "two", [3]]},
        {"const": {"a": "好"}},
    ]),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item, "maxItems": 2}, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
        st.builds(
            lambda one, other: {
                "type": "object",
                "properties": {"a": one, "b": other},
                "required": ["a"],
                "additionalProperties": False,
            },
            inner,
            inner,
        ),
    ),
    max_leaves=4,
)


@settings(max_examples=25, deadline=None)
@given(wanted=SCHEMAS, seed=st.integers(0, 99))
def test_whatever_the_schema_the_answer_satisfies_it(
    folder: Path, engine: LocalEngine, wanted: dict[str, Any], seed: int
) -> None:
    id = next(IDS)
    tokens = engine.run(
        id, PROMPT, grammar=schema(wanted), temperature=1.0, seed=seed, max_tokens=480
    )
    assert engine.reasons[id] == "stop"
    jsonschema.validate(json.loads(text(folder, tokens)), wanted)


def test_expressions_and_lark_rules_hold_too(folder: Path, engine: LocalEngine) -> None:
    pattern = r"(GET|PUT) /[a-z]{3,5}\?n=[0-9]{2}"
    tokens = engine.run(201, PROMPT, grammar=Grammar("regex", pattern), max_tokens=40)
    assert re.fullmatch(pattern, text(folder, tokens))
    rules = 'start: sum "=" NUMBER\nsum: NUMBER ("+" NUMBER){1,2}\nNUMBER: /[0-9]{1,2}/'
    tokens = engine.run(202, PROMPT, grammar=Grammar("lark", rules), max_tokens=40)
    assert re.fullmatch(r"\d{1,2}(\+\d{1,2}){1,2}=\d{1,2}", text(folder, tokens))
    assert engine.reasons[201] == engine.reasons[202] == "stop"


def test_several_grammars_in_one_batch_give_what_each_gives_alone(folder: Path) -> None:
    engine = LocalEngine(folder, prefill_tokens=16)
    grammars = [schema(PERSON), None, Grammar("regex", "[a-f]{12}"), schema(PERSON), None]
    options = [
        {"grammar": grammar, "temperature": 1.0, "seed": n, "max_tokens": 60}
        for n, grammar in enumerate(grammars)
    ]
    alone = [engine.run(n, PROMPT[n:], **one) for n, one in enumerate(options)]
    for n, one in enumerate(options):
        engine.submit(10 + n, PROMPT[n:], **one)
        engine.step()
    engine.finish(*range(10, 15))
    assert [engine.tokens[10 + n] for n in range(5)] == alone


def test_an_answer_may_end_only_where_the_grammar_does(folder: Path, engine: LocalEngine) -> None:
    # The end token is by far the likeliest wherever it is allowed.
    eager: dict[str, Any] = {"logit_bias": {END: 100.0}, "stop_ids": [END], "max_tokens": 30}
    tokens = engine.run(301, PROMPT, grammar=Grammar("regex", "[ab]{5,9}"), **eager)
    assert re.fullmatch("[ab]{5}", text(folder, tokens[:-1]))
    assert tokens[-1] == END
    # And where there is nothing left to say it ends without one.
    tokens = engine.run(302, PROMPT, grammar=Grammar("regex", "[ab]{5}"), max_tokens=30)
    assert re.fullmatch("[ab]{5}", text(folder, tokens))
    assert engine.reasons[301] == engine.reasons[302] == "stop"
    engine.run(303, PROMPT, grammar=Grammar("regex", "[ab]{5}"), max_tokens=3)
    assert engine.reasons[303] == "length"


def test_a_model_that_loves_spaces_cannot_fill_its_answer_with_them(
    folder: Path, engine: LocalEngine
) -> None:
    byte = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(" ").ids[0]
    tokens = engine.run(
        311, PROMPT, grammar=schema(PERSON), logit_bias={byte: 100.0}, max_tokens=400
    )
    assert engine.reasons[311] == "stop"
    jsonschema.validate(json.loads(text(folder, tokens)), PERSON)


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        (Grammar("json_schema", '{"type": "strin"}'), "strin"),
        (Grammar("json_schema", '{"type": '), "EOF"),
        (Grammar("json_schema", '{"type": "integer", "minimum": 3, "maximum": 1}'), "minimum"),
        (Grammar("json_schema", '{"type": "array", "uniqueItems": true}'), "uniqueItems"),
        (Grammar("json_schema", '{"items":' * 5000 + "{}" + "}" * 5000), "recursion"),
        (Grammar("regex", "(a"), "unclosed group"),
        (Grammar("regex", r"[^\s\S]"), "no text satisfies it"),
        (Grammar("regex", "(" * 50_000), "invalid regex"),
        (Grammar("lark", "start: nothing"), "nothing"),
        (Grammar("lark", "start: " + "(" * 50_000 + '"a"' + ")" * 50_000), "nested"),
    ],
)
def test_a_wrong_grammar_is_told_with_the_reason_and_the_engine_goes_on(
    engine: LocalEngine, grammar: Grammar, told: str
) -> None:
    id = next(IDS)
    engine.submit(id, PROMPT, grammar=grammar)
    engine.finish(id)
    error = engine.errors[id]
    assert isinstance(error, InvalidInput)
    assert error.param == "grammar"
    assert told in str(error)
    assert len(str(error)) < 600
    assert len(engine.run(next(IDS), PROMPT)) == 16


class Held(Grammars):
    """Compiles when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, VOCABULARY)
        self.began, self.may = Event(), Event()

    @override
    def compile(self, grammar: Grammar, stop_ids: frozenset[int]) -> Matcher:
        self.began.set()
        assert self.may.wait(60)
        return super().compile(grammar, stop_ids)


def test_others_decode_on_while_a_grammar_is_compiled(folder: Path) -> None:
    grammars = Held(folder)
    engine = LocalEngine(folder, grammars)
    engine.submit(1, PROMPT, grammar=Grammar("regex", "[ab]{5}"))
    engine.submit(2, PROMPT, grammar=Grammar("regex", "[ab]{6}"))
    assert len(engine.run(3, PROMPT)) == 16
    assert grammars.began.wait(60)
    engine.tell(Abort(2))
    engine.run(4, PROMPT)
    assert not engine.tokens[1]
    grammars.may.set()
    engine.finish(1)
    assert len(engine.tokens[1]) == 5
    engine.run(5, PROMPT, grammar=Grammar("regex", "[ab]{6}"))  # behind the aborted one
    assert not engine.tokens[2]
    assert engine.steps[-1].cached_tokens == 0


def test_a_grammar_is_compiled_once_and_every_sequence_has_its_own_place(folder: Path) -> None:
    grammars = Grammars(folder, VOCABULARY)
    grammar, ends = Grammar("regex", "ab"), frozenset([END])
    assert grammars.known(grammar, ends) is None
    first = grammars.compile(grammar, ends)
    second = grammars.known(grammar, ends)
    assert second is not None
    a, b = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("ab").ids
    assert [first.take(a), first.take(b), second.take(a), second.take(b)] == [
        False,
        True,
        False,
        True,
    ]
    for number in range(1, 65):
        grammars.compile(Grammar("regex", f"a{{{number}}}"), ends)
    assert grammars.known(grammar, ends) is None  # the one that was asked for longest ago


def test_a_grammar_survives_a_loss_of_the_cache(folder: Path) -> None:
    roomy, tight = LocalEngine(folder), LocalEngine(folder, cache_tokens=512)
    for engine in (roomy, tight):
        for number in range(6):
            engine.submit(
                number, PROMPT[number:], max_tokens=300, grammar=Grammar("regex", "[a-z ]{200}")
            )
        engine.finish(*range(6))
    assert tight.tokens == roomy.tokens
    assert set(tight.reasons.values()) == {"stop"}
    assert max(step.waiting for step in tight.steps) > 0


def test_without_a_tokenizer_there_are_no_grammars(tmp_path: Path) -> None:
    bare = make_model(tmp_path / "m")
    (bare / "tokenizer.json").unlink()
    engine = LocalEngine(bare)
    engine.submit(1, PROMPT, grammar=Grammar("regex", "a"))
    engine.finish(1)
    assert isinstance(engine.errors[1], Unsupported)
    assert len(engine.run(2, PROMPT)) == 16


def test_logits_wider_than_the_tokenizer_are_masked_too(tmp_path: Path) -> None:
    wide = make_model(tmp_path / "m", vocab_size=VOCABULARY + 61)
    engine = LocalEngine(wide)
    tokens = engine.run(
        1, PROMPT, grammar=Grammar("regex", "[ab]{20}"), temperature=5.0, max_tokens=30
    )
    assert re.fullmatch("[ab]{20}", text(wide, tokens))
