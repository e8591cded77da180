import httpx2
import pytest

from baigong.gateway.guard import is_loopback
from baigong.gateway.keys import Keys
from tests.servers import open_platform, serving

FOREIGN = {"origin": "https://evil.example"}


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "box.localhost:9"])
def test_an_open_server_answers_to_loopback_names(url, host):
    assert httpx2.get(f"{url}/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"])
def test_an_open_server_does_not_answer_to_a_name_that_was_rebound_to_it(url, host):
    reply = httpx2.get(f"{url}/v1/models", headers={"host": host})
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/api/releases/support@1/promote", "/login", "/v1/embeddings"]
)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_can_change_and_spend_nothing(url, path, origin):
    for kind in ("application/json", "text/plain"):
        headers = {"origin": origin, "content-type": kind}
        reply = httpx2.post(url + path, content=b"{}", headers=headers)
        assert reply.status_code == 403
        assert "access-control-allow-origin" not in reply.headers


def test_our_own_pages_may(url):
    reply = httpx2.post(f"{url}/v1/embeddings", json={}, headers={"origin": url})
    assert reply.status_code == 400  # it got as far as the fields


def test_no_page_of_another_origin_may_read(url):
    for method in ("GET", "OPTIONS"):
        reply = httpx2.request(method, f"{url}/v1/models", headers=FOREIGN)
        assert "access-control-allow-origin" not in reply.headers


def test_with_keys_any_name_will_do_and_a_cookie_is_not_enough_from_elsewhere(tmp_path):
    platform = open_platform(tmp_path)
    _, full = Keys(platform.database, platform.secret).create("a")
    with serving(platform) as url:
        bearer = {"host": "models.example", "authorization": f"Bearer {full}"}
        assert httpx2.get(f"{url}/v1/models", headers=bearer).status_code == 200
        cookie = {"cookie": f"baigong_key={full}", **FOREIGN}
        assert httpx2.post(f"{url}/v1/embeddings", json={}, headers=cookie).status_code == 403
        explicit = {"authorization": f"Bearer {full}", **FOREIGN}
        assert httpx2.post(f"{url}/v1/embeddings", json={}, headers=explicit).status_code == 400


def test_names_that_can_only_mean_this_machine():
    assert all(map(is_loopback, ("localhost", "127.9.9.9", "::1", "a.localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "localhost.evil", "192.168.0.1", "")))
