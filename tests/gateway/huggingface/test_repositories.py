"""Repositories through Hugging Face's client: made, seen, moved, changed, deleted."""

import httpx2
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)

EMPTY = [".gitattributes"]


def refused(status):
    return pytest.raises(HfHubHTTPError, check=lambda e: e.response.status_code == status)


def test_a_key_says_who_calls(served, alice, operator):
    me = alice.whoami()
    assert (me["name"], me["type"], me["auth"]["accessToken"]["role"]) == ("alice", "user", "write")
    served.platform.hub.namespaces.create_organisation("works")
    served.platform.hub.namespaces.join("works", "alice")
    token = served.keys.create("another", "alice")[1]
    assert [org["name"] for org in alice.whoami(token=token)["orgs"]] == ["works"]
    assert operator.whoami()["name"] == "local"


def test_no_key_and_a_wrong_key_are_told_apart(alice, make):
    name = make()
    with pytest.raises(RepositoryNotFoundError):
        alice.model_info(name, token=False)
    with refused(401) as found:
        alice.model_info(name, token="hf_wrong")
    assert "Invalid credentials" in str(found.value)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        alice.whoami(token="hf_wrong")


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_begins_with_one_commit(alice, make, kind):
    name = make(kind=kind)
    info = alice.repo_info(name, repo_type=kind, files_metadata=True)
    assert [file.rfilename for file in info.siblings] == EMPTY
    assert [c.title for c in alice.list_repo_commits(name, repo_type=kind)] == ["initial commit"]
    assert (info.author, info.private) == ("alice", False)


def test_without_an_owner_it_is_the_callers(alice):
    url = alice.create_repo("mine")
    assert url.repo_id == "alice/mine"
    with refused(409):
        alice.create_repo("Alice/MINE")
    assert alice.create_repo("mine", exist_ok=True) == url
    alice.delete_repo("mine")
    assert not alice.repo_exists("alice/mine")


@pytest.mark.parametrize("name", ["bob/theirs", "nobody/theirs"])
def test_nobody_makes_repositories_for_others(alice, name):
    with refused(403):
        alice.create_repo(name)


def test_an_operator_makes_them_for_anybody(operator):
    assert operator.create_repo("newcomers/theirs").repo_id == "newcomers/theirs"


def test_a_private_one_is_there_for_its_owner_alone(alice, bob, operator, make):
    name = make({"a.txt": b"a"}, private=True)
    assert alice.model_info(name).private
    assert operator.file_exists(name, "a.txt")
    for ask in (bob.model_info, bob.list_repo_files, bob.list_repo_commits, bob.list_repo_refs):
        with pytest.raises(RepositoryNotFoundError):
            ask(name)
    assert not bob.file_exists(name, "a.txt")
    with pytest.raises(RepositoryNotFoundError):
        bob.delete_repo(name)


def test_what_others_may_see_they_may_not_change(bob, make):
    name = make()
    changes = [
        lambda: bob.upload_file(path_or_fileobj=b"b", path_in_repo="b.txt", repo_id=name),
        lambda: bob.delete_repo(name),
        lambda: bob.move_repo(name, "bob/stolen"),
        lambda: bob.update_repo_settings(name, private=True),
        lambda: bob.create_branch(name, branch="b"),
        lambda: bob.create_tag(name, tag="b"),
        lambda: bob.super_squash_history(name),
    ]
    for change in changes:
        with refused(403):
            change()


def test_names_are_found_in_any_case_and_after_a_move(alice, make):
    name = make({"a.txt": b"a"})
    alice.move_repo(name, "alice/Moved")
    assert alice.model_info(name).id == "alice/Moved"
    assert alice.model_info("ALICE/moved").id == "alice/Moved"
    other = make()
    with pytest.raises(
        HfHubHTTPError, match="A model repository called alice/Moved already exists"
    ):
        alice.move_repo(other, "alice/moved")


@pytest.mark.parametrize("name", ["alice/..", "alice/a b", "alice/x.git", "alice/" + "x" * 97])
def test_names_that_no_system_takes_are_refused(served, name):
    headers = {"authorization": f"Bearer {served.tokens['alice']}"}
    owner, _, rest = name.partition("/")
    reply = httpx2.post(
        f"{served.endpoint}/api/repos/create",
        headers=headers,
        json={"organization": owner, "name": rest},
    )
    assert reply.status_code == 400
    assert "not a name" in reply.json()["error"]


def test_settings_change_who_sees_it(alice, bob, make):
    name = make()
    alice.update_repo_settings(name, visibility="private")
    assert not bob.repo_exists(name)
    alice.update_repo_settings(name, visibility="public", gated="manual")
    assert alice.model_info(name).gated == "manual"
    assert bob.repo_exists(name)


def test_a_gated_one_is_read_by_whom_its_owner_lets_in(alice, bob, make, tmp_path):
    name = make({"a.txt": b"a"})
    alice.update_repo_settings(name, gated="manual")
    with pytest.raises(GatedRepoError):
        bob.auth_check(name)
    with pytest.raises(GatedRepoError):
        bob.hf_hub_download(name, "a.txt", cache_dir=tmp_path)
    alice.grant_access(name, "bob")
    bob.auth_check(name)
    assert bob.hf_hub_download(name, "a.txt", cache_dir=tmp_path)
    alice.reject_access_request(name, "bob", rejection_reason=None)
    assert [asked.username for asked in alice.list_rejected_access_requests(name)] == ["bob"]
    with pytest.raises(GatedRepoError):
        bob.auth_check(name)
    with refused(403):
        list(bob.list_accepted_access_requests(name))


def test_likes_count_once(alice, bob, served, make):
    name = make()
    for _ in range(2):
        headers = {"authorization": f"Bearer {served.tokens['bob']}"}
        url = f"{served.endpoint}/api/models/{name}/like"
        assert httpx2.post(url, headers=headers).status_code == 200
    assert alice.model_info(name).likes == 1
    assert [user.username for user in alice.list_repo_likers(name)] == ["bob"]
    assert name in alice.list_liked_repos("bob").models
    bob.unlike(name)
    assert alice.model_info(name).likes == 0


def test_unknown_addresses_and_names_are_told_apart(served, alice, make):
    name = make()
    headers = {"authorization": f"Bearer {served.tokens['alice']}"}

    def code(path):
        reply = httpx2.get(f"{served.endpoint}/{path}", headers=headers)
        assert reply.status_code == 404
        assert isinstance(reply.json()["error"], str)
        assert reply.headers["x-request-id"]
        return reply.headers.get("x-error-code")

    assert code("api/agent-harnesses") is None
    assert code(f"api/models/{name}/unheard-of") is None
    for path in ("api/models/gpt2", "api/models/no/body/tree/main", "gpt2/resolve/main/a.txt"):
        assert code(path) == "RepoNotFound"


def test_a_description_holds_what_is_asked_for(alice, make):
    card = b"---\nlicense: mit\npipeline_tag: text-generation\ntags: [tiny]\n---\n# A model\n"
    name = make({"README.md": card, "config.json": b'{"architectures": ["LlamaForCausalLM"]}'})
    info = alice.model_info(name)
    assert (info.pipeline_tag, info.card_data.license) == ("text-generation", "mit")
    assert {"tiny", "license:mit", "text-generation"} <= set(info.tags)
    assert info.config == {"architectures": ["LlamaForCausalLM"]}
    only = alice.model_info(name, expand=["downloads", "sha"])
    assert only.downloads == 0
    assert only.sha == info.sha
    assert only.tags is None
    with refused(400) as found:
        alice.model_info(name, expand=["nonsense"])
    assert 'expected one of "author"|' in str(found.value)


def test_what_is_the_callers_is_listed_with_its_size(alice, bob, make):
    name = make({"a.txt": b"12345"}, private=True)
    [one] = [one for one in alice.list_user_repos() if one.id == name]
    assert (one.type, one.visibility) == ("model", "private")
    assert one.storage == sum(file.size for file in alice.list_repo_tree(name))
    with refused(403):
        list(bob.list_user_repos("alice"))


def test_users_and_organisations_are_shown(served, alice, make):
    make()
    served.platform.hub.namespaces.create_organisation("guild")
    served.platform.hub.namespaces.join("guild", "bob")
    user = alice.get_user_overview("ALICE")
    assert (user.username, user.num_models > 0) == ("alice", True)
    guild = alice.get_organization_overview("guild")
    assert (guild.num_users, guild.num_models) == (1, 0)
    assert [member.username for member in alice.list_organization_members("guild")] == ["bob"]
    with refused(404):
        alice.get_user_overview("guild")


@pytest.mark.parametrize(("client", "page"), [("2.4.0", ""), ("0.36.0", "models/")])
def test_older_clients_find_the_name_in_the_address(served, client, page):
    reply = httpx2.post(
        f"{served.endpoint}/api/repos/create",
        headers={
            "authorization": f"Bearer {served.tokens['alice']}",
            "user-agent": f"unknown/None; hf_hub/{client}; python/3.11.7",
        },
        json={"name": f"by-{client}"},
    )
    assert reply.json()["url"] == f"{served.endpoint}/{page}alice/by-{client}"


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("{}", "/hub/models/{}"),
        ("spaces/{}", "/hub/recipes/{}"),
        ("{}/tree/main/a%20b", "/hub/models/{}/files?folder=a+b"),
        (
            "datasets/{}/blob/refs%2Fpr%2F1/a/b.txt",
            "/hub/datasets/{}/file/a/b.txt?revision=refs%2Fpr%2F1",
        ),
        ("{}/commit/0123", "/hub/models/{}/files?revision=0123"),
        ("{}/commits/main", "/hub/models/{}/history"),
        ("{}/discussions/1", "/hub/models/{}"),
    ],
)
def test_what_clients_print_for_people_leads_to_the_console(served, address, page):
    headers = {"authorization": f"Bearer {served.tokens['alice']}"}
    reply = httpx2.get(f"{served.endpoint}/{address.format('a/b')}", headers=headers)
    assert reply.headers["location"] == page.format("a/b")
