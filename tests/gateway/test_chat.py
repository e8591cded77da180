import os
import signal
import threading
import time

import openai
import pytest

from tests.servers import MODEL, settled

HELLO = [{"role": "user", "content": "Hello"}]
ASKED = [{"role": "user", "content": "Within how many days may goods be returned?"}]


def test_a_whole_answer_has_usage_a_reason_and_names_the_release(client):
    reply = client.chat.completions.create(model="support", messages=HELLO, max_tokens=5)
    assert reply.model == "support@1"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 5
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 5


def test_the_recipe_says_how_long_answers_are_unless_the_caller_does(client):
    for given, tokens in (({}, 12), ({"max_completion_tokens": 3}, 3), ({"max_tokens": 4}, 4)):
        reply = client.chat.completions.create(model="support", messages=HELLO, **given)
        assert reply.usage.completion_tokens == tokens


def test_citations_stand_beside_the_answer_in_openais_words_and_in_ours(client):
    message = client.chat.completions.create(model="support", messages=ASKED).choices[0].message
    citation = message.citations[0]
    assert citation["document"] == "returns.md"
    assert "thirty days" in citation["quote"]
    link = message.annotations[0].url_citation
    assert link.title == "Returns"
    assert (link.start_index, link.end_index) == (0, len(message.content))
    assert link.url.startswith("/knowledge/handbook@")
    span = f"{citation['quote_start']}-{citation['quote_end']}"
    assert link.url.endswith(f"/returns.md#{span}")


def test_a_foundation_model_answers_without_citations(client):
    message = client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message
    assert message.annotations == []
    assert message.citations == []


def test_a_stream_joins_to_the_whole_answer(client):
    given = {"model": "support", "messages": HELLO, "max_tokens": 20}
    whole = client.chat.completions.create(**given)
    chunks = list(client.chat.completions.create(**given, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == (
        whole.choices[0].message.content
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert {c.id for c in chunks} == {chunks[0].id}


def test_the_first_chunk_carries_the_citations(client):
    stream = client.chat.completions.create(model="support", messages=ASKED, stream=True)
    first = next(iter(stream)).choices[0].delta
    assert first.citations[0]["document"] == "returns.md"
    assert first.annotations[0]["url_citation"]["title"] == "Returns"
    stream.close()


def test_include_usage_adds_a_last_chunk_without_choices(client):
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_seed_repeats_a_sampled_answer_and_another_changes_it(client):
    def ask(seed):
        return (
            client.chat.completions
            .create(
                model=MODEL, messages=HELLO, max_tokens=24, temperature=1.5, top_p=0.95, seed=seed
            )
            .choices[0]
            .message.content
        )

    assert ask(7) == ask(7) != ask(8)


def test_a_stop_string_ends_the_answer_and_is_not_in_it(client):
    given = {"model": MODEL, "messages": HELLO, "max_tokens": 40}
    text = client.chat.completions.create(**given).choices[0].message.content
    stop = text[len(text) // 2 :][:2]
    for written in (stop, [stop, "never said"]):
        choice = client.chat.completions.create(**given, stop=written).choices[0]
        assert choice.message.content == text[: text.index(stop)]
        assert choice.finish_reason == "stop"


def test_text_parts_are_joined_and_a_developer_is_a_system(client):
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    plain = [{"role": "system", "content": "Be brief."}, *HELLO]
    fancy = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    one, two = (
        client.chat.completions.create(model=MODEL, messages=m, max_tokens=8)
        for m in (plain, fancy)
    )
    assert one.choices[0].message.content == two.choices[0].message.content
    assert one.usage == two.usage


def test_an_answer_can_be_sent_back_as_the_client_holds_it(client):
    message = client.chat.completions.create(model="support", messages=ASKED).choices[0].message
    history = [*ASKED, message.model_dump(), {"role": "user", "content": "And then?"}]
    assert client.chat.completions.create(model="support", messages=history).usage


def test_harmless_and_neutral_parameters_are_accepted(client):
    assert client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        max_tokens=1,
        user="someone",
        metadata={"a": "b"},
        store=False,
        prompt_cache_key="k",
        n=1,
        presence_penalty=0,
        frequency_penalty=0.0,
        logprobs=False,
        tools=[],
        response_format={"type": "text"},
        extra_body={"top_k": 5},
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("store", True),
        ("reasoning_effort", "high"),
    ],
)
def test_what_would_silently_change_the_answer_is_refused_by_name(client, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={field: value})
    assert caught.value.param == field
    assert caught.value.code == "unsupported_parameter"
    assert field in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "param", "told"),
    [
        ({"temperature": 3}, "temperature", "got 3"),
        ({"temperature": "hot"}, "temperature", '"hot"'),
        ({"top_p": 0}, "top_p", "got 0"),
        ({"max_tokens": 0}, "max_tokens", "got 0"),
        ({"seed": 2**70}, "seed", "seed"),
        ({"stop": ""}, "stop", '""'),
        ({"stream": "yes"}, "stream", '"yes"'),
        ({"messages": []}, "messages", "got []"),
        ({"messages": "hello"}, "messages", '"hello"'),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "null"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", '"boss"'),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
            "image_url",
        ),
        ({"max_token": 5}, "max_token", "max_tokens"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(client, wrong, param, told):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            extra_body=wrong,  # as written, unchecked
        )
    assert caught.value.param == param
    assert told in caught.value.message


def test_an_unknown_model_is_not_found_and_near_names_are_offered(client):
    for name in ("suport", "support@9", "tests/tinny"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model=name, messages=HELLO)
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        assert "Did you mean" in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_prompt_is_an_error_before_any_byte_of_a_stream(client, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x" * 5000}], stream=stream
        )
    assert caught.value.code == "context_length_exceeded"


def _kill_engine_of(platform):
    os.kill(platform.engines.stats()[0].pid, signal.SIGKILL)


def test_an_engine_that_dies_in_a_stream_is_told_in_the_stream_and_the_next_call_works(
    client, platform
):
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=4000, stream=True
    )

    def read():
        for number, _ in enumerate(stream):
            if number == 2:
                _kill_engine_of(platform)

    with pytest.raises(openai.APIError) as caught:
        read()
    assert caught.value.code == "engine_unavailable"
    assert client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2).usage


def test_an_engine_that_dies_before_the_answer_is_503_and_says_when_to_retry(client, platform):
    began = settled(platform)

    def kill_soon():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and platform.engines.stats()[0].generated_tokens == began:
            time.sleep(0.01)
        _kill_engine_of(platform)

    killer = threading.Thread(target=kill_soon)
    killer.start()
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4000)
    killer.join()
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.response.headers["x-should-retry"] == "true"
