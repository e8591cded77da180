import hashlib
import os
import pickle

import httpx
import ollama
import openai
import pytest

from tests.ggufs import make_gguf
from tests.models import make_adapter, make_model
from tests.servers import MODEL

HI = [{"role": "user", "content": "hi"}]


def said(client, name, messages=HI):
    return client.chat(name, messages, options={"num_predict": 6}).message.content


def listed(client):
    return [model.model for model in client.list().models]


def test_what_is_here_is_listed_and_described(alice):
    names = listed(alice)
    assert {"support:latest", f"{MODEL}:latest", "sapling:latest"} <= set(names)
    shown = alice.show(MODEL)
    assert shown.details.family == "llama" and shown.details.parameter_size.endswith("K")
    assert shown.modelinfo["llama.context_length"] == 4096
    assert "im_start" in shown.template
    assert shown.capabilities == ["completion"]
    assert alice.show("pollen").capabilities == ["embedding"]
    assert 'SYSTEM """Be kind."""' in alice.show("support").modelfile
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
        alice.show("nope")


def test_a_model_with_a_system_turn_answers_at_once_as_if_it_were_sent(alice, base_url, keys):
    made = alice.create("mario", from_=MODEL, system="You are Mario.", parameters={"seed": 1})
    assert made.status == "success"
    turns = [{"role": "system", "content": "You are Mario."}, *HI]
    assert said(alice, "mario") == said(alice, MODEL, turns) != said(alice, MODEL)
    assert said(alice, "mario", [{"role": "system", "content": "No."}, *HI]) == said(
        alice, MODEL, [{"role": "system", "content": "No."}, *HI]
    )
    assert "mario:latest" in listed(alice)
    assert alice.show("mario").parameters.split() == ["seed", "1"]
    assert alice.show("mario").details.parent_model == MODEL
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key=keys["alice"]) as client:
        other = client.chat.completions.create(model="alice/mario", messages=HI, max_tokens=6)
    assert other.choices[0].message.content == said(alice, "mario")


def test_one_is_made_of_another_and_keeps_what_it_does_not_replace(alice):
    example = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    alice.create("first", from_=MODEL, system="One.", messages=example, parameters={"top_k": 3})
    steps = alice.create("second", from_="first", system="Two.", stream=True)
    assert [step.status for step in steps][-1] == "success"
    assert alice.show("second").parameters.split() == ["top_k", "3"]
    turns = [{"role": "system", "content": "Two."}, *example, *HI]
    options = {"num_predict": 6, "top_k": 3}
    expected = alice.chat(MODEL, turns, options=options).message.content
    assert alice.chat("second", HI, options={"num_predict": 6}).message.content == expected
    alice.create("third", from_="support", parameters={"num_predict": 3})
    assert alice.chat("third", HI).eval_count == 3
    assert "FROM support@1" in alice.show("third").modelfile


def test_tags_keep_what_the_newest_replaces(alice):
    for tag, system in (("v1", "One."), ("v2", "Two."), ("v2", "Three.")):
        alice.create(f"tagged:{tag}", from_=MODEL, system=system)
    for tag, system in (("v1", "One."), ("v2", "Three."), ("latest", "Three.")):
        assert f'SYSTEM """{system}"""' in alice.show(f"tagged:{tag}").modelfile
    alice.delete("tagged:v1")
    with pytest.raises(ollama.ResponseError):
        alice.show("tagged:v1")
    assert alice.show("tagged").modelfile


def test_uploaded_files_become_a_model(alice, tmp_path):
    folder = make_model(tmp_path / "own", seed=7)
    files = {path.name: alice.create_blob(path) for path in folder.iterdir()}
    alice.create("own", files=files, system="Hi.", parameters={"num_predict": 2}, license="MIT")
    assert alice.chat("own", HI).eval_count == 2
    assert alice.show("own").license == "MIT"
    adapter = make_adapter(tmp_path / "adapter", folder, name="alice/own")
    files = {path.name: alice.create_blob(path) for path in adapter.iterdir()}
    alice.create("tuned", from_="own", adapters=files)
    assert "ADAPTER alice/tuned@" in alice.show("tuned").modelfile
    assert said(alice, "tuned") != said(alice, "own")


def test_a_gguf_file_becomes_a_model(alice, tmp_path):
    file = make_gguf(tmp_path / "tiny.gguf", make_model(tmp_path / "tiny"))
    alice.create("ggufs", files={file.name: alice.create_blob(file)}, system="Hi.")
    assert said(alice, "ggufs")
    assert 'SYSTEM """Hi."""' in alice.show("ggufs").modelfile


def test_blobs_are_verified_and_are_whose_they_are(alice, bob, base_url, keys, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(os.urandom(5000))
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    url = f"{base_url}/ollama/api/blobs/{digest}"
    headers = {"authorization": f"Bearer {keys['alice']}"}
    assert httpx.head(url, headers=headers).status_code == 404
    assert httpx.post(url, content=b"other", headers=headers).status_code == 400
    assert alice.create_blob(path) == digest
    assert httpx.head(url, headers=headers).status_code == 200
    with pytest.raises(ollama.ResponseError, match="not here"):
        bob.create("stolen", files={"a.bin": digest})
    for wrong in ("sha256:xyz", "..%2f..%2fsecret.key"):
        got = httpx.head(f"{base_url}/ollama/api/blobs/{wrong}", headers=headers)
        assert got.status_code in {400, 404}


def test_copies_are_models_of_their_own(alice):
    alice.create("origin", from_=MODEL, system="Origin.")
    assert alice.copy("origin", "copied").status == "success"
    alice.delete("origin")
    assert 'SYSTEM """Origin."""' in alice.show("copied").modelfile
    alice.copy("support", "helper")
    assert said(alice, "helper") == said(alice, "support")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "from"),
        ({"from_": "nope"}, "not found"),
        ({"from_": MODEL, "template": "{{ .Prompt }}"}, "template"),
        ({"from_": MODEL, "quantize": "q4_K_M"}, "quantize"),
        ({"from_": MODEL, "parameters": {"mirostat": 2}}, "mirostat"),
        ({"files": {"config.json": "sha256:" + "0" * 64}}, "not here"),
        ({"files": {"config.json": "md5:1"}}, "digest"),
    ],
)
def test_what_cannot_be_made_is_said_and_leaves_nothing(alice, given, word):
    with pytest.raises(ollama.ResponseError, match=word):
        alice.create("wrong", **given)
    assert "wrong:latest" not in listed(alice)


def test_files_that_can_run_code_make_no_model(alice, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(os.system))
    with pytest.raises(ollama.ResponseError) as caught:
        alice.create("unsafe", files={path.name: alice.create_blob(path)})
    assert caught.value.status_code == 422
    with pytest.raises(ollama.ResponseError, match="not found"):
        alice.show("unsafe")


def test_nobody_changes_what_is_anothers(alice, bob, base_url):
    alice.create("mine", from_=MODEL, system="Mine.")
    assert said(bob, "alice/mine") == said(alice, "mine")
    for wrong in (
        lambda: bob.create("alice/mine", from_=MODEL, system="x"),
        lambda: bob.delete("alice/mine"),
        lambda: bob.copy(MODEL, "alice/other"),
        lambda: bob.delete("sapling"),
        lambda: bob.delete("support"),
    ):
        with pytest.raises(ollama.ResponseError) as caught:
            wrong()
        assert caught.value.status_code == 403
    with pytest.raises(ollama.ResponseError, match="already"):
        bob.create("sapling", from_=MODEL, system="x")
    with (
        ollama.Client(host=f"{base_url}/ollama") as nobody,
        pytest.raises(ollama.ResponseError, match="needs a key"),
    ):
        nobody.list()


def test_a_pull_of_what_is_here_is_over_at_once_and_a_push_says_that_it_is_none(alice):
    assert alice.pull("sapling").status == "success"
    assert [step.status for step in alice.pull(MODEL, stream=True)][-1] == "success"
    with pytest.raises(ollama.ResponseError, match="BAIGONG_MIRRORS"):
        alice.pull("somebody/else")
    with pytest.raises(ollama.ResponseError, match="not found"):
        alice.pull("llama3")
    with pytest.raises(ollama.ResponseError, match="pushes no model"):
        alice.push(MODEL)


def test_a_preset_stands_on_no_other(alice, platform):
    alice.create("one", from_=MODEL, system="x")
    name = "alice/two"
    hub = platform.hub
    from baigong.hub.commits import Put, Words

    preset = b'{"base": "alice/one"}'
    hub.repositories.create("model", name, [Put("preset.json", hub.keep(preset))], Words("x", "y"))
    with pytest.raises(ollama.ResponseError, match="no other stands on it"):
        said(alice, name)


def test_a_preset_has_a_length(alice, platform):
    with pytest.raises(ollama.ResponseError, match="longer than"):
        alice.create("long", from_=MODEL, system="x" * (2 << 20))
    hub = platform.hub
    from baigong.hub.commits import Put, Words

    preset = b'{"base": "%s"}' % MODEL.encode() + b" " * (2 << 20)
    hub.repositories.create(
        "model", "alice/long", [Put("preset.json", hub.keep(preset))], Words("x", "y")
    )
    with pytest.raises(ollama.ResponseError, match="longer than"):
        said(alice, "alice/long")
