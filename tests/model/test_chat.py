import json

import pytest
from transformers import AutoTokenizer

from baigong.errors import InvalidInput, Unsupported
from baigong.model.chat import ChatTokenizer
from baigong.types import Message
from tests.models import END, make_tokenizer

TALK = [
    Message("system", "Be brief."),
    Message("user", "水壶漏水 — can I return it? 🫖\n\n  Two spaces."),
    Message("assistant", "可以。Yes, within 30 days."),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    return make_tokenizer(tmp_path)


@pytest.fixture
def theirs(folder):
    return AutoTokenizer.from_pretrained(folder)


def as_dicts(messages):
    return [{"role": m.role, "content": m.content} for m in messages]


def test_the_rendered_prompt_is_transformers_byte_for_byte(folder, theirs):
    wanted = theirs.apply_chat_template(
        as_dicts(TALK[:2]), tokenize=False, add_generation_prompt=True
    )
    assert ChatTokenizer(folder).render(TALK[:2]).encode() == wanted.encode()


def test_prompt_ids_are_transformers_ids(folder, theirs):
    wanted = theirs.apply_chat_template(as_dicts(TALK[:2]), add_generation_prompt=True)
    assert ChatTokenizer(folder).encode(TALK[:2]) == wanted["input_ids"]


def test_the_answer_mask_is_transformers_mask(folder, theirs):
    wanted = theirs.apply_chat_template(
        as_dicts(TALK), return_dict=True, return_assistant_tokens_mask=True
    )
    ours = ChatTokenizer(folder).encode_training(TALK)
    assert ours.ids == wanted["input_ids"]
    assert [int(x) for x in ours.is_answer] == wanted["assistant_masks"]


def test_without_generation_marks_the_answer_is_what_the_last_turn_adds(folder):
    marked = ChatTokenizer(folder).encode_training(TALK)
    path = folder / "chat_template.jinja"
    plain = path.read_text().replace("{%- generation %}", "").replace("{% endgeneration %}", "")
    path.write_text(plain)
    unmarked = ChatTokenizer(folder).encode_training(TALK)
    assert unmarked.ids == marked.ids
    answer = ChatTokenizer(folder).tokenizer.decode(
        [i for i, is_answer in zip(unmarked.ids, unmarked.is_answer, strict=True) if is_answer],
        skip_special_tokens=False,
    )
    assert answer == TALK[2].content + "<|im_end|>\n"


def test_the_end_of_an_answer_is_trained(folder):
    ours = ChatTokenizer(folder).encode_training(TALK)
    last = max(i for i, is_answer in enumerate(ours.is_answer) if is_answer)
    assert ours.ids[last] == END


def test_eos_comes_from_the_generation_config_first(folder):
    assert ChatTokenizer(folder).eos_ids == {END}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    assert ChatTokenizer(folder).eos_ids == {1, 2}


def test_a_model_without_template_says_what_it_can_do(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Unsupported, match="/v1/completions"):
        ChatTokenizer(folder).encode(TALK)


def test_a_template_cannot_reach_outside(folder):
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(InvalidInput, match="template"):
        ChatTokenizer(folder).encode(TALK)


def test_a_template_that_refuses_is_the_callers_mistake(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidInput, match="roles must alternate"):
        ChatTokenizer(folder).encode(TALK)


def test_reserved_characters_cannot_forge_an_answer(folder):
    with pytest.raises(InvalidInput, match="private-use"):
        ChatTokenizer(folder).encode([Message("user", "\ue0f0")])


def test_special_tokens_in_a_message_stay_text_of_the_message(folder, theirs):
    """As in transformers, a caller may write control tokens; that is why roles are not security."""
    message = [Message("user", "<|im_end|>")]
    wanted = theirs.apply_chat_template(as_dicts(message), add_generation_prompt=True)
    assert ChatTokenizer(folder).encode(message) == wanted["input_ids"]


def with_merged_line_ends(folder):
    """The tokenizer with one more token, two line ends, as many real ones have."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"] = [["Ċ", "Ċ"]]
    del tokenizer["model"]["vocab"]["~"]  # its id is taken by the new one
    tokenizer["model"]["vocab"]["ĊĊ"] = max(
        set(range(256)) - set(tokenizer["model"]["vocab"].values())
    )
    path.write_text(json.dumps(tokenizer))
    return ChatTokenizer(folder)


def test_training_ids_begin_with_the_prompt_that_serving_sends(folder):
    tokenizer = with_merged_line_ends(folder)
    talk = [*TALK[:2], Message("assistant", "\nYes.")]
    prompt = tokenizer.encode(talk[:2])
    trained = tokenizer.encode_training(talk)
    assert trained.ids[: len(prompt)] == prompt
    assert trained.is_answer.index(True) == len(prompt)


def test_a_token_with_an_empty_offset_inside_an_answer_is_trained(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["post_processor"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    path.write_text(json.dumps(tokenizer))
    trained = ChatTokenizer(folder).encode_training([*TALK[:2], Message("assistant", "a  b")])
    first = trained.is_answer.index(True)
    assert trained.is_answer[first : first + 5] == [True] * 5  # a, two spaces, b, the end
