import pytest
from hypothesis import given
from hypothesis import strategies as st

from baigong.errors import InvalidInput
from baigong.inference.reasoning import MARKS, Thoughts, effort_options, marks_of
from baigong.model.chat import ChatTokenizer
from tests.models import make_tokenizer
from tests.templates import DEEP, PLAIN, QWEN, teach

THINK = MARKS[0]


def read(pieces, prompt=""):
    thoughts = Thoughts(THINK, prompt)
    parts = [*map(thoughts.push, pieces), thoughts.finish()]
    return "".join(p[0] for p in parts), "".join(p[1] for p in parts)


ANSWERS = [
    ("", "<think>\nI  see.\n\nSo.\n</think>\n\nYes.\n", ("I  see.\n\nSo.", "Yes.\n")),
    ("", "\n<think></think>Yes", ("", "Yes")),
    ("", "Yes, <think>no</think>", ("", "Yes, <think>no</think>")),
    ("", " Yes", ("", " Yes")),
    ("", "<thin", ("", "<thin")),
    ("", "<think>cut </thi", ("cut </thi", "")),
    ("", "", ("", "")),
    ("<think>\n", "I see.\n</think>\n\n2 < 3", ("I see.", "2 < 3")),
    ("<think>\n", "<think>\nI see.</think>Yes", ("I see.", "Yes")),
    ("<think>\n", "cut", ("cut", "")),
    ("<think>\n", "<thi", ("<thi", "")),
    ("<think>\n\n</think>\n\n", "Yes. </think>", ("", "Yes. </think>")),
    ("", "<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
]


@pytest.mark.parametrize(("prompt", "answer", "wanted"), ANSWERS)
def test_thoughts_are_split_from_the_answer(prompt, answer, wanted):
    assert read([answer], prompt) == wanted


@given(data=st.data())
def test_any_pieces_give_the_same_split(data):
    prompt, answer, wanted = data.draw(st.sampled_from(ANSWERS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)))))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert read(pieces, prompt) == wanted


def test_thoughts_come_at_once():
    thoughts = Thoughts(THINK, "")
    assert thoughts.push("<think>\n") == ("", "")
    assert thoughts.push("I see") == ("I see", "")
    assert thoughts.push(" it.") == (" it.", "")


def test_a_template_tells_whether_its_model_thinks():
    assert marks_of(QWEN) == marks_of(DEEP) == THINK
    assert marks_of(PLAIN) is None


@pytest.mark.parametrize(
    ("family", "effort", "options"),
    [
        ("qwen", "none", {"enable_thinking": False}),
        ("qwen", "high", {"enable_thinking": True}),
        ("deep", "high", {}),
        ("plain", "none", {}),
    ],
)
def test_effort_is_put_into_the_templates_own_words(tmp_path, family, effort, options):
    tokenizer = ChatTokenizer(teach(make_tokenizer(tmp_path), family))
    assert effort_options(effort, tokenizer) == options


def test_a_template_that_knows_efforts_is_told_it(tmp_path):
    folder = make_tokenizer(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ reasoning_effort }}")
    assert effort_options("low", ChatTokenizer(folder)) == {"reasoning_effort": "low"}


@pytest.mark.parametrize(
    ("family", "effort", "told"),
    [("deep", "none", "always reasons"), ("plain", "low", "does not reason")],
)
def test_an_effort_that_the_model_cannot_make_is_refused(tmp_path, family, effort, told):
    tokenizer = ChatTokenizer(teach(make_tokenizer(tmp_path), family))
    with pytest.raises(InvalidInput, match=told) as caught:
        effort_options(effort, tokenizer)
    assert caught.value.param == "reasoning_effort"
