import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baigong.errors import InvalidInput
from baigong.inference.tools import STYLES, Calls, style_of
from baigong.model.chat import ChatTokenizer
from tests.models import make_tokenizer
from tests.templates import teach

HERMES, LLAMA, MISTRAL = (
    next(style for style in STYLES if style.name == name) for name in ("hermes", "llama", "mistral")
)
NAMES = ("get_weather", "now")


def read(style, pieces):
    """(text, [(name, arguments)]) of an answer that came in these pieces."""
    calls = Calls(style, NAMES)
    said, found, ids = [], [], set()
    for text, deltas in (*map(calls.push, pieces), calls.finish()):
        said.append(text)
        for delta in deltas:
            if delta.name is not None:
                assert delta.index == len(found)
                assert re.fullmatch(r"call_[0-9a-f]{24}", delta.id)
                ids.add(delta.id)
                found.append([delta.name, ""])
            found[delta.index][1] += delta.arguments
    assert len(ids) == len(found) == calls.count
    return "".join(said), [tuple(call) for call in found]


def hermes(body):
    return f"<tool_call>\n{body}\n</tool_call>"


CITY = '{"city": "北京 \\"</tool_call>\\" }{", "n": [1, {"k": "\\\\"}]}'
WEATHER = f'{{"name": "get_weather", "arguments": {CITY}}}'
NOW = '{"name": "now", "arguments": {}}'

ANSWERS = [
    (HERMES, hermes(WEATHER), "", [("get_weather", CITY)]),
    (HERMES, f"I look.\n\n{hermes(WEATHER)}\n{hermes(NOW)}", "I look.", ["get_weather", "now"]),
    (HERMES, f"{hermes(NOW)}\nDone.", "Done.", [("now", "{}")]),
    (HERMES, hermes('{"arguments": {"a":1}, "name": "now"}'), "", [("now", '{"a": 1}')]),
    (HERMES, hermes('{"name": "now"}'), "", [("now", "{}")]),
    (HERMES, hermes('{"name":"now","arguments":"{\\"a\\": 1}"}'), "", [("now", '{"a": 1}')]),
    (HERMES, hermes('{"name":"now","arguments":{"a":1},"id":"x}"}'), "", [("now", '{"a":1}')]),
    # What small models forget: the last brace, the end mark.
    (HERMES, hermes('{"name": "now", "arguments": {"a": 1}'), "", [("now", '{"a": 1}')]),
    (HERMES, f"<tool_call>{NOW}", "", [("now", "{}")]),
    # Cut short, or not JSON: the caller sees what there is.
    (HERMES, '<tool_call>\n{"name": "now", "arguments": {"a": "b', "", [("now", '{"a": "b')]),
    (HERMES, hermes('{"name": "now", "arguments": {"a": b}}'), "", [("now", '{"a": b}')]),
    # No calls: plain text, to the last character.
    (HERMES, hermes("today"), None, []),
    (HERMES, hermes('{"name": "other", "arguments": {"a": 1}}'), None, []),
    (HERMES, hermes('{"arguments": {"a": 1}}'), None, []),
    (HERMES, hermes('{"name" "now"}'), None, []),
    (HERMES, "<tool_call>\n{", None, []),
    (HERMES, "Write <tool_cal and { as they are. \n\n", None, []),
    (HERMES, "", None, []),
    (HERMES, hermes("{}") + hermes(NOW), hermes("{}"), [("now", "{}")]),
    (MISTRAL, f"[TOOL_CALLS] [{WEATHER}, {NOW}]", "", ["get_weather", "now"]),
    (MISTRAL, f'[TOOL_CALLS][{NOW[:-1]}, "id": "abcdefgh1"}}]', "", [("now", "{}")]),
    (MISTRAL, f"[TOOL_CALLS]{NOW}", "", [("now", "{}")]),
    (MISTRAL, f"[TOOL_CALLS][{NOW}, today]", ", today]", [("now", "{}")]),
    (MISTRAL, "[1, 2] and [TOOL", None, []),
    (LLAMA, '{"name": "now", "parameters": {"a": 1}}', "", [("now", '{"a": 1}')]),
    (LLAMA, '\n{"type": "function", "name": "now", "parameters": {}}', "", [("now", "{}")]),
    (LLAMA, f"<|python_tag|>{NOW}; {NOW}", "", [("now", "{}"), ("now", "{}")]),
    (LLAMA, '{"name": "Ann", "age": {"years": 3}}', None, []),
    (LLAMA, '{"name": "now", "age": 3}', None, []),
    (LLAMA, f"Hello {NOW}", None, []),
    (LLAMA, "{", None, []),
]


@pytest.mark.parametrize(("style", "answer", "text", "calls"), ANSWERS)
def test_calls_are_taken_out_and_everything_else_is_text(style, answer, text, calls):
    said, found = read(style, [answer])
    assert said == (answer if text is None else text)
    assert [
        call if isinstance(call, tuple) else (call, dict(found)[call]) for call in calls
    ] == found


@given(data=st.data())
def test_any_pieces_give_the_same_calls(data):
    style, answer, _, _ = data.draw(st.sampled_from(ANSWERS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)))))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert read(style, pieces) == read(style, [answer])


PARTS = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", WEATHER, NOW, "[", "]"]
PARTS += ["{", "}", '"', "\\", ",", ";", "\n", " ", "a", '{"name": "now", "arguments": ', '"name"']


@given(
    style=st.sampled_from(STYLES),
    parts=st.lists(st.sampled_from(PARTS), max_size=12),
    data=st.data(),
)
def test_any_pieces_of_any_text_give_the_same_calls(style, parts, data):
    answer = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=20)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert read(style, pieces) == read(style, [answer])
    assert read(style, list(answer)) == read(style, [answer])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    style=st.sampled_from(STYLES),
    arguments=st.dictionaries(st.text(), json_values),
    before=st.text(st.characters(exclude_characters="<[{", categories=["L", "N", "P"])),
    ascii=st.booleans(),
)
def test_whatever_the_arguments_are_they_come_back(style, arguments, before, ascii):
    written = json.dumps({"name": "now", style.key: arguments}, ensure_ascii=ascii)
    said, found = read(style, list(f"{before}{style.begin}{written}{style.end}"))
    assert said == before
    assert [(name, json.loads(text)) for name, text in found] == [("now", arguments)]


def test_text_comes_at_once_and_a_name_before_its_arguments():
    calls = Calls(HERMES, NAMES)
    assert calls.push("I look <") == ("I look", ())
    assert calls.push("b> ") == (" <b>", ())
    assert calls.push("<tool_call>") == ("", ())
    assert calls.push('\n{"name": "now", "arguments":') == ("", ())
    text, deltas = calls.push(' {"a')
    assert (text, [(d.name, d.arguments) for d in deltas]) == ("", [("now", ""), (None, '{"a')])
    text, deltas = calls.push('": 1')
    assert (text, [d.arguments for d in deltas]) == ("", ['": 1'])
    assert not calls.is_between
    calls.push("}}")
    assert calls.is_between


@pytest.mark.parametrize(
    ("family", "style"), [("qwen", "hermes"), ("llama", "llama"), ("mistral", "mistral")]
)
def test_the_template_tells_the_style(tmp_path, family, style):
    assert style_of(ChatTokenizer(teach(make_tokenizer(tmp_path), family))).name == style


@pytest.mark.parametrize("family", ["plain", "deep"])
def test_a_model_that_was_taught_no_tools_is_refused_with_a_remedy(tmp_path, family):
    with pytest.raises(InvalidInput, match="whose template takes `tools`") as caught:
        style_of(ChatTokenizer(teach(make_tokenizer(tmp_path), family)))
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_parameter")


def test_a_way_of_writing_calls_that_shares_only_its_mark_is_not_mistaken(tmp_path):
    folder = make_tokenizer(tmp_path)
    template = "{{ tools }}<tool_call>\n<function=f>\n<parameter=a>\n1"
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(InvalidInput, match="not known here"):
        style_of(ChatTokenizer(folder))
