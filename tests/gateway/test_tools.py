"""Tools and reasoning over the wire, with OpenAI's own client."""

import json

import openai
import pytest

from tests.gateway.scripted import Stage
from tests.servers import serving

ASKED = [{"role": "user", "content": "Weather in Beijing, and the time?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "查天气",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
TOOLS = [WEATHER, NOW]
CITY = '{"city": "北京 \\"海淀\\""}'
CALLS = {
    "qwen": f'<tool_call>\n{{"name": "get_weather", "arguments": {CITY}}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    "mistral": f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {CITY}}}, '
    '{"name": "now", "arguments": {}}]',
    "llama": f'<|python_tag|>{{"name": "get_weather", "parameters": {CITY}}}; '
    '{"name": "now", "parameters": {}}',
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage.open(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="module")
def url(stage):
    with serving(stage.platform) as found:
        yield found


def ask(client, family, **given):
    given = {"messages": ASKED, "tools": TOOLS, **given}
    return client.chat.completions.create(model=f"tests/{family}", **given)


def told(message):
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or []]


@pytest.mark.parametrize("family", CALLS)
def test_parallel_calls_come_back_with_ids_whole_and_streamed(client, stage, family):
    stage.engine(family).script = CALLS[family]
    choice = ask(client, family).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert told(choice.message) == [("get_weather", CITY), ("now", "{}")]
    assert len({call.id for call in choice.message.tool_calls}) == 2
    assert all(call.id.startswith("call_") for call in choice.message.tool_calls)

    chunks = [chunk.choices[0] for chunk in ask(client, family, stream=True)]
    pieces = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
    heads = [piece for piece in pieces if piece.id]
    assert [(p.index, p.type, p.function.name) for p in heads] == [
        (0, "function", "get_weather"),
        (1, "function", "now"),
    ]
    arguments = ["".join(p.function.arguments for p in pieces if p.index == i) for i in (0, 1)]
    assert arguments == [CITY, "{}"]
    assert sum(p.index == 0 for p in pieces) > 5  # they come as they are made
    assert not any(chunk.delta.content for chunk in chunks)
    assert chunks[-1].finish_reason == "tool_calls"


def test_the_clients_stream_helper_puts_calls_together(client, stage):
    stage.engine("qwen").script = f"<think>\nHm.\n</think>\n\nI look.\n{CALLS['qwen']}"
    with client.chat.completions.stream(model="tests/qwen", messages=ASKED, tools=TOOLS) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        message = stream.get_final_completion().choices[0].message
    assert [(event.name, event.arguments) for event in done] == told(message)
    assert told(message) == [("get_weather", CITY), ("now", "{}")]
    assert message.content == "I look."


def test_a_conversation_with_calls_goes_back_into_the_template(client, stage):
    engine = stage.engine("qwen")
    engine.script = CALLS["qwen"]
    message = ask(client, "qwen").choices[0].message
    engine.script = "晴。"
    history = [
        *ASKED,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "晴"},
        {"role": "tool", "tool_call_id": message.tool_calls[1].id, "content": "12:00"},
    ]
    reply = ask(client, "qwen", messages=history)
    assert reply.choices[0].message.content == "晴。"
    assert reply.choices[0].finish_reason == "stop"
    assert f"<|im_start|>assistant\n{CALLS['qwen']}<|im_end|>" in engine.prompt
    assert "<tool_response>\n晴\n</tool_response>\n<tool_response>\n12:00" in engine.prompt
    assert json.dumps(WEATHER, ensure_ascii=False) in engine.prompt


@pytest.mark.parametrize("arguments", ['{"city": "Paris"}', {"city": "Paris"}])
def test_arguments_in_the_history_may_be_text_or_an_object(client, stage, arguments):
    engine = stage.engine("llama")
    engine.script = "Sunny."
    call = {"id": "x", "type": "function"}
    call["function"] = {"name": "get_weather", "arguments": arguments}
    history = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "x", "content": "sun"},
    ]
    assert ask(client, "llama", extra_body={"messages": history}).choices[0].message.content
    assert '{"name": "get_weather", "parameters": {"city": "Paris"}}' in engine.prompt


def test_what_is_no_call_is_never_lost(client, stage):
    script = 'See <tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>.'
    stage.engine("qwen").script = script
    choice = ask(client, "qwen").choices[0]
    assert (choice.message.content, choice.finish_reason) == (script, "stop")
    streamed = ask(client, "qwen", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == script


def test_a_call_that_is_cut_short_says_length(client, stage):
    stage.engine("qwen").script = CALLS["qwen"]
    choice = ask(client, "qwen", max_tokens=46).choices[0]
    assert choice.finish_reason == "length"
    arguments = choice.message.tool_calls[0].function.arguments
    assert arguments
    assert CITY.startswith(arguments)


def test_none_hides_the_tools_and_leaves_the_text_alone(client, stage):
    engine = stage.engine("qwen")
    engine.script = CALLS["qwen"]
    choice = ask(client, "qwen", tool_choice="none").choices[0]
    assert choice.message.content == engine.script
    assert choice.message.tool_calls is None
    assert "get_weather" not in engine.prompt


def test_without_parallel_calls_the_first_ends_the_answer_and_the_work(client, stage):
    engine = stage.engine("qwen")
    engine.script = CALLS["qwen"] + "x" * 1000
    choice = ask(client, "qwen", parallel_tool_calls=False).choices[0]
    assert told(choice.message) == [("get_weather", CITY)]
    assert choice.finish_reason == "tool_calls"
    assert engine.said < 150


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ("required", ["get_weather", "now"]),
        ({"type": "function", "function": {"name": "now"}}, ["now"]),
        ("auto", []),
    ],
)
def test_a_forced_choice_brings_a_grammar(client, stage, choice, forced):
    engine = stage.engine("qwen")
    engine.script = CALLS["qwen"]
    assert ask(client, "qwen", tool_choice=choice).choices[0].finish_reason == "tool_calls"
    grammar = engine.sampling.grammar
    assert (grammar is None) == (not forced)
    if forced:
        assert grammar.kind == "lark"
        allowed = [name for name in ("get_weather", "now") if f'\\"{name}\\"' in grammar.source]
        assert allowed == forced


THOUGHT = "<think>\nHm, 二 < 3.\n</think>\n\nYes."


@pytest.mark.parametrize(
    ("family", "script"), [("qwen", THOUGHT), ("deep", THOUGHT.removeprefix("<think>\n"))]
)
def test_thoughts_stand_beside_the_answer_and_are_counted(client, stage, family, script):
    stage.engine(family).script = script
    reply = client.chat.completions.create(model=f"tests/{family}", messages=ASKED)
    message = reply.choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm, 二 < 3.", "Yes.")
    spent = reply.usage.completion_tokens_details.reasoning_tokens
    assert 0 < spent < reply.usage.completion_tokens

    given = {"model": f"tests/{family}", "messages": ASKED, "stream": True}
    chunks = list(client.chat.completions.create(**given, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    assert "".join(thoughts) == "Hm, 二 < 3."
    assert sum(map(bool, thoughts)) > 3
    assert "".join(delta.content or "" for delta in deltas) == "Yes."
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == spent


def test_thoughts_of_an_earlier_turn_go_back_to_the_template(client, stage):
    engine = stage.engine("qwen")
    engine.script = f"<think>\nLook it up.\n</think>\n\n{CALLS['qwen']}"
    message = ask(client, "qwen").choices[0].message
    assert message.reasoning_content == "Look it up."
    answered = [
        {"role": "tool", "tool_call_id": call.id, "content": "?"} for call in message.tool_calls
    ]
    ask(client, "qwen", messages=[*ASKED, message.model_dump(exclude_none=True), *answered])
    assert f"<|im_start|>assistant\n{engine.script}<|im_end|>" in engine.prompt


@pytest.mark.parametrize(
    "given",
    [
        {"reasoning_effort": "none"},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    ],
)
def test_thinking_can_be_turned_off_where_the_template_can(client, stage, given):
    engine = stage.engine("qwen")
    engine.script = "Yes."
    reply = client.chat.completions.create(model="tests/qwen", messages=ASKED, **given)
    assert reply.choices[0].message.content == "Yes."
    assert reply.usage.completion_tokens_details is None
    assert engine.prompt.endswith("<think>\n\n</think>\n\n")


def _call(**changes):
    call = {"id": "x", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    return {**call, **changes}


@pytest.mark.parametrize(
    ("family", "wrong", "param", "said"),
    [
        ("plain", {}, "tools", "taught no tools"),
        ("qwen", {"tool_choice": {"type": "function", "function": {"name": "nwo"}}}, "tool_choice", "'nwo'"),
        ("qwen", {"tool_choice": "always"}, "tool_choice", '"always"'),
        ("qwen", {"tool_choice": "required", "tools": []}, "tool_choice", "no tools"),
        ("qwen", {"tools": [NOW, NOW]}, "tools[1].function.name", "another tool"),
        ("qwen", {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", '"a b"'),
        ("qwen", {"tools": [{"type": "function", "function": {"name": "é"}}]}, "tools[0].function.name", "letters"),
        ("qwen", {"tools": [{"type": "function", "function": {"name": "a" * 65}}]}, "tools[0].function.name", "64"),
        ("qwen", {"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type", "custom"),
        ("qwen", {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing"),
        ("qwen", {"tools": [NOW] * 129}, "tools", "129"),
        ("qwen", {"functions": [{"name": "now"}]}, "functions", "functions"),
        ("qwen", {"function_call": {"name": "now"}}, "function_call", "function_call"),
        ("qwen", {"chat_template_kwargs": {"thinking": 1}}, "chat_template_kwargs.thinking", "enable_thinking"),
        ("deep", {"tools": [], "reasoning_effort": "none"}, "reasoning_effort", "always reasons"),
        ("qwen", {"reasoning_effort": "huge"}, "reasoning_effort", '"huge"'),
        ("qwen", {"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id", "null"),
        ("qwen", {"messages": [{"role": "tool", "content": "1", "tool_call_id": "y"}]}, "messages[0].tool_call_id", '"y"'),
        ("qwen", {"messages": [{"role": "user", "tool_calls": [_call()]}]}, "messages[0].tool_calls", "user"),
        (
            "qwen",
            {"messages": [{"role": "assistant", "tool_calls": [_call(type="custom", function=None)]}]},
            "messages[0].tool_calls[0].type",
            "custom",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named_with_its_value(client, family, wrong, param, said):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, family, extra_body=wrong)
    assert caught.value.param == param
    assert said in caught.value.message


def test_a_model_without_tools_still_answers_without_them(client, stage):
    stage.engine("plain").script = "<tool_call> is a mark."
    for given in ({"tools": []}, {"tool_choice": "none"}):
        message = ask(client, "plain", **given).choices[0].message
        assert message.content == "<tool_call> is a mark."
