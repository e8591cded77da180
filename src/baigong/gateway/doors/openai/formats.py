"""What an answer must look like, as OpenAI's clients and vLLM's say it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Literal, TypeVar

import msgspec

from baigong.errors import InvalidInput
from baigong.types import Grammar

T = TypeVar("T")

_ANY_OBJECT = '{"type":"object"}'


class JsonSchema(msgspec.Struct, frozen=True):
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None  # the answer is held to the schema either way


class ResponseFormat(msgspec.Struct, frozen=True):
    """OpenAI's."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """vLLM's: exactly one of these. `grammar` is in Lark."""

    json: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None


def grammar_of(
    response_format: ResponseFormat | None, structured: StructuredOutputs | None
) -> Grammar | None:
    """The grammar that a request asks for, if it does.

    Raises:
        InvalidInput: it asks for several, or leaves out which.
    """
    grammar = None if response_format is None else _of_format(response_format)
    if structured is None:
        return grammar
    if grammar is not None:
        raise InvalidInput(
            "response_format and structured_outputs both say what the answer must look like.",
            hint="Send one of them.",
            param="structured_outputs",
        )
    return _of_structured(structured)


async def naming(field: str, work: Awaitable[T]) -> T:
    """The result of `work`; a grammar that cannot be used is laid to the field it came in."""
    try:
        return await work
    except InvalidInput as error:
        if error.param == "grammar":
            error.param = field
            error.message = f"{field}: {error.message}"
        raise


def _of_format(asked: ResponseFormat) -> Grammar | None:
    if asked.type == "text":
        return None
    if asked.type == "json_object":
        return Grammar("json_schema", _ANY_OBJECT)
    if asked.json_schema is None or asked.json_schema.schema is None:
        raise InvalidInput(
            "The field 'response_format.json_schema.schema' is missing.",
            param="response_format.json_schema.schema",
        )
    return Grammar("json_schema", _json(asked.json_schema.schema))


def _of_structured(asked: StructuredOutputs) -> Grammar:
    found: list[Grammar] = []
    if asked.json is not None:
        found.append(Grammar("json_schema", _json(asked.json)))
    if asked.regex is not None:
        found.append(Grammar("regex", asked.regex))
    if asked.choice:
        # Lark writes its strings as JSON does.
        words = " | ".join(msgspec.json.encode(choice).decode() for choice in asked.choice)
        found.append(Grammar("lark", f"start: {words}"))
    if asked.grammar is not None:
        found.append(Grammar("lark", asked.grammar))
    if asked.json_object:
        found.append(Grammar("json_schema", _ANY_OBJECT))
    if len(found) != 1:
        raise InvalidInput(
            f"structured_outputs: expected one of json, regex, choice, grammar and json_object, "
            f"got {len(found)}.",
            param="structured_outputs",
        )
    return found[0]


def _json(schema: str | dict[str, Any]) -> str:
    return schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()
