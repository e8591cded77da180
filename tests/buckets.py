"""Buckets on a real server of S3's protocol, for whatever keeps or reads objects."""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

KEYS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "us-east-1",
}


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server in a thread, its buckets in memory."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def create(address: str) -> str:
    """The URL of a new bucket there."""
    name = f"tests-{secrets.token_hex(4)}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT")).close()
    return f"s3://{name}"
