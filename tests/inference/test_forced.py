import re

import pytest

llguidance = pytest.importorskip("llguidance")

from baigong.inference.forced import forced_grammar  # noqa: E402
from baigong.inference.reasoning import Thoughts, marks_of  # noqa: E402
from baigong.inference.tools import Calls, style_of  # noqa: E402
from baigong.model.chat import ChatTokenizer  # noqa: E402
from baigong.types import Message, Tool, ToolUse  # noqa: E402
from tests.models import make_tokenizer  # noqa: E402
from tests.templates import QWEN, teach  # noqa: E402

SCHEMA = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"city": {"type": "string", "enum": ["北京", 'say "hi"']}},
}
TOOLS = (Tool("get_weather", None, SCHEMA), Tool("now"), Tool("secret"))
USE = ToolUse(TOOLS, ("get_weather", "now"))
ALONE = ToolUse(TOOLS, ("get_weather", "now"), is_parallel=False)
WEATHER = '{"name": "get_weather", "arguments": {"city": "北京", "days": 2}}'
QUOTED = '{"name": "get_weather", "arguments": {"city": "say \\"hi\\""}}'
NOW = '{"name": "now", "arguments": {}}'


def hermes(body):
    return f"<tool_call>\n{body}\n</tool_call>"


def prepared(tmp_path, family, use, **options):
    folder = teach(make_tokenizer(tmp_path), family)
    tokenizer = ChatTokenizer(folder)
    prompt = tokenizer.render([Message("user", "?")], tools=TOOLS, options=options)
    marks, style = marks_of(tokenizer.template_text), style_of(tokenizer)
    thoughts = None if marks is None else Thoughts(marks, prompt)
    return tokenizer, forced_grammar(style, use, thoughts, tokenizer)


def accepts(tokenizer, grammar, answer):
    known = llguidance.LLTokenizer(str(tokenizer.folder / "tokenizer.json"))
    matcher = llguidance.LLMatcher(known, grammar.source)
    assert not matcher.get_error()
    ids = tokenizer.encode_text(answer)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


RIGHT = [
    ("qwen", USE, hermes(WEATHER)),
    ("qwen", USE, hermes(QUOTED)),
    ("qwen", USE, f"{hermes(NOW)}\n{hermes(WEATHER)}"),
    ("qwen", USE, f"<think>\n二 < 3\n</think>\n\n{hermes(NOW)}"),
    ("qwen", ALONE, hermes(WEATHER)),
    ("llama", USE, WEATHER.replace("arguments", "parameters")),
    ("mistral", USE, f"[TOOL_CALLS][{WEATHER}]"),
    ("mistral", USE, f"[TOOL_CALLS][{WEATHER}, {NOW}]"),
    ("mistral", ALONE, f"[TOOL_CALLS][{NOW}]"),
]
WRONG = [
    ("qwen", USE, "Hello"),
    ("qwen", USE, hermes(NOW.replace("now", "secret"))),
    ("qwen", USE, hermes(WEATHER.replace("北京", "Paris"))),
    ("qwen", USE, hermes(WEATHER.replace(", ", " ,   "))),
    ("qwen", USE, f"<think>\n</think>\n\nHello {hermes(NOW)}"),
    ("qwen", ALONE, f"{hermes(NOW)}\n{hermes(WEATHER)}"),
    ("llama", USE, NOW),
    ("mistral", USE, f"[{NOW}]"),
    ("mistral", ALONE, f"[TOOL_CALLS][{WEATHER}, {NOW}]"),
]


@pytest.mark.parametrize(("family", "use", "answer"), RIGHT)
def test_a_forced_answer_may_be_a_call_and_is_read_as_one(tmp_path, family, use, answer):
    tokenizer, grammar = prepared(tmp_path, family, use)
    assert accepts(tokenizer, grammar, answer)
    calls = Calls(style_of(tokenizer), [tool.name for tool in TOOLS])
    calls.push(answer.rpartition("</think>")[2].lstrip())
    assert calls.count == len(re.findall('"name"', answer))


@pytest.mark.parametrize(("family", "use", "answer"), WRONG)
def test_a_forced_answer_can_be_nothing_else(tmp_path, family, use, answer):
    assert not accepts(*prepared(tmp_path, family, use), answer)


def test_a_model_told_not_to_think_cannot(tmp_path):
    asked = prepared(tmp_path, "qwen", USE, enable_thinking=False)
    assert accepts(*asked, hermes(NOW))
    assert not accepts(*asked, f"<think>\n</think>\n\n{hermes(NOW)}")


def test_thoughts_that_the_prompt_has_begun_come_first(tmp_path):
    tokenizer, _ = prepared(tmp_path, "qwen", USE)
    thoughts = Thoughts(marks_of(QWEN), "<think>\n")
    grammar = forced_grammar(style_of(tokenizer), USE, thoughts, tokenizer)
    assert accepts(tokenizer, grammar, f"So.</think>\n\n{hermes(NOW)}")
    assert not accepts(tokenizer, grammar, hermes(NOW))


def test_marks_that_are_special_tokens_are_named_by_id(tmp_path):
    path = teach(make_tokenizer(tmp_path), "qwen") / "tokenizer.json"
    path.write_text(path.read_text().replace('"special": false', '"special": true'))
    tokenizer = ChatTokenizer(tmp_path)
    marks = marks_of(tokenizer.template_text)
    special = tokenizer.shown([*marks, *style_of(tokenizer).marks])
    assert set(special.values()) == {"<think>", "</think>", "<tool_call>", "</tool_call>"}
    grammar = forced_grammar(style_of(tokenizer), USE, Thoughts(marks, ""), tokenizer)
    for answer in (hermes(NOW), f"<think>so</think>\n{hermes(WEATHER)}\n{hermes(NOW)}"):
        assert accepts(tokenizer, grammar, answer)
    assert not accepts(tokenizer, grammar, hermes("{}"))


def test_marks_of_several_tokens_are_spelt_out(tmp_path):
    tokenizer = ChatTokenizer(make_tokenizer(tmp_path))
    (tmp_path / "chat_template.jinja").write_text(QWEN)
    thoughts = Thoughts(marks_of(tokenizer.template_text), "")
    grammar = forced_grammar(style_of(tokenizer), USE, thoughts, tokenizer)
    for answer in (hermes(NOW), f"<think>so</think>\n{hermes(WEATHER)}\n{hermes(NOW)}"):
        assert accepts(tokenizer, grammar, answer)
