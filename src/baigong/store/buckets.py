"""How a bucket is reached that is not at Amazon."""

from __future__ import annotations

import os

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def is_plain_http() -> bool:
    """Whether the environment names an endpoint without TLS, as of a server in one's own network.

    The libraries take the address from there by themselves, and refuse it unless they are told.
    """
    return any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
