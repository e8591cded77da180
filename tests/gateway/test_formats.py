"""Answers held to a schema, as OpenAI's client asks for them."""

import asyncio
import json
import re
from typing import Literal

import openai
import pydantic
import pytest

from tests.servers import MODEL, settled

HELLO = [{"role": "user", "content": "Hello"}]


class Ticket(pydantic.BaseModel):
    priority: Literal["low", "高"]
    count: int = pydantic.Field(ge=0, le=99)
    model_config = pydantic.ConfigDict(extra="forbid")
    labels: list[Literal["a", "b"]] = pydantic.Field(max_length=3)


def test_the_clients_own_parse_gets_its_object(client):
    for seed in range(3):
        reply = client.chat.completions.parse(
            model="support",
            messages=HELLO,
            response_format=Ticket,
            max_tokens=200,
            temperature=1.5,
            seed=seed,
        )
        assert isinstance(reply.choices[0].message.parsed, Ticket)
        assert reply.choices[0].finish_reason == "stop"


def test_a_stream_of_a_schema_joins_to_the_whole_object(client):
    schema = {"name": "ticket", "schema": Ticket.model_json_schema()}
    stream = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": schema},
        max_tokens=200,
        stream=True,
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    Ticket.model_validate_json(text)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_any_object_begins_as_one(client):
    reply = client.chat.completions.create(
        model=MODEL, messages=HELLO, response_format={"type": "json_object"}, max_tokens=30
    )
    assert reply.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ({"regex": "[ab]{3}-[0-9]"}, "[ab]{3}-[0-9]"),
        ({"choice": ['say "yes"', "no\n"]}, '(say "yes"|no\n)'),
        ({"json": {"type": "boolean"}}, "true|false"),
        ({"json": '{"enum": ["x"]}'}, '"x"'),
        ({"grammar": 'start: "a" /[xy]/'}, "a[xy]"),
    ],
)
def test_vllms_words_for_it_hold_too_in_chats_and_completions(client, asked, pattern):
    extra = {"structured_outputs": asked}
    chat = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=40, extra_body=extra
    )
    plain = client.completions.create(model=MODEL, prompt="a", max_tokens=40, extra_body=extra)
    assert re.fullmatch(pattern, chat.choices[0].message.content)
    assert re.fullmatch(pattern, plain.choices[0].text)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("wrong", "param", "told"),
    [
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "strin"}},
                }
            },
            "response_format",
            "strin",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
            "missing",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type", '"xml"'),
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs", "unclosed group"),
        ({"structured_outputs": {"regex": "a", "json_object": True}}, "structured_outputs", "2"),
        ({"structured_outputs": {}}, "structured_outputs", "0"),
        (
            {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
            "structured_outputs",
            "both",
        ),
    ],
)
def test_a_format_that_cannot_be_used_is_told_before_any_byte(client, wrong, param, told, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=5, stream=stream, extra_body=wrong
        )
    assert caught.value.param == param
    assert told in caught.value.message


def test_many_formats_at_once_each_keep_to_theirs(url, platform):
    async def ask(client, i):
        reply = await client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            max_tokens=60,
            temperature=1.0,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "one", "schema": {"enum": [f"answer {i}", i]}},
            },
        )
        return json.loads(reply.choices[0].message.content)

    async def main():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            return await asyncio.gather(*(ask(client, i) for i in range(12)))

    for i, answer in enumerate(asyncio.run(main())):
        assert answer in (f"answer {i}", i)
    settled(platform)
