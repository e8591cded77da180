"""Tools and reasoning through a model's own template: the bytes that transformers makes."""

import pytest
from transformers import AutoTokenizer

from baigong.errors import InvalidInput
from baigong.model.chat import ChatTokenizer, tool_object
from baigong.types import Message, Tool, ToolCall
from tests.models import make_tokenizer
from tests.templates import teach

TOOLS = (
    Tool(
        "get_weather",
        '查天气 — "now" & <later>',
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    ),
    Tool("now"),
)
ARGUMENTS = {"city": '北京 "海淀" \\ <b>', "days": [1, 2.5, None, {"deep": True}]}
TEXT = '{"city": "北京 \\"海淀\\" \\\\ <b>", "days": [1, 2.5, null, {"deep": true}]}'
TALK = [
    Message("system", "Be brief."),
    Message("user", "Weather?"),
    Message(
        "assistant", "", (ToolCall("abcdefgh1", "get_weather", TEXT),), reasoning="Look it up."
    ),
    Message("tool", "晴, 21°", tool_call_id="abcdefgh1", name="get_weather"),
]
THEIRS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Look it up.",
        "tool_calls": [
            {
                "id": "abcdefgh1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": ARGUMENTS},
            }
        ],
    },
    {"role": "tool", "content": "晴, 21°", "tool_call_id": "abcdefgh1", "name": "get_weather"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    return make_tokenizer(tmp_path)


@pytest.mark.parametrize("family", ["qwen", "llama", "mistral", "plain"])
@pytest.mark.parametrize("turns", [2, 4])
@pytest.mark.parametrize("has_tools", [True, False])
def test_tools_and_calls_are_rendered_as_transformers_does(folder, family, turns, has_tools):
    teach(folder, family)
    tools = TOOLS if has_tools else ()
    wanted = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        THEIRS[:turns],
        tools=[tool_object(tool) for tool in tools] or None,
        tokenize=False,
        add_generation_prompt=True,
    )
    ours = ChatTokenizer(folder).render(TALK[:turns], tools=tools)
    assert ours.encode() == wanted.encode()
    # An `is defined` in front of a variable does not hide that the template reads it.
    assert ("tools" in ChatTokenizer(folder).reads) == (family != "plain")


@pytest.mark.parametrize("options", [{}, {"enable_thinking": False}, {"enable_thinking": True}])
def test_thinking_is_switched_as_in_transformers(folder, options):
    teach(folder, "qwen")
    wanted = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        THEIRS, tokenize=False, add_generation_prompt=True, **options
    )
    assert ChatTokenizer(folder).render(TALK, options=options) == wanted


def test_a_template_that_joins_arguments_gets_them_as_text(folder):
    teach(folder, "deep")
    assert f"get_weather:{TEXT}" in ChatTokenizer(folder).render(TALK)


def test_broken_arguments_of_an_earlier_turn_reach_the_model_as_they_were(folder):
    teach(folder, "qwen")
    broken = [Message("user", "?"), Message("assistant", "", (ToolCall("1", "now", '{"a": '),))]
    assert '"arguments": {"a": }' in ChatTokenizer(folder).render(broken)


def test_ids_of_any_form_pass_a_template_that_wants_nine_letters(folder):
    teach(folder, "mistral")
    tokenizer = ChatTokenizer(folder)
    calls = (ToolCall("call_0123456789abcdef", "now", "{}"), ToolCall("x", "now", "{}"))
    talk = [
        Message("user", "?"),
        Message("assistant", "", calls),
        Message("tool", "1", tool_call_id="x"),
    ]
    text = tokenizer.render(talk)
    ids = [part.partition('"')[0] for part in text.split('"id": "')[1:]]
    assert len(set(ids)) == 2
    assert text.endswith(f'"call_id": "{ids[1]}"}}[/TOOL_RESULTS]')


def test_a_template_of_its_own_for_tools_is_used_when_there_are_some(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(
        "with {{ tools | length }}"
    )
    theirs = AutoTokenizer.from_pretrained(folder)
    tokenizer = ChatTokenizer(folder)
    wanted = theirs.apply_chat_template(THEIRS[:2], tools=[tool_object(TOOLS[1])], tokenize=False)
    assert tokenizer.render(TALK[:2], tools=TOOLS[1:]) == wanted == "with 1"
    assert "with" not in tokenizer.render(TALK[:2])


@pytest.mark.parametrize("name", ["enable_thinkin", "messages", "tools", "bos_token"])
def test_an_option_that_the_template_does_not_take_is_named_with_those_it_takes(folder, name):
    teach(folder, "qwen")
    with pytest.raises(InvalidInput, match="It takes: enable_thinking") as caught:
        ChatTokenizer(folder).render(TALK, options={name: True})
    assert caught.value.param == f"chat_template_kwargs.{name}"


def test_reserved_characters_cannot_hide_in_a_call(folder):
    call = ToolCall("1", "now", '{"a": "\ue0f0"}')
    with pytest.raises(InvalidInput, match="private-use"):
        ChatTokenizer(folder).encode_training([Message("assistant", "", (call,))])
