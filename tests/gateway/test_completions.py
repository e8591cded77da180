import openai
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from tests.servers import MODEL, settled


def test_a_text_is_gone_on_with(client):
    reply = client.completions.create(model=MODEL, prompt="ab", max_tokens=4)
    assert reply.choices[0].text
    assert reply.usage.prompt_tokens == 2
    assert reply.usage.completion_tokens == 4


def test_sixteen_tokens_unless_said_otherwise_as_at_openai(client):
    assert client.completions.create(model=MODEL, prompt="a").usage.completion_tokens == 16


def test_the_four_forms_of_a_prompt_agree(client):
    def texts(prompt):
        reply = client.completions.create(model=MODEL, prompt=prompt)
        assert [choice.index for choice in reply.choices] == list(range(len(reply.choices)))
        return [choice.text for choice in reply.choices]

    one, two = texts("ab"), texts("zz")
    assert texts(_ids("ab")) == one
    assert texts(["ab", "zz"]) == texts([_ids("ab"), _ids("zz")]) == one + two


def _ids(text):
    """What the tiny model's tokenizer gives: one token for each byte."""
    alphabet = sorted(ByteLevel.alphabet())
    return [alphabet.index(character) for character in text]


def test_a_stream_of_many_prompts_joins_to_the_whole_answers(client):
    given = {"model": MODEL, "prompt": ["ab", "zz", "q"], "max_tokens": 6}
    whole = [choice.text for choice in client.completions.create(**given).choices]
    # The SDK's strict types know no null finish reason, which OpenAI itself sends in these chunks.
    loose = openai.OpenAI(base_url=client.base_url, api_key="none")
    texts = ["", "", ""]
    finished = set()
    for chunk in loose.completions.create(**given, stream=True):
        choice = chunk.choices[0]
        texts[choice.index] += choice.text
        if choice.finish_reason:
            finished.add(choice.index)
    loose.close()
    assert texts == whole
    assert finished == {0, 1, 2}


@pytest.mark.parametrize(
    "wrong", [{"best_of": 3}, {"suffix": "end"}, {"best_of": 2, "n": 1}, {"max_tokens": 0}]
)
def test_what_cannot_be_honoured_is_refused_by_name(client, wrong):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt="a", **wrong)
    assert caught.value.param in wrong


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (["a", [1]], "mixed"),
        ([], "1 to 2048"),
        ([9999], "9999"),
        ([[1], []], "empty"),
        ([-1], "-1"),
        (["a", 1], "mixed"),
        ({"a": 1}, "prompt"),
    ],
)
def test_a_wrong_prompt_is_told(client, prompt, told):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=prompt)
    assert told in caught.value.message
    assert caught.value.param == "prompt"


def test_one_prompt_that_is_too_long_fails_the_request_and_frees_the_others(client, platform):
    before = settled(platform)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=["a", "x" * 5000], max_tokens=4000)
    assert caught.value.code == "context_length_exceeded"
    assert settled(platform) - before < 2000
