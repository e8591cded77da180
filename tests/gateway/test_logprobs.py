"""Logprobs as OpenAI's client reads them, and prompts scored as lm-eval does it."""

import math

import openai
import pytest
import torch

from baigong.model.chat import ChatTokenizer
from tests.servers import MODEL

HELLO = [{"role": "user", "content": "Hello"}]
TEXT = "The parcel 包裹 must be complete."


@pytest.fixture
def loose(url):
    """The client without its strict types, which know no null among logprobs."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def _ids(platform, text):
    return ChatTokenizer(platform.hub.get("model", MODEL).folder).encode_text(text)


def _log_shares(platform, ids):
    from transformers import AutoModelForCausalLM

    folder = platform.hub.get("model", MODEL).folder
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].log_softmax(-1)


def test_a_chat_tells_how_likely_each_token_was(client):
    given = {"model": MODEL, "messages": HELLO, "max_tokens": 12, "logprobs": True}
    choice = client.chat.completions.create(**given, top_logprobs=3).choices[0]
    assert len(choice.logprobs.content) == 12
    said = b"".join(bytes(one.bytes or ()) for one in choice.logprobs.content)
    assert said.decode("utf-8", "replace") == choice.message.content
    for one in choice.logprobs.content:
        assert len(one.top_logprobs) == 3
        assert one.top_logprobs[0].logprob == one.logprob < 0  # greedy took the likeliest
        assert one.top_logprobs[0].token == one.token
    bare = client.chat.completions.create(**given).choices[0].logprobs.content
    assert [one.logprob for one in bare] == [one.logprob for one in choice.logprobs.content]
    assert all(one.top_logprobs == [] for one in bare)
    assert (
        client.chat.completions.create(**{**given, "logprobs": False}).choices[0].logprobs is None
    )


def test_a_stream_of_logprobs_joins_to_the_whole(client):
    given = {
        "model": MODEL,
        "messages": HELLO,
        "max_tokens": 20,
        "logprobs": True,
        "top_logprobs": 2,
        "temperature": 1.3,
        "seed": 5,
    }
    whole = client.chat.completions.create(**given).choices[0].logprobs.content
    pieces = []
    for chunk in client.chat.completions.create(**given, stream=True):
        if chunk.choices[0].logprobs:
            pieces += chunk.choices[0].logprobs.content
    assert pieces == whole


def test_a_completion_tells_tokens_logprobs_and_where_they_stand(client, platform):
    choice = client.completions.create(model=MODEL, prompt=TEXT, max_tokens=6, logprobs=2).choices[
        0
    ]
    told = choice.logprobs
    ids = _ids(platform, TEXT)
    shares = _log_shares(platform, ids)
    assert told.token_logprobs[0] == pytest.approx(float(shares[-1].max()), abs=1e-4)
    assert sorted(told.top_logprobs[0].values(), reverse=True) == pytest.approx(
        shares[-1].topk(2).values.tolist(), abs=1e-4
    )
    assert len(told.tokens) == len(told.text_offset) == 6
    assert told.text_offset[0] == 0
    assert told.text_offset == sorted(told.text_offset)


@pytest.mark.parametrize("as_ids", [False, True])
@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_scores_the_prompt_as_transformers_does(loose, platform, max_tokens, as_ids):
    ids = _ids(platform, TEXT)
    reply = loose.completions.create(
        model=MODEL,
        prompt=ids if as_ids else TEXT,
        echo=True,
        logprobs=1,
        max_tokens=max_tokens,
        temperature=0,
        seed=1234,
    )
    choice, told = reply.choices[0], reply.choices[0].logprobs
    assert choice.text.startswith(TEXT)
    assert (choice.text == TEXT) == (max_tokens == 0)
    assert reply.usage.completion_tokens == max_tokens
    assert reply.usage.prompt_tokens == len(ids)
    assert len(told.tokens) == len(ids) + max_tokens
    assert told.token_logprobs[0] is None
    assert told.top_logprobs[0] is None
    shares = _log_shares(platform, ids)
    expected = shares[:-1].gather(-1, torch.tensor(ids[1:]).unsqueeze(-1)).squeeze(-1)
    assert told.token_logprobs[1 : len(ids)] == pytest.approx(expected.tolist(), abs=1e-4)
    assert sum(told.token_logprobs[1 : len(ids)]) == pytest.approx(float(expected.sum()), rel=1e-5)
    greedy = shares[:-1].argmax(-1).tolist()
    for place in range(1, len(ids)):  # as lm-eval finds out whether greedy decoding would say it
        is_greedy = told.token_logprobs[place] == max(told.top_logprobs[place].values())
        assert is_greedy == (greedy[place - 1] == ids[place])
    for place, offset in enumerate(told.text_offset[: len(ids)]):
        if not told.tokens[place].startswith("bytes:"):
            assert TEXT[offset] == told.tokens[place]


def test_echo_alone_repeats_the_prompt(client):
    for stream in (False, True):
        reply = client.completions.create(
            model=MODEL, prompt=["ab", "c"], echo=True, max_tokens=0, stream=stream
        )
        choices = [c for part in reply for c in part.choices] if stream else reply.choices
        assert sorted((c.index, c.text, c.finish_reason) for c in choices) == [
            (0, "ab", "length"),
            (1, "c", "length"),
        ]


def test_a_streamed_echo_says_the_prompt_first_and_once(loose):
    given = {"model": MODEL, "prompt": TEXT, "echo": True, "logprobs": 1, "max_tokens": 8}
    whole = loose.completions.create(**given).choices[0]
    parts = [chunk.choices[0] for chunk in loose.completions.create(**given, stream=True)]
    assert "".join(part.text for part in parts) == whole.text
    assert parts[0].text.startswith(TEXT)
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        joined = [item for part in parts for item in getattr(part.logprobs, name)]
        assert joined == getattr(whole.logprobs, name)


def test_long_and_many_prompts_are_scored_side_by_side(loose, platform):
    texts = ["x" * 3000, "short", "中文" * 200]
    reply = loose.completions.create(model=MODEL, prompt=texts, echo=True, logprobs=0, max_tokens=0)
    for text, choice in zip(texts, reply.choices, strict=True):
        ids = _ids(platform, text)
        shares = _log_shares(platform, ids)
        expected = shares[:-1].gather(-1, torch.tensor(ids[1:]).unsqueeze(-1)).sum()
        assert math.fsum(choice.logprobs.token_logprobs[1:]) == pytest.approx(
            float(expected), rel=1e-4
        )
        assert choice.logprobs.top_logprobs is None


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 3}, "logprobs"),
    ],
)
def test_logprobs_asked_for_wrongly_are_named(client, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_body=wrong)
    assert caught.value.param == param
