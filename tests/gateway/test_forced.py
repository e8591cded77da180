"""A forced tool call, made by a real engine on random weights: only the grammar can make it right."""

import json

import jsonschema
import openai
import pytest

from baigong.app import Platform
from baigong.config import Settings
from tests.models import make_model
from tests.servers import serving
from tests.templates import FAMILIES, teach

ASKED = [{"role": "user", "content": "Weather?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/city"},
        "days": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"city": {"type": "string", "enum": ["北京", 'say "hi"']}},
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {
        "type": "function",
        "function": {"name": "now", "parameters": {"additionalProperties": False}},
    },
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    home = tmp_path_factory.mktemp("forced")
    platform = Platform.open(Settings(home=home, cache_mb=64, threads=1))
    for family in FAMILIES:
        folder = make_model(home / family, vocab_size=288, max_position_embeddings=2048)
        platform.hub.add("model", f"tests/{family}", teach(folder, family), {})
    with serving(platform) as found:
        yield found


def ask(client, family, **given):
    given = {"messages": ASKED, "tools": TOOLS, "parallel_tool_calls": False, **given}
    if family == "qwen":
        given["reasoning_effort"] = "none"  # random thoughts have no end
    return client.chat.completions.create(model=f"tests/{family}", max_tokens=200, **given)


def check(call):
    arguments = json.loads(call.function.arguments)
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    jsonschema.validate(arguments, schemas[call.function.name])


@pytest.mark.parametrize("family", ["qwen", "llama", "mistral"])
@pytest.mark.parametrize("seed", [1, 2])
def test_required_makes_a_call_that_fits_its_schema(client, family, seed):
    reply = ask(client, family, tool_choice="required", temperature=1.0, seed=seed, n=2)
    for choice in reply.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        [call] = choice.message.tool_calls
        check(call)


@pytest.mark.parametrize("family", ["qwen", "llama", "mistral"])
@pytest.mark.parametrize("name", ["get_weather", "now"])
def test_a_named_tool_is_called(client, family, name):
    choice = {"type": "function", "function": {"name": name}}
    [call] = ask(client, family, tool_choice=choice).choices[0].message.tool_calls
    assert call.function.name == name
    check(call)


def test_a_schema_that_cannot_be_used_is_laid_to_tools(client):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/$defs/none"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "llama", tools=[tool], tool_choice="required")
    assert caught.value.param == "tools"
