import time

import httpx2
import openai
import pytest

from baigong.errors import InvalidInput, NotFound
from baigong.gateway import keys as module
from baigong.gateway.keys import Keys
from baigong.store.secret import Secret
from baigong.store.tables import keys as table
from tests.servers import MODEL, open_platform, serving

HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@pytest.fixture
def keys(database, tmp_path):
    return Keys(database, Secret(tmp_path))


def test_a_key_resolves_to_its_holder_and_nothing_near_it_does(keys):
    key_id, full = keys.create("web shop")
    principal = keys.resolve(full)
    assert (principal.id, principal.name) == (key_id, "web shop")
    for wrong in (
        full[:-1],
        full + "x",
        full.upper(),
        f"bg-{key_id}-",
        f"bg-{key_id}",
        "",
        "bg",
        "bg--",
        full.replace(key_id, "0" * 12),
        "\ud800",
        "x" * 100_000,
    ):
        assert keys.resolve(wrong) is None


def test_the_database_holds_no_key(keys, database):
    _, full = keys.create("a")
    with database.read() as connection:
        row = connection.execute(table.select()).one()
    secret = full.split("-", 2)[2]
    assert all(secret not in str(value) for value in row)
    assert len(row.digest) == 64


def test_digests_are_worth_nothing_without_the_installations_secret(keys, database, tmp_path):
    _, full = keys.create("a")
    assert Keys(database, Secret(tmp_path / "other")).resolve(full) is None


def test_a_revoked_key_is_refused_at_once_here_and_within_a_second_elsewhere(
    keys, database, tmp_path
):
    elsewhere = Keys(database, Secret(tmp_path))
    key_id, full = keys.create("a")
    assert keys.resolve(full) and elsewhere.resolve(full)
    keys.revoke(key_id)
    assert keys.resolve(full) is None
    time.sleep(module.FRESH_S + 0.05)
    assert elsewhere.resolve(full) is None
    assert keys.all()[0].revoked_at is not None


def test_revoking_twice_keeps_the_first_time_and_an_unknown_id_is_not_found(keys):
    key_id, _ = keys.create("a")
    keys.revoke(key_id)
    first = keys.all()[0].revoked_at
    keys.revoke(key_id)
    assert keys.all()[0].revoked_at == first
    with pytest.raises(NotFound, match=key_id):
        keys.revoke(key_id[:-1])


def test_any_stays_true_after_the_last_key_is_revoked_and_usable_does_not(keys):
    assert not keys.any()
    key_id, _ = keys.create("a")
    assert keys.any() and keys.usable()
    keys.revoke(key_id)
    assert keys.any() and not keys.usable()


def test_memory_is_bounded_however_many_wrong_keys_are_tried(keys, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 50)
    for i in range(200):
        keys.resolve(f"bg-{i}-x")
    assert len(keys._known) == 50


def test_a_name_must_say_something(keys):
    for wrong in ("", "  ", "x" * 201):
        with pytest.raises(InvalidInput):
            keys.create(wrong)


@pytest.fixture
def guarded(tmp_path):
    """A server with one key: (its url, the key)."""
    platform = open_platform(tmp_path)
    key_id, full = Keys(platform.database, platform.secret).create("tests")
    with serving(platform) as url:
        yield url, full, key_id, platform


def test_every_style_of_credential_is_taken_and_none_or_a_wrong_one_is_401(guarded):
    url, full, key_id, platform = guarded
    styles = (
        {"authorization": f"Bearer {full}"},
        {"authorization": f"bearer  {full}"},
        {"x-api-key": full},
        {"api-key": full},
        {"cookie": f"a=b; baigong_key={full}"},
    )
    for headers in styles:
        assert httpx2.get(f"{url}/v1/models", headers=headers).status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {full}"}):
        for path in ("/v1/models", "/api/releases", "/v1/nothing", "/"):
            reply = httpx2.get(url + path, headers=headers)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "invalid_api_key"
            assert reply.headers["www-authenticate"] == "Bearer"
    assert httpx2.get(f"{url}/health").status_code == 200
    with openai.OpenAI(base_url=f"{url}/v1", api_key="bg-no-key", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**HELLO)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=full, max_retries=0) as client:
        assert client.chat.completions.create(**HELLO).usage
        Keys(platform.database, platform.secret).revoke(key_id)  # as another process would
        time.sleep(module.FRESH_S + 0.1)
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**HELLO)


def test_a_browser_is_shown_a_form_once_and_keeps_the_key_in_a_cookie(guarded):
    url, full, *_ = guarded
    html = {"accept": "text/html"}
    with httpx2.Client(base_url=url, headers=html) as browser:
        sent = browser.get("/?release=support%401")
        assert sent.status_code == 303
        assert sent.headers["location"] == "/login?next=%2F%3Frelease%3Dsupport%25401"
        assert browser.get("/login").status_code == 200
        assert browser.get("/static/console.css").status_code == 200
        wrong = browser.post("/login", data={"key": "bg-x-y", "next": "/"})
        assert wrong.headers["location"].startswith("/login?wrong=1")
        assert "set-cookie" not in wrong.headers
        right = browser.post("/login", data={"key": full, "next": "/?lang=zh"})
        assert (right.status_code, right.headers["location"]) == (303, "/?lang=zh")
        flags = right.headers["set-cookie"].lower()
        assert "httponly" in flags and "samesite=strict" in flags
        assert browser.get("/").status_code == 200
        browser.post("/logout")
        assert browser.get("/").status_code == 303


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil", "x", ""])
def test_the_form_never_leads_to_another_site(guarded, wanted):
    url, full, *_ = guarded
    reply = httpx2.post(f"{url}/login", data={"key": full, "next": wanted})
    assert reply.headers["location"] == "/"


def test_the_first_key_closes_a_server_that_was_open(tmp_path):
    platform = open_platform(tmp_path)
    with serving(platform) as url:
        assert httpx2.get(f"{url}/v1/models").status_code == 200
        key_id, _ = Keys(platform.database, platform.secret).create("first")
        time.sleep(module.FRESH_S + 0.1)
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        Keys(platform.database, platform.secret).revoke(key_id)
        assert httpx2.get(f"{url}/v1/models").status_code == 401  # and does not fall open again
