from __future__ import annotations

import gzip
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from baigong.errors import InvalidInput, Unreachable
from baigong.knowledge.connectors.fetch import Fetcher
from baigong.knowledge.connectors.public import is_public
from tests.knowledge.connectors.site import HOST, WebSite


def test_a_page_with_its_kind_and_our_own_agent(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/a?b=1", "hello", "text/plain; charset=utf-8")
    response = fetcher.get(f"{site.url}/a?b=1#part", most=100)
    assert (response.data, response.kind, response.url) == (
        b"hello",
        "text/plain",
        f"{site.url}/a?b=1",
    )
    _, headers = site.asked[0]
    assert headers["User-Agent"].startswith("baigong/")
    assert headers["Host"] == site.url.removeprefix("http://")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("100.100.100.200", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("168.63.129.16", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::"),
        *("64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1", "2001::1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::101:101"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"])
def test_private_hosts_are_refused_however_written(site: WebSite, host: str) -> None:
    port = site.url.rpartition(":")[2]
    with pytest.raises(InvalidInput, match="not a public address"):
        Fetcher().get(f"http://{host}:{port}/", most=100)
    assert site.asked == []


def test_a_redirect_to_a_private_host_is_refused(site: WebSite, fetcher: Fetcher) -> None:
    port = site.url.rpartition(":")[2]
    site.put("/out", status=302, Location=f"http://localhost:{port}/secret")
    site.put("/secret", "secret")
    with pytest.raises(InvalidInput, match="'localhost' is at"):
        fetcher.get(f"{site.url}/out", most=100)
    assert site.paths == ["/out"]


def test_a_redirect_to_no_web_address_is_refused(site: WebSite, fetcher: Fetcher) -> None:
    for target in ("file:///etc/passwd", "ftp://x/", "http://u:p@127.0.0.1/", "gopher://x"):
        site.put("/out", status=302, Location=target)
        with pytest.raises(InvalidInput) as caught:
            fetcher.get(f"{site.url}/out", most=100)
        assert "u:p" not in str(caught.value)


def test_redirects_are_followed_to_the_end_but_not_for_ever(
    site: WebSite, fetcher: Fetcher
) -> None:
    site.put("/a", status=301, Location="/b")
    site.put("/b", status=307, Location="c")
    site.put("/c", "there")
    response = fetcher.get(f"{site.url}/a", most=100)
    assert (response.url, response.data) == (f"{site.url}/c", b"there")
    site.put("/loop", status=302, Location="/loop")
    with pytest.raises(InvalidInput, match="redirects more than"):
        fetcher.get(f"{site.url}/loop", most=100)


def test_the_address_that_was_checked_is_the_one_connected_to(
    site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = socket.getaddrinfo, []

    def rebinding(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *args, **more)
        asked.append(host)
        return real(HOST if len(asked) == 1 else "127.0.0.66", port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    site.put("/", "first")
    port = site.url.rpartition(":")[2]
    response = Fetcher(("rebind.example",)).get(f"http://rebind.example:{port}/", most=100)
    assert (response.data, asked) == (b"first", ["rebind.example"])
    assert site.asked[0][1]["Host"] == f"rebind.example:{port}"


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixed(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        row = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*row, ("1.1.1.1", port)), (*row, (HOST, port))]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    with pytest.raises(InvalidInput, match="not a public address"):
        Fetcher().get("http://mixed.example/", most=100)


def test_a_body_without_an_end_stops_at_the_limit(site: WebSite, fetcher: Fetcher) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    site.answers["/endless"] = endless
    with pytest.raises(InvalidInput, match="more than 1,000,000 bytes"):
        fetcher.get(f"{site.url}/endless", most=1_000_000)
    glance = fetcher.get(f"{site.url}/endless", most=1000, head_only=True)
    assert glance.data == b"x" * 1000


def test_a_packed_body_counts_unpacked(site: WebSite, fetcher: Fetcher) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    site.put("/bomb", bomb, Content_Encoding="gzip")
    with pytest.raises(InvalidInput, match="more than 1,000,000 bytes"):
        fetcher.get(f"{site.url}/bomb", most=1_000_000)
    site.put("/good", gzip.compress(b"hello") + gzip.compress(b" you"), Content_Encoding="gzip")
    assert fetcher.get(f"{site.url}/good", most=100).data == b"hello you"


def test_a_torn_body_is_no_body(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/torn", gzip.compress(b"hello" * 100)[:-12], Content_Encoding="gzip")
    with pytest.raises(Unreachable, match="ends too early"):
        fetcher.get(f"{site.url}/torn", most=1000)
    site.put("/odd", b"hello", Content_Encoding="br")
    with pytest.raises(InvalidInput, match="packed as 'br'"):
        fetcher.get(f"{site.url}/odd", most=1000)


@pytest.mark.parametrize("part", ["header", "body"])
def test_what_only_drips_ends_in_time(site: WebSite, part: str) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        if part == "body":
            handler.wfile.write(b"\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)

    site.answers["/drip"] = drip
    with pytest.raises(Unreachable, match="in time"):
        Fetcher((HOST,), delay_s=0, total_s=0.4).get(f"{site.url}/drip", most=1_000_000)


def test_headers_without_an_end_are_refused(site: WebSite, fetcher: Fetcher) -> None:
    def chatter(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: y\r\n" * 1_000_000)

    site.answers["/chatter"] = chatter
    with pytest.raises(Unreachable):
        fetcher.get(f"{site.url}/chatter", most=100)


def test_a_server_that_stumbles_is_asked_again(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/later", "there")
    there = site.answers["/later"]

    def first(handler: BaseHTTPRequestHandler) -> None:
        site.answers["/later"] = there
        handler.send_response(503)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.answers["/later"] = first
    assert fetcher.get(f"{site.url}/later", most=100).data == b"there"
    assert site.paths == ["/later", "/later"]


def test_a_server_that_asks_for_long_patience_is_left_alone(
    site: WebSite, fetcher: Fetcher
) -> None:
    site.put("/busy", status=429, Retry_After="3600")
    with pytest.raises(Unreachable, match="status 429"):
        fetcher.get(f"{site.url}/busy", most=100)
    assert site.paths == ["/busy"]


def test_what_stays_down_is_unreachable_and_what_refuses_is_wrong(
    site: WebSite, fetcher: Fetcher
) -> None:
    site.put("/down", status=500)
    with pytest.raises(Unreachable, match=f"{site.url}/down could not be fetched.*status 500"):
        fetcher.get(f"{site.url}/down", most=100)
    assert len(site.asked) == 3
    site.put("/closed", status=403)
    with pytest.raises(InvalidInput, match="status 403"):
        fetcher.get(f"{site.url}/closed", most=100)
    with pytest.raises(Unreachable, match="refused"):
        fetcher.get(f"http://{HOST}:1/", most=100)


@pytest.mark.parametrize("url", ["https://ida:s3cret@x.example/", "https://s3cret@x.example/a@b"])
def test_credentials_in_addresses_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="name or password") as caught:
        Fetcher().get(url, most=100)
    assert "s3cret" not in str(caught.value) and "x.example" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/", "x.example", "https://", "http:"]
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        Fetcher().get(url, most=100)


def test_requests_to_one_host_keep_their_distance(site: WebSite) -> None:
    site.put("/", "x")
    fetcher = Fetcher((HOST,), delay_s=0.15)
    began = time.monotonic()
    for _ in range(3):
        fetcher.get(site.url, most=100)
    assert time.monotonic() - began >= 0.3  # a lower bound: no machine is too fast for it


def test_odd_headers_of_a_server_are_not_sent_back(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/", "x", ETag='"\u00e9"', Last_Modified="Wed, 25 Nov 2026 12:00:00 GMT")
    response = fetcher.get(site.url, most=100)
    assert response.validators == ("", "Wed, 25 Nov 2026 12:00:00 GMT")
    assert fetcher.get_changed(site.url, response.validators, most=100).status == 304


def certify(folder: Path, host: str) -> Path:
    """A certificate for a host, signed by itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509
        .CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path


def test_certificates_are_checked_for_the_name_and_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def known(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        return real(HOST if host.endswith(".example") else host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    own = certify(tmp_path, "tls.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    hosts = ("tls.example", "other.example")
    with WebSite().open(context) as site:
        site.put("/", "safe")
        port = site.url.rpartition(":")[2]
        with pytest.raises(Unreachable, match="certificate"):
            Fetcher(hosts, delay_s=0).get(f"https://tls.example:{port}/", most=100)
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        fetcher = Fetcher(hosts, delay_s=0)
        assert fetcher.get(f"https://tls.example:{port}/", most=100).data == b"safe"
        with pytest.raises(Unreachable, match="certificate"):
            fetcher.get(f"https://other.example:{port}/", most=100)
