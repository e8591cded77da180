import openai
import pytest

from tests.servers import MODEL


def test_live_releases_come_first_then_foundation_models(client):
    listed = [model.id for model in client.models.list()]
    assert listed[0] == "support"
    assert MODEL in listed


@pytest.mark.parametrize("name", ["support", "support@1", MODEL])
def test_every_callable_name_can_be_retrieved(client, name):
    assert client.models.retrieve(name).id == name


def test_an_unknown_one_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("tests/tini")
    assert caught.value.code == "model_not_found"
    assert MODEL in caught.value.message
