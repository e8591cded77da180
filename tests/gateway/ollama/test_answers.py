import base64
import json

import httpx
import ollama
import openai
import pytest

from tests.gateway.scripted import Stage
from tests.gateway.test_tools import CALLS, CITY, TOOLS
from tests.servers import MODEL, serving

HI = [{"role": "user", "content": "hi"}]
SHORT = {"num_predict": 5}


def test_a_chat_is_answered_whole_and_in_pieces_alike(alice):
    whole = alice.chat(MODEL, HI, options=SHORT)
    pieces = list(alice.chat(f"{MODEL}:latest", HI, options=SHORT, stream=True))
    assert "".join(p.message.content for p in pieces) == whole.message.content != ""
    for last in (whole, pieces[-1]):
        assert (last.done, last.done_reason, last.eval_count) == (True, "length", 5)
        assert last.prompt_eval_count > 0 and last.total_duration > 0
    assert not any(p.done for p in pieces[:-1])


def test_a_release_answers_by_its_name_and_by_its_number(alice, base_url, keys):
    said = {
        alice.chat(name, HI, options=SHORT).message.content for name in ("support", "support:1")
    }
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key=keys["alice"]) as client:
        other = client.chat.completions.create(model="support", messages=HI, max_tokens=5)
    assert said == {other.choices[0].message.content}
    assert alice.chat("support", HI).eval_count == 12  # as its recipe says


def test_an_answer_ends_with_the_context_where_nobody_says_how_long_it_is(alice):
    answer = alice.chat(MODEL, HI)
    assert answer.done_reason == "length"
    assert answer.prompt_eval_count + answer.eval_count == 4096


def test_a_prompt_is_answered_as_the_same_turns_are(alice):
    generated = alice.generate(MODEL, "hi", system="Be brief.", options=SHORT)
    turns = [{"role": "system", "content": "Be brief."}, *HI]
    assert generated.response == alice.chat(MODEL, turns, options=SHORT).message.content
    raw = alice.generate(MODEL, "hi", raw=True, options=SHORT)
    assert raw.prompt_eval_count < generated.prompt_eval_count


def test_without_a_question_the_model_is_loaded(alice):
    assert alice.generate(MODEL, "").done_reason == "load"
    assert alice.chat(MODEL, []).done_reason == "load"
    assert alice.generate(MODEL, "", keep_alive=0).done_reason == "unload"
    assert f"{MODEL}:latest" in [model.model for model in alice.ps().models]


@pytest.mark.parametrize("format", ["json", {"type": "object", "properties": {"a": {"const": 1}}}])
def test_an_answer_is_held_to_its_format(alice, format):
    schema = {"required": ["a"], "additionalProperties": False}
    wanted = format if format == "json" else format | schema
    answer = alice.chat("sapling", HI, format=wanted, options={"num_predict": 40})
    found = answer.message.content
    assert found.lstrip().startswith("{")
    if wanted != "json":
        assert json.loads(found) == {"a": 1}


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"options": {"mirostat": 2}}, "mirostat"),
        ({"options": {"temperature": "hot"}}, "temperature"),
        ({"format": "xml"}, "format"),
        ({"think": True}, "does not reason"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "no call"),
        ({"messages": [{"role": "user", "content": "?", "images": ["aGk="]}]}, "text only"),
        ({"model": "nope"}, "nope"),
        ({"messages": 3}, "messages"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(base_url, keys, wrong, word):
    body = {"model": MODEL, "messages": HI, **wrong}
    headers = {"authorization": f"Bearer {keys['alice']}"}
    got = httpx.post(f"{base_url}/ollama/api/chat", json=body, headers=headers)
    assert got.status_code in {400, 404}
    assert word in got.json()["error"]


def test_likelihoods_are_told_where_they_are_asked_for(alice):
    answer = alice.chat(MODEL, HI, options={"num_predict": 2}, logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == 2
    assert answer.logprobs[0].logprob <= 0
    assert len(answer.logprobs[0].top_logprobs) == 2


def test_texts_become_the_vectors_that_the_other_door_gives(alice, base_url, keys):
    found = alice.embed("pollen", ["red", "blue"]).embeddings
    assert list(alice.embeddings("pollen", "red").embedding) == list(found[0])
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key=keys["alice"]) as client:
        other = client.embeddings.create(model="pollen", input=["red", "blue"])
    assert [list(row) for row in found] == [pytest.approx(one.embedding) for one in other.data]
    assert alice.embed(MODEL, "x" * 5000).prompt_eval_count == 4096
    with pytest.raises(ollama.ResponseError, match="4096"):
        alice.embed(MODEL, "x" * 5000, truncate=False)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage.open(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="module")
def actor(stage):
    with serving(stage.platform) as url, ollama.Client(host=f"{url}/ollama") as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_calls_come_whole_and_are_answered_by_the_name_of_their_tool(actor, stage, stream):
    stage.engine("qwen").script = CALLS["qwen"]
    asked = [{"role": "user", "content": "Weather?"}]
    got = actor.chat("tests/qwen", asked, tools=TOOLS, stream=stream)
    messages = [piece.message for piece in got] if stream else [got.message]
    calls = [call for message in messages for call in message.tool_calls or []]
    assert [(c.function.name, c.function.arguments) for c in calls] == [
        ("get_weather", json.loads(CITY)),
        ("now", {}),
    ]
    stage.engine("qwen").script = "Sunny."
    turn = {"role": "assistant", "content": "", "tool_calls": [c.model_dump() for c in calls]}
    tools = [{"role": "tool", "tool_name": name, "content": "1"} for name in ("now", "get_weather")]
    answer = actor.chat("tests/qwen", [*asked, turn, *tools], tools=TOOLS)
    assert answer.message.content == "Sunny."


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_come_beside_the_answer_and_can_be_done_without(actor, stage, stream):
    stage.engine("qwen").script = "<think>\nHm.\n</think>\n\nYes."
    got = actor.chat("tests/qwen", HI, think=True, stream=stream)
    messages = [piece.message for piece in got] if stream else [got.message]
    assert "".join(m.thinking or "" for m in messages).strip() == "Hm."
    assert "".join(m.content for m in messages).strip() == "Yes."
    stage.engine("qwen").script = "Yes."
    assert actor.generate("tests/qwen", "hi", think=False).response == "Yes."
    assert "<think>\n\n</think>" in stage.engine("qwen").prompt


def test_a_picture_is_for_models_that_look(actor):
    with pytest.raises(ollama.ResponseError, match="text only"):
        actor.generate("tests/qwen", "?", images=[base64.b64encode(b"\x89PNG").decode()])
