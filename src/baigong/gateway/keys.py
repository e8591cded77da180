"""Keys: who may call. The database holds digests, so a copy of it opens nothing."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update

from baigong.errors import InvalidInput, NotFound
from baigong.hub.access import Actor, Namespaces
from baigong.store.database import Database
from baigong.store.secret import Secret
from baigong.store.tables import keys

FRESH_S = 1.0  # how long a revoked key may still be answered
REMEMBERED = 4096  # credentials kept in memory, wrong ones included


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the id and the name of a key, and what they may do in the hub."""

    id: str
    name: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the keys table; times in seconds since the epoch. The secret is not in it."""

    id: str
    name: str
    created_at: float
    revoked_at: float | None
    user: str | None = None  # of the hub; None is an operator


class Keys:
    """The keys of one database. Safe to share between threads."""

    def __init__(self, database: Database, secret: Secret) -> None:
        self._database = database
        self._namespaces = Namespaces(database)
        self._pepper = secret.derive("key digests")
        self._known: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._made = False
        self._look_again = 0.0

    def create(self, name: str, user: str | None = None) -> tuple[str, str]:
        """A new key as (id, the full key). The full key cannot be shown again.

        Args:
            name: what it is for.
            user: whose it is in the hub, where it opens only what is public or theirs; None makes
                an operator's, which opens all.

        Raises:
            InvalidInput: the name is empty or longer than 200 characters; a user's name.
            Conflict: the user is an organisation.
        """
        if not name.strip() or len(name) > 200:
            raise InvalidInput(
                f"'{name[:40]}' is not a name for a key.",
                hint="Write 1 to 200 characters that say who will use it.",
                param="name",
            )
        if user is not None:
            self._namespaces.ensure_user(user)
        key_id = secrets.token_hex(6)
        full = f"bg-{key_id}-{secrets.token_urlsafe(32)}"
        with self._database.begin() as connection:
            connection.execute(
                insert(keys).values(
                    id=key_id,
                    name=name,
                    digest=self._digest(full),
                    created_at=time.time(),
                    user=user,
                )
            )
        self._made = True
        return key_id, full

    def all(self) -> list[Key]:
        """Newest first, revoked ones included."""
        with self._database.read() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created_at.desc()))
            return [Key(row.id, row.name, row.created_at, row.revoked_at, row.user) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Make a key worthless, at once here and within `FRESH_S` in other processes.

        Raises:
            NotFound: no key has this id.
        """
        with self._database.begin() as connection:
            found = connection.execute(
                update(keys)
                .where(keys.c.id == key_id)
                .values(revoked_at=func.coalesce(keys.c.revoked_at, time.time()))
            )
            if not found.rowcount:
                raise NotFound.among("key", key_id, list(connection.scalars(select(keys.c.id))))
        with self._lock:
            self._known.clear()

    def any(self) -> bool:
        """Whether a key was ever made, revoked ones included, as seen within `FRESH_S`.

        A server that had keys must not fall open when the last one is revoked.
        """
        if not self._made and time.monotonic() > self._look_again:
            with self._database.read() as connection:
                self._made = connection.scalar(select(keys.c.id).limit(1)) is not None
            self._look_again = time.monotonic() + FRESH_S
        return self._made

    def usable(self) -> bool:
        """Whether there is a key that opens something now."""
        with self._database.read() as connection:
            query = select(keys.c.id).where(keys.c.revoked_at.is_(None)).limit(1)
            return connection.scalar(query) is not None

    def remembered(self, credential: str) -> tuple[bool, Principal | None]:
        """(whether the answer is known without the database, the answer)."""
        with self._lock:
            until, principal = self._known.get(self._digest(credential), (0.0, None))
        known = time.monotonic() < until
        return known, principal if known else None

    def resolve(self, credential: str) -> Principal | None:
        """Who holds this credential; None where it is unknown, malformed or revoked."""
        known, principal = self.remembered(credential)
        if known:
            return principal
        principal = self._look_up(credential)
        with self._lock:
            self._known[self._digest(credential)] = (time.monotonic() + FRESH_S, principal)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return principal

    def _look_up(self, credential: str) -> Principal | None:
        prefix, _, rest = credential.partition("-")
        key_id, _, secret = rest.partition("-")
        if prefix != "bg" or not key_id or not secret or len(key_id) > 16:
            return None
        with self._database.read() as connection:
            row = connection.execute(select(keys).where(keys.c.id == key_id)).first()
        # The digest is compared whether or not there is a row, so that timing tells no ids.
        same = hmac.compare_digest(self._digest(credential), row.digest if row else "0" * 64)
        if row is None or not same or row.revoked_at is not None:
            return None
        return Principal(row.id, row.name, self._namespaces.actor(row.user))

    def _digest(self, credential: str) -> str:
        data = credential.encode("utf-8", "surrogatepass")
        return hmac.new(self._pepper, data, hashlib.sha256).hexdigest()
