import html
import re
from html.parser import HTMLParser
from urllib.parse import quote, unquote

import httpx2
import pytest

from baigong.console.hub.card import card_html
from baigong.console.hub.places import Place
from baigong.console.hub.view import many, size
from baigong.gateway.keys import Keys
from baigong.hub.commits import Put, Words
from baigong.hub.manifest import Entry
from tests.console.repositories import (
    CHAT,
    EVIL,
    GATED,
    HOSTILE,
    ODD_FILE,
    RECIPE,
    ROWS,
    SECRET,
    add,
    fill,
)
from tests.servers import open_platform, serving

ENGLISH, CHINESE = {"accept-language": "en"}, {"accept-language": "zh-CN"}
MODEL = f"/hub/models/{CHAT}"


def _get(url, path, **headers):
    return httpx2.get(url + path, headers={"accept": "text/html", **ENGLISH, **headers})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?search=gadget-chat", [CHAT]),
        ("?task=text-generation&language=zh&license=apache-2.0&base=tests/tiny", [CHAT]),
        (f"?dataset={ROWS}", [CHAT]),
        ("?owner=eve&sort=name", [HOSTILE]),
        ("?size=1-3", []),
        ("?search=zebra", []),
    ],
)
def test_a_list_is_searched_and_narrowed(url, query, names):
    page = _get(url, f"/hub{query}").text
    rows = re.findall(r'<th scope="row"><a href="/hub/models/([^"]*)"', page)
    assert rows == names
    assert ("Nothing here is like that" in page) == (not names)
    assert httpx2.get(url + _twin(page)).status_code == 200


@pytest.mark.parametrize("query", ["?search=gadget-chat", "?owner=eve", "?base=tests/tiny"])
def test_a_lists_twin_holds_the_same(url, query):
    page = _get(url, f"/hub{query}").text
    names = [one["name"] for one in httpx2.get(url + _twin(page)).json()["data"]]
    assert names == re.findall(r'<th scope="row"><a href="/hub/models/([^"]*)"', page) != []


def test_each_kind_has_its_list(url):
    assert f'"/hub/datasets/{ROWS}"' in _get(url, "/hub/datasets").text
    assert f'"/hub/recipes/{RECIPE}"' in _get(url, "/hub/recipes").text
    assert _get(url, "/hub/spoons").status_code == 404
    assert "资源库" in _get(url, "/hub", **CHINESE).text


def test_a_list_is_turned_by_pages_that_keep_what_was_asked(tmp_path):
    platform = open_platform(tmp_path)
    for i in range(27):
        platform.hub.add("dataset", f"many/set-{i:02}", _folder(tmp_path), {})
    with serving(platform) as there:
        first = _get(there, "/hub/datasets?search=set&sort=name").text
        assert first.count('scope="row"') == 25 and "1 to 25 of 27" in first
        after = html.unescape(re.search(r'rel="next" href="([^"]*)"', first)[1])
        last = _get(there, after).text
        assert last.count('scope="row"') == 2 and "many/set-26" in last and 'rel="next"' not in last


def test_an_empty_hub_says_what_to_type(tmp_path):
    with serving(open_platform(tmp_path)) as there:
        for kind, words in (("datasets", "--dataset"), ("recipes", "--repo-type space")):
            page = _get(there, f"/hub/{kind}").text
            assert words in page and f"HF_ENDPOINT={there}/hf" in page


def test_a_card_shows_facts_lineage_and_how_to_use_it(url):
    page = _get(url, MODEL).text
    for wanted in (
        "Answers <strong>questions</strong>",
        f'href="{MODEL}/file/docs/handbook.md"',
        f'<img src="/hf/{CHAT}/resolve/main/docs/one.png" alt="A picture">',
        'href="#card-how-to-use-it"',
        'id="card-how-to-use-it"',
        'class="number">0.91</td>',
        "Hello &lt;b&gt;",
        "LlamaForCausalLM",
        "F32 256 · F16 256",
        'href="/hub/models/tests/tiny"',
        f'href="/hub/datasets/{ROWS}"',
        "far/away",
        f"export HF_ENDPOINT={url}/hf",
        "AutoModelForCausalLM.from_pretrained(&#34;acme/gadget-chat&#34;)",
        f"baigong chat {CHAT}",
        f"base: {CHAT}",
        f"modelscope download --model {CHAT}",
    ):
        assert wanted in page, wanted
    assert "a comment that nobody reads" not in page and "example.com/two.png" not in page
    made = re.search(r"Made of it.*", _get(url, "/hub/models/tests/tiny").text, re.S)[0]
    assert f'href="{MODEL}"' in made
    assert f'href="/hub/recipes/{RECIPE}"' in page
    assert f'href="{MODEL}"' in _get(url, f"/hub/datasets/{ROWS}").text


def test_another_revision_is_chosen_for_every_page(url):
    old, new = (_get(url, f"{MODEL}/file/docs/handbook.md{at}").text for at in ("?revision=v1", ""))
    assert "All of it." in new and "All of it." not in old
    card = _get(url, f"{MODEL}?revision=next%2Ftry").text
    assert f'href="{MODEL}/history?revision=next%2Ftry"' in card
    assert f"/hf/{CHAT}/resolve/next%2Ftry/docs/one.png" in card
    assert "revision=&#34;next/try&#34;" in card and f"base: {CHAT}@next/try" in card
    assert _get(url, f"{MODEL}?revision=nowhere").status_code == 404


def test_files_are_listed_with_what_changed_them_last(url):
    page = _get(url, f"{MODEL}/files").text
    rows = dict(
        re.findall(r'scope="row"><a href="[^"]*">([^<]*)</a>.*?class="last">(.*?)</td>', page, re.S)
    )
    assert next(iter(rows)) == "docs/" and len(rows) == 6
    assert "Correct the handbook" in rows["docs/"] and "First &lt;b&gt;" in rows["config.json"]
    within = _get(url, f"{MODEL}/files?folder=docs").text
    assert f'href="/hf/{CHAT}/resolve/main/docs/handbook.md"' in within
    assert _get(url, f"{MODEL}/files?folder=none").status_code == 404


def test_a_long_text_is_shown_by_its_first_lines(url):
    page = _get(url, f"{MODEL}/file/long.txt").text
    assert page.count("<li id=") == 2000 and "line 1999" in page and "line 2000" not in page
    assert "Only the beginning is shown" in page


def test_weights_are_shown_by_their_headers(url):
    page = _get(url, f"{MODEL}/file/model.safetensors").text
    assert "model.embed_tokens.weight" in page and "32 × 8" in page and "2 tensors" in page
    broken = _get(url, f"{MODEL}/file/broken.safetensors")
    assert broken.status_code == 200 and "does not fit" in broken.text


def test_a_file_whose_bytes_are_elsewhere_is_told_of(url, platform):
    one = platform.hub.repositories.find("model", CHAT)
    puts = [
        Put("README.md", Entry("0" * 64, 9, "1" * 40, "")),
        Put("far.safetensors", Entry("1" * 64, 1 << 30, "", "")),
    ]
    platform.hub.commits.mirror(one.id, "ab" * 20, puts, Words("Mirror it", "far"), "mirrored")
    page = _get(url, f"{MODEL}/file/far.safetensors?revision=mirrored").text
    assert "1.07 GB" in page and "still at the hub that is mirrored" in page
    assert "It has no card yet" in _get(url, f"{MODEL}?revision=mirrored").text


def test_the_history_tells_who_did_what(url):
    page = _get(url, f"{MODEL}/history").text
    assert page.index("Correct the handbook") < page.index("First &lt;b&gt;files&lt;/b&gt;")
    assert "It was\nwrong." in page and "1 to 2 of 2" in page
    assert "1 to 1 of 1" in _get(url, f"{MODEL}/history?revision=v1").text


def test_every_page_of_the_hub_names_its_json_twin(url):
    for path in (
        "/hub?search=chat&sort=name&size=1-3&lang=en&page=2",
        "/hub/datasets",
        f"{MODEL}?revision=v1",
        f"{MODEL}/files?folder=docs",
        f"{MODEL}/file/model.safetensors",
        f"/hub/models/{HOSTILE}/file/{quote(ODD_FILE)}",
        f"{MODEL}/history?revision=next%2Ftry",
    ):
        twin = _twin(_get(url, path).text)
        assert httpx2.get(url + twin).status_code == 200, twin
    told = httpx2.get(f"{url}/api{MODEL}/file/model.safetensors").json()
    assert told["weights"]["dtypes"] == {"F32": 256, "F16": 256}
    assert told["weights"]["tensors"][0]["shape"] == [32, 8]


def test_nothing_that_a_stranger_wrote_becomes_a_tag(url):
    trap = f"/hub/models/{HOSTILE}"
    file = f"{trap}/file/{quote(ODD_FILE)}"
    pages = ("/hub", trap, f"{trap}/files", f"{trap}/files?folder=notes", file, f"{trap}/history")
    for path in pages:
        reply = _get(url, path)
        assert reply.status_code == 200, path
        assert "unsafe" not in reply.headers["content-security-policy"]
        tags = _tags(reply.text)
        assert not {tag for tag, _ in tags} & {"iframe", "style", "svg", "object"}
        assert [tag for tag, _ in tags].count("script") == 1  # our own
        for tag, attributes in tags:
            assert not {name for name in attributes if name.startswith("on") or name == "style"}
            for name in {"src", "href", "action"} & attributes.keys():
                address = attributes[name]
                assert address.startswith(("/", "#")) and not address.startswith("//"), (
                    tag,
                    address,
                )
    assert "press" in _get(url, trap).text
    shown = html.unescape(_get(url, file).text)
    assert all(line in shown for line in EVIL.splitlines())
    assert unquote(re.search(r'id="download" href="([^"]*)"', _get(url, file).text)[1]).endswith(
        ODD_FILE
    )
    words = quote('"><script>alert(1)</script>')
    assert (
        "<script>alert"
        not in _get(url, f"/hub?search={words}&task={words}&owner={words}&page={words}").text
    )


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("https://example.com/a", "https://example.com/a"),
        ("http://[", "http://%5B"),
        ("//[", None),
        ("mailto:a@example.com", "mailto:a@example.com"),
        ("./docs/a%20b.md#top", "/hub/models/a/b/file/docs/a%20b.md"),
        ("/x.md", "/hub/models/a/b/file/x.md"),
        ("../x.md", None),
        ("javascript:alert(1)", None),
        ("JavaScript:alert(1)", None),
        ("data:text/html,x", None),
        ("file:///etc/passwd", None),
        ("ftp://example.com", None),
        ("//example.com/x", None),
    ],
)
def test_links_of_a_card_lead_to_files_and_to_the_web_alone(link, address):
    found = re.search(r'href="([^"]*)"', card_html(f"[x]({link})", Place("model", "a/b")))
    assert (found and found[1]) == address


def test_of_a_very_long_card_the_beginning_is_shown(url, platform):
    add(platform.hub, "model", "eve/long", {"README.md": b"word " * 20_000 + b"the end"})
    page = _get(url, "/hub/models/eve/long").text
    assert "the end" not in page and "Only the beginning is shown" in page


def test_a_like_is_given_once_and_taken_back(tmp_path):
    platform = open_platform(tmp_path)
    fill(platform.hub)
    keys = Keys(platform.database, platform.secret)
    key, other = (keys.create(user, user)[1] for user in ("alice", "bob"))
    with (
        serving(platform) as there,
        httpx2.Client(base_url=there, follow_redirects=True) as browser,
    ):
        browser.headers.update({"authorization": f"Bearer {key}", "accept": "text/html", **ENGLISH})
        for _ in range(2):
            assert 'aria-pressed="true"' in browser.post(f"{MODEL}/like").text
        assert platform.hub.repositories.find("model", CHAT).likes == 1
        elsewhere = browser.get(MODEL, headers={"authorization": f"Bearer {other}"})
        assert 'aria-pressed="false"' in elsewhere.text
        assert 'aria-pressed="false"' in browser.post(f"{MODEL}/unlike").text
        assert platform.hub.repositories.find("model", CHAT).likes == 0


def test_what_is_private_is_its_owners_alone(tmp_path):
    platform = open_platform(tmp_path)
    fill(platform.hub)
    keys = Keys(platform.database, platform.secret)
    alice, bob = ({"authorization": f"Bearer {keys.create(u, u)[1]}"} for u in ("alice", "bob"))
    with serving(platform) as there:
        for path in ("", "/files", "/file/README.md", "/history"):
            for start in ("", "/api"):
                address = f"{start}/hub/models/{SECRET}{path}"
                assert _get(there, address, **alice).status_code == 200
                assert _get(there, address, **bob).status_code == 404
        assert httpx2.post(f"{there}/hub/models/{SECRET}/like", headers=bob).status_code == 404
        assert SECRET in _get(there, "/hub", **alice).text
        for path in ("/hub", "/hub?search=secret&owner=alice", "/api/hub/models"):
            assert f'hub/models/{SECRET}"' not in _get(there, path, **bob).text
        gated = f"/hub/models/{GATED}"
        assert _get(there, gated, **bob).status_code == 200
        for start in ("", "/api"):
            assert _get(there, f"{start}{gated}/file/config.json", **bob).status_code == 403


def test_numbers_are_written_as_people_say_them():
    assert [many(n) for n in (0, 999, 1000, 596_049_920, 7_615_616_512)] == [
        "0",
        "999",
        "1 K",
        "596 M",
        "7.62 B",
    ]
    assert [size(n) for n in (0, 1500, 999_600, 2.5e12)] == ["0 B", "1.5 kB", "1 MB", "2.5 TB"]


def _twin(page):
    return html.unescape(re.search(r'application/json" href="([^"]*)"', page)[1])


def _tags(page):
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    return found


def _folder(home):
    folder = home / "rows"
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("{}\n")
    return folder
