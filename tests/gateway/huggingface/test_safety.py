"""What Hugging Face's client is told of files that may not be in a repository, or should not."""

import json
import pickle

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

WEIGHTS = pickle.dumps({"a": 1}) + b"\0" * 20_000


def test_a_pickle_is_refused_until_an_operator_allows_it(alice, make, served):
    name = make()
    with pytest.raises(HfHubHTTPError, match=r"pytorch_model\.bin is a pickle") as error:
        alice.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="pytorch_model.bin", repo_id=name)
    assert error.value.response.status_code == 422
    assert f"baigong hub allow-code {name}" in str(error.value)
    assert alice.list_repo_files(name) == [".gitattributes"]
    hub = served.platform.hub
    one = hub.repositories.find("model", name)
    hub.repositories.change(one, settings=type(one.settings)(allows_code=True))
    alice.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="pytorch_model.bin", repo_id=name)
    alice.upload_file(path_or_fileobj=b"fine", path_in_repo="a.txt", repo_id=name)
    files = alice.get_paths_info(name, ["pytorch_model.bin", "a.txt"], expand=True)
    status = {file.path: file.security.status for file in files}
    assert status == {"pytorch_model.bin": "unsafe", "a.txt": "safe"}


def test_an_owner_cannot_allow_it(make, served):
    name = make()
    httpx2.put(
        f"{served.endpoint}/api/models/{name}/settings",
        headers={"authorization": f"Bearer {served.tokens['alice']}"},
        json={"private": True, "allows_code": True, "settings": {"allows_code": True}},
    )
    one = served.platform.hub.repositories.find("model", name)
    assert not one.settings.allows_code


def test_a_secret_is_told_of_and_kept(served, alice, make):
    name, secret = make(), "hf_" + "a" * 36
    header = {"key": "header", "value": {"summary": "a commit"}}
    file = {"key": "file", "value": {"path": "a.env", "content": f"x\n{secret}"}}
    made = httpx2.post(
        f"{served.endpoint}/api/models/{name}/commit/main",
        headers={"authorization": f"Bearer {served.tokens['alice']}"},
        content="\n".join(map(json.dumps, [header, file])).encode(),
    )
    assert "a.env:2 holds a token of Hugging Face" in made.headers["x-hf-warning"]
    assert secret not in made.headers["x-hf-warning"]
    assert alice.file_exists(name, "a.env")
