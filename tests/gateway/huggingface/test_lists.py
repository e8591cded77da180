"""Lists and searches through Hugging Face's client."""

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

CARD = """---
license: {license}
pipeline_tag: {task}
library_name: transformers
language: [zh]
base_model: {base}
---
# A model
"""


@pytest.fixture(scope="module")
def some(served):
    """Three models of one owner, one of them private and one gated."""
    api, names = served.api("alice"), []
    for number, (license, task) in enumerate([
        ("mit", "text-generation"),
        ("apache-2.0", "text-generation"),
        ("mit", "fill-mask"),
    ]):
        name = f"alice/listed-{number}"
        api.create_repo(name, private=number == 2)
        card = CARD.format(license=license, task=task, base=f"alice/base-{number}")
        api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=name)
        names.append(name)
    api.update_repo_settings(names[1], gated="auto")
    return names


def test_everyone_sees_in_lists_what_they_may_see(served, some):
    def seen(user):
        found = served.api(user).list_models(search="listed", sort="created_at")
        return [model.id for model in found]

    assert seen("alice") == seen("operator") == some[::-1]
    assert seen("bob") == some[1::-1]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"filter": "license:mit"}, [0, 2]),
        ({"filter": ["license:mit", "text-generation"]}, [0]),
        ({"pipeline_tag": "fill-mask"}, [2]),
        ({"filter": ["zh", "transformers"]}, [0, 1, 2]),
        ({"filter": "base_model:alice/base-1"}, [1]),
        ({"gated": True}, [1]),
        ({"gated": False}, [0, 2]),
        ({"search": "LISTED-2"}, [2]),
        ({"inference": "warm"}, []),
    ],
)
def test_filters_hold_together(alice, some, query, wanted):
    query = {"author": "alice", "search": "listed", **query}
    assert {model.id for model in alice.list_models(**query)} == {some[i] for i in wanted}


def test_pages_follow_each_other(served, alice, some):
    one = [model.id for model in alice.list_models(search="listed", sort="created_at", limit=2)]
    assert one == some[:0:-1]
    session = alice.list_models(search="listed", sort="created_at")
    assert [model.id for model in session] == some[::-1]


def test_a_list_shows_what_is_asked_for(alice, some):
    [model] = alice.list_models(search="listed-1", expand=["gated", "cardData"])
    assert (model.gated, model.card_data.license, model.tags) == ("auto", "apache-2.0", None)
    [model] = alice.list_models(search="listed-1", full=True)
    assert [file.rfilename for file in model.siblings] == [".gitattributes", "README.md"]
    with pytest.raises(HfHubHTTPError, match="is no order"):
        list(alice.list_models(sort="loudness"))


def test_datasets_and_recipes_have_lists_of_their_own(alice, make):
    data, recipe = make(kind="dataset"), make(kind="space")
    assert data in [one.id for one in alice.list_datasets(author="alice")]
    assert recipe in [one.id for one in alice.list_spaces(author="alice")]
    assert data not in [one.id for one in alice.list_models(author="alice")]


def test_the_words_of_cards_are_listed(served):
    headers = {"authorization": f"Bearer {served.tokens['alice']}"}
    found = httpx2.get(f"{served.endpoint}/api/models-tags-by-type", headers=headers).json()
    assert {"id": "license:mit", "label": "mit", "type": "license"} in found["license"]
