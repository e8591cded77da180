import base64
import struct

import httpx2
import openai
import pytest

from tests.servers import MODEL


def test_vectors_are_units_in_the_order_of_the_inputs(client):
    reply = client.embeddings.create(model=MODEL, input=["a", "bc"], encoding_format="float")
    assert [item.index for item in reply.data] == [0, 1]
    for item in reply.data:
        assert sum(x * x for x in item.embedding) == pytest.approx(1, abs=1e-4)
    assert reply.usage.prompt_tokens == 3


def test_base64_is_the_same_numbers(client, url):
    floats = client.embeddings.create(model=MODEL, input="abc", encoding_format="float")
    raw = httpx2.post(
        f"{url}/v1/embeddings",
        json={"model": MODEL, "input": "abc", "encoding_format": "base64"},
    ).json()
    packed = base64.b64decode(raw["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(packed) // 4}f", packed)) == pytest.approx(
        floats.data[0].embedding, abs=1e-6
    )
    # The SDK asks for base64 by itself and decodes it; its strict mode then rejects its own wish.
    loose = openai.OpenAI(base_url=client.base_url, api_key="none")
    own = loose.embeddings.create(model=MODEL, input="abc").data[0].embedding
    loose.close()
    assert own == pytest.approx(floats.data[0].embedding, abs=1e-6)


def test_token_ids_and_lists_of_them_are_taken(client):
    one = client.embeddings.create(model=MODEL, input=[1, 2], encoding_format="float")
    two = client.embeddings.create(model=MODEL, input=[[1, 2], [3]], encoding_format="float")
    assert one.data[0].embedding == pytest.approx(two.data[0].embedding, abs=1e-5)


def test_other_dimensions_are_refused_and_equal_ones_are_not(client):
    given = {"model": MODEL, "input": "a", "encoding_format": "float"}
    size = len(client.embeddings.create(**given).data[0].embedding)
    assert client.embeddings.create(**given, dimensions=size)
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**given, dimensions=size // 2)
    assert caught.value.param == "dimensions"
    assert str(size) in caught.value.message


@pytest.mark.parametrize("wrong", ["", ["a", ""], [], [99999]])
def test_an_empty_or_foreign_input_is_refused(client, wrong):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MODEL, input=wrong, encoding_format="float")
    assert caught.value.param == "input"


def _dot(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True))


def test_the_embedder_in_the_package_answers_across_languages(client):
    texts = ["火车站在哪里？", "Where is the railway station?", "She bought a red car."]
    reply = client.embeddings.create(model="baigong/pollen", input=texts, encoding_format="float")
    asked, near, far = (item.embedding for item in reply.data)
    assert sum(x * x for x in asked) == pytest.approx(1, abs=1e-4)
    assert _dot(asked, near) > _dot(asked, far) + 0.1


def test_the_embedder_in_the_package_cannot_chat(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="baigong/pollen", messages=[{"role": "user", "content": "hi"}]
        )
    assert caught.value.status_code in {400, 501}


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nothing", input="a", encoding_format="float")
