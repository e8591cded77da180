"""What lets a client send bytes without its key: signed, for one namespace, and not for long.

Addresses to upload to are called without a key, and Xet's with a token that is shown to another
part of the client. Neither may be the caller's key.
"""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

import msgspec
from starlette.requests import Request

from baigong.errors import Unauthorized
from baigong.gateway.doors.huggingface.tree import is_true
from baigong.gateway.doors.huggingface.wire import repository_of
from baigong.gateway.endpoints import actor_of
from baigong.hub.discussions import PULL
from baigong.hub.hub import Hub
from baigong.store.secret import Secret

SECONDS = {"xet": 3600, "lfs": 86400}  # addresses cannot be renewed in the middle of a file


class Ticket(msgspec.Struct, frozen=True):
    """Leave to send something into a namespace.

    Attributes:
        use: xet for anything, lfs for one file.
        namespace: whose it will be.
        user: who was given it.
        expires: seconds since the epoch.
        oid: sha256 of the file, where it is for one.
        size: its bytes.
    """

    use: Literal["xet", "lfs"]
    namespace: str
    user: str
    expires: int
    oid: str = ""
    size: int = 0


class Tickets:
    """Makes and reads them."""

    def __init__(self, secret: Secret) -> None:
        self._key = secret.derive("tickets of the Hugging Face door")

    def write(self, ticket: Ticket) -> str:
        body = msgspec.json.encode(ticket)
        return f"{_text(body)}.{_text(self._seal(body))}"

    def read(self, text: str, use: Literal["xet", "lfs"]) -> Ticket:
        """
        Raises:
            Unauthorized: it is none of ours, for something else, or too old.
        """
        try:
            body, seal = (_bytes(part) for part in text.split("."))
        except ValueError as error:
            raise _refused("is not one of this server's") from error
        if not hmac.compare_digest(seal, self._seal(body)):
            raise _refused("is not one of this server's")
        ticket = msgspec.json.decode(body, type=Ticket)
        if ticket.use != use:
            raise _refused("is for something else")
        if ticket.expires < time.time():
            raise _refused("is too old")
        return ticket

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def namespace_for(hub: Hub, request: Request, revision: str) -> str:
    """Whose the bytes will be that the caller sends to a repository. Blocks.

    Who opens a pull request, or goes on with one, sends bytes of its own.

    Raises:
        NotFound: there is no repository that the caller may see.
        NotYours: it is somebody else's.
    """
    one, actor = repository_of(hub, request), actor_of(request)
    is_pull = is_true(request.query_params.get("create_pr")) or revision.startswith(PULL)
    if is_pull and not actor.owns(one.owner):
        return actor.user
    actor.check_owns(one.owner)
    return one.owner


def expiry(use: Literal["xet", "lfs"]) -> int:
    """When a ticket that is made now ends, in seconds since the epoch."""
    return int(time.time()) + SECONDS[use]


def _refused(why: str) -> Unauthorized:
    return Unauthorized(f"The token {why}.", hint="Start the upload again.")


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
