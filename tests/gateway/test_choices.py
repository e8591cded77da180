"""Several answers to one question, and what shapes an answer."""

import openai
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from tests.servers import MODEL, settled

HELLO = [{"role": "user", "content": "Hello"}]
WARM = {"model": "support", "messages": HELLO, "max_tokens": 10, "temperature": 1.2}


def test_n_answers_differ_count_together_and_repeat_with_their_seeds(client):
    three = client.chat.completions.create(**WARM, n=3, seed=11)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in three.choices]
    assert len(set(texts)) == 3
    assert three.usage.completion_tokens == 30
    one = client.chat.completions.create(**WARM, seed=11)
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert one.choices[0].message.content == texts[0]
    second = client.chat.completions.create(**WARM, seed=12)
    assert second.choices[0].message.content == texts[1]
    assert client.chat.completions.create(**WARM, n=2, seed=2**63 - 1).usage


def test_streamed_answers_carry_their_index_and_join_to_the_whole(client):
    given = {**WARM, "n": 3, "seed": 4, "logprobs": True}
    whole = client.chat.completions.create(**given).choices
    texts, finished, roles, counts = ["", "", ""], [], [], [0, 0, 0]
    chunks = list(
        client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True})
    )
    assert chunks.pop().usage.completion_tokens == 30
    for chunk in chunks:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.delta.role:
            roles.append(choice.index)
        if choice.logprobs:
            counts[choice.index] += len(choice.logprobs.content)
        if choice.finish_reason:
            finished.append(choice.index)
    assert texts == [choice.message.content for choice in whole]
    assert sorted(finished) == sorted(roles) == [0, 1, 2]
    assert counts == [10, 10, 10]


def test_closing_a_stream_of_several_answers_stops_all_of_them(client, platform):
    before = settled(platform)
    stream = client.chat.completions.create(**{**WARM, "max_tokens": 4000}, n=4, stream=True)
    for _, _chunk in zip(range(12), stream, strict=False):
        pass
    stream.close()
    assert settled(platform) - before < 12000


def test_closing_an_echoed_stream_stops_it(client, platform):
    before = settled(platform)
    stream = client.completions.create(
        model=MODEL, prompt=["a", "b"], max_tokens=4000, echo=True, n=2, stream=True
    )
    loose = iter(stream)
    with pytest.raises(openai.APIResponseValidationError):
        next(loose)  # OpenAI's own null finish reason, which these types do not know
    stream.close()
    assert settled(platform) - before < 12000


def test_completions_count_their_answers_through_all_prompts(client):
    given = {"model": MODEL, "max_tokens": 5, "temperature": 1.0, "seed": 3}
    reply = client.completions.create(**given, prompt=["ab", "zz"], n=2, best_of=2)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.usage.completion_tokens == 20
    assert reply.usage.prompt_tokens == 4
    alone = client.completions.create(**given, prompt="zz", n=2).choices
    assert [c.text for c in reply.choices[2:]] == [c.text for c in alone]


def _id(character):
    return sorted(ByteLevel.alphabet()).index(character)


def test_a_bias_makes_and_forbids_tokens(client):
    given = {"model": MODEL, "messages": HELLO, "max_tokens": 8}
    forced = client.chat.completions.create(**given, logit_bias={str(_id("q")): 100})
    assert forced.choices[0].message.content == "q" * 8
    penalised = client.chat.completions.create(
        **given, logit_bias={str(_id("q")): 5}, frequency_penalty=2, presence_penalty=2
    )
    assert penalised.choices[0].message.content != "q" * 8


def test_vllms_penalty_and_share_change_the_answer(client):
    given = {"model": MODEL, "messages": HELLO, "max_tokens": 40}
    plain = client.chat.completions.create(**given).choices[0].message.content
    repeated = client.chat.completions.create(**given, extra_body={"repetition_penalty": 1.8})
    assert repeated.choices[0].message.content != plain
    sure = client.chat.completions.create(**given, temperature=2, extra_body={"min_p": 1.0})
    assert sure.choices[0].message.content == plain


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"five": 1}}, "logit_bias"),
        ({"logit_bias": {"-5": 1}}, "logit_bias"),
        ({"logit_bias": {"259": 1}}, "logit_bias"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"min_p": 2}, "min_p"),
    ],
)
def test_what_is_out_of_range_is_named(client, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_body=wrong)
    assert caught.value.param.startswith(param)


def test_more_answers_than_a_request_may_have_are_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=["a"] * 100, n=100)
    assert caught.value.param == "n"
