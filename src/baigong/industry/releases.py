"""Releases: immutable, numbered, signed; and the pointer that says which one is live."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Row, delete, func, insert, select

from baigong.errors import InvalidInput, NotFound, Refused
from baigong.store.database import Database
from baigong.store.secret import Secret
from baigong.store.tables import live, live_history, releases
from baigong.store.turns import take_turns


class Content(msgspec.Struct, frozen=True):
    """What is served when the release is called, and where it came from."""

    task: str
    base: str  # model ref in the hub, with its full revision
    adapter: str | None  # adapter ref in the hub, None when nothing was tuned
    method: str  # lora | full
    persona: str | None
    knowledge: str | None  # name of the knowledge base
    knowledge_version: str | None
    embedder: str | None  # as the recipe calls it; the knowledge version knows which it was
    passages: int
    max_tokens: int
    temperature: float
    title: dict[str, str]
    description: dict[str, str]
    answer_schema: dict[str, Any] | None
    labels: tuple[str, ...]
    lineage: dict[str, Any]  # digests of recipe, dataset and software; seconds of each step
    declines: bool = False  # grounded: not asked where no passage answers
    rerank: str | None = None  # a model that orders the passages anew


@dataclass(frozen=True, slots=True)
class Release:
    """One row: `support@3`."""

    name: str
    number: int
    job: str
    content: Content
    report: dict[str, Any]
    verdict: dict[str, Any]
    digest: str
    signature: str
    created_at: float

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def passed(self) -> bool:
        return bool(self.verdict["passed"])


class Releases:
    """Reads and writes releases and the live pointer."""

    def __init__(self, database: Database, secret: Secret) -> None:
        self._database = database
        self._key = Ed25519PrivateKey.from_private_bytes(secret.derive("release signatures"))

    def create(
        self, name: str, job: str, content: Content, report: dict[str, Any], verdict: dict[str, Any]
    ) -> Release:
        """Give the result of a job the next number. The same job again gives the same release."""
        body = {"content": msgspec.to_builtins(content), "report": report, "verdict": verdict}
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        with self._database.begin() as connection:
            take_turns(connection, f"release {name}")
            found = connection.execute(select(releases).where(releases.c.job == job)).first()
            if found is not None:
                return _release(found)
            last = connection.scalar(
                select(func.max(releases.c.number)).where(releases.c.name == name)
            )
            row = {
                "name": name,
                "number": (last or 0) + 1,
                "job": job,
                **body,
                "digest": digest,
                "signature": self._key.sign(bytes.fromhex(digest)).hex(),
                "created_at": time.time(),
            }
            connection.execute(insert(releases).values(**row))
        return self.get(f"{name}@{row['number']}")

    def get(self, ref: str) -> Release:
        """`name@number`, or a bare name's live release.

        Raises:
            NotFound: no such release, or nothing is live under the name.
        """
        name, _, number = ref.partition("@")
        if number and not (number.isascii() and number.isdigit() and len(number) < 10):
            raise InvalidInput(
                f"'{ref}' is not a release.", hint="Write name@number, e.g. support@3."
            )
        with self._database.read() as connection:
            query = select(releases).where(releases.c.name == name)
            if number:
                query = query.where(releases.c.number == int(number))
            else:
                query = query.join(
                    live, (live.c.name == releases.c.name) & (live.c.number == releases.c.number)
                )
            row = connection.execute(query).first()
        if row is None:
            raise NotFound.among("release", ref, self.names())
        return _release(row)

    def history(self, name: str | None = None) -> list[Release]:
        """Newest first."""
        query = select(releases).order_by(releases.c.created_at.desc())
        if name is not None:
            query = query.where(releases.c.name == name)
        with self._database.read() as connection:
            return [_release(row) for row in connection.execute(query)]

    def live(self) -> dict[str, int]:
        """The live number of every name that has one."""
        with self._database.read() as connection:
            return {row.name: row.number for row in connection.execute(select(live))}

    def names(self) -> list[str]:
        """Every callable name: bare where live, and with each number."""
        with self._database.read() as connection:
            rows = connection.execute(select(releases.c.name, releases.c.number))
            numbered = [f"{row.name}@{row.number}" for row in rows]
            return [*connection.scalars(select(live.c.name)), *numbered]

    def promote(self, ref: str, reason: str) -> int | None:
        """Make the release live in one atomic move; the number that was live before.

        Raises:
            Refused: the release did not pass its gate.
        """
        release = self.get(ref)
        if not release.passed:
            raise Refused(
                f"{release.ref} did not pass its gate: {release.verdict['sentence']['en']}",
                hint="Live stays as it is. Mend the recipe and build again.",
            )
        with self._database.begin() as connection:
            take_turns(connection, f"live {release.name}")
            return _move(connection, release.name, release.number, reason)

    def retire(self, name: str) -> None:
        """Have nothing live under the name any more; its releases stay, by their numbers."""
        with self._database.begin() as connection:
            take_turns(connection, f"live {name}")
            connection.execute(delete(live).where(live.c.name == name))

    def rollback(self, name: str) -> tuple[int, int]:
        """Make what was live before live again; (from, to).

        Raises:
            NotFound: nothing was live before.
        """
        with self._database.begin() as connection:
            take_turns(connection, f"live {name}")
            now = connection.scalar(select(live.c.number).where(live.c.name == name))
            if now is None:
                raise NotFound.among("live release", name, list(self.live()))
            before = connection.scalar(
                select(live_history.c.previous)
                .where(live_history.c.name == name, live_history.c.number == now)
                .where(live_history.c.reason != "rollback")
                .order_by(live_history.c.id.desc())
            )
            if before is None:
                raise NotFound(
                    f"Nothing was live before {name}@{now}.",
                    hint=f"`baigong releases {name}` lists what can be promoted.",
                )
            _move(connection, name, before, "rollback")
            return now, before


def _move(connection: Connection, name: str, number: int, reason: str) -> int | None:
    previous = connection.scalar(select(live.c.number).where(live.c.name == name))
    if previous == number:
        return int(previous)
    connection.execute(delete(live).where(live.c.name == name))
    connection.execute(insert(live).values(name=name, number=number))
    connection.execute(
        insert(live_history).values(
            name=name, number=number, previous=previous, reason=reason, at=time.time()
        )
    )
    return None if previous is None else int(previous)


def _release(row: Row[Any]) -> Release:
    return Release(
        row.name,
        row.number,
        row.job,
        msgspec.convert(row.content, Content),
        row.report,
        row.verdict,
        row.digest,
        row.signature,
        row.created_at,
    )
