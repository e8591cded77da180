"""Vector stores, their files and batches of files, as rows beside the knowledge bases."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.records import check_name
from baigong.knowledge.where import Scalar
from baigong.store.database import Database
from baigong.store.owning import owned
from baigong.store.paging import Cut, cut
from baigong.store.tables import knowledge_bases, vector_stores
from baigong.store.tables import vector_store_batches as batches
from baigong.store.tables import vector_store_files as attached
from baigong.store.turns import take_turns
from baigong.types import Embed

State = Literal["in_progress", "completed", "cancelled", "failed"]
STATES: tuple[State, ...] = ("in_progress", "completed", "cancelled", "failed")
T = TypeVar("T", bound=msgspec.Struct)

_DAY_S = 86400
_ACTIVE_S = 60  # how exactly the last use is remembered


class VectorStore(msgspec.Struct, frozen=True):
    """A row of its table; `knowledge` is the knowledge base."""

    id: str
    knowledge: str
    label: str
    metadata: dict[str, str]
    expires_days: int | None
    created_at: float
    active_at: float
    owner: str | None = None

    @property
    def expires_at(self) -> float | None:
        return None if self.expires_days is None else self.active_at + _DAY_S * self.expires_days

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()


class Attached(msgspec.Struct, frozen=True):
    """A file in a vector store. `tokens` is the size of a chunk where the file has its own."""

    store: str
    file: str
    batch: str | None
    state: State
    error_code: str | None
    error: str | None
    attributes: dict[str, Scalar]
    tokens: int | None
    created_at: float


class Batch(msgspec.Struct, frozen=True):
    id: str
    store: str
    created_at: float
    cancelled: bool


class VectorStores:
    """The rows, or those of one owner. All methods block.

    What is in a store is read by its id, which only whoever sees the store is given.
    """

    def __init__(self, database: Database, bases: KnowledgeBases, owner: str | None = None) -> None:
        self._database = database
        self._bases = bases
        self._owner = owner

    def of(self, owner: str | None) -> VectorStores:
        """Those that an owner sees, whose is also what is made; None sees all."""
        return VectorStores(self._database, self._bases, owner)

    def make(
        self,
        label: str,
        embed: Embed | None,
        chunking: Chunking,
        metadata: Mapping[str, str],
        expires_days: int | None,
    ) -> VectorStore:
        """A store and its knowledge base, which is called by the label where that is free."""
        made_id = f"vs_{secrets.token_hex(12)}"
        name = label if _can_be_name(label) and label not in self._bases.names() else made_id
        self._bases.ensure(name, embed, chunking)
        now = time.time()
        made = VectorStore(
            made_id, name, label, dict(metadata), expires_days, now, now, self._owner
        )
        with self._database.begin() as connection:
            connection.execute(insert(vector_stores).values(msgspec.structs.asdict(made)))
        return made

    def get(self, store: str) -> VectorStore:
        """By its id, or by the name of any knowledge base.

        Raises:
            NotFound: there is none, or it is another's.
        """
        columns = vector_stores.c
        with self._database.read() as connection:
            row = (
                connection.execute(self._seen().where(columns.id == store)).first()
                or connection.execute(self._seen().where(columns.knowledge == store)).first()
            )
        if row is not None:
            return _made(VectorStore, row)
        if self._owner is None and store in self._bases.names():
            self._adopt()
            return self.get(store)
        raise NotFound(f"There is no vector store '{store[:80]}'.", param="vector_store_id")

    def usable(self, store: str) -> VectorStore:
        """The same, used now.

        Raises:
            NotFound: there is none, or it is another's.
            InvalidInput: it has expired.
        """
        found = self.get(store)
        if found.is_expired:
            raise InvalidInput(
                f"The vector store '{found.id}' has expired.",
                hint="Give it another expires_after, or make a new one.",
                param="vector_store_id",
            )
        if time.time() - found.active_at > _ACTIVE_S:
            return self.change(found.id, active_at=time.time())
        return found

    def page(self, at: Cut) -> tuple[list[VectorStore], bool]:
        """Some of them, and whether there are more. Every knowledge base is one of the operators'."""
        self._adopt()
        with self._database.read() as connection:
            columns = vector_stores.c
            rows, more = cut(connection, self._seen(), columns.created_at, columns.id, at)
        return [_made(VectorStore, row) for row in rows], more

    def change(self, store: str, **values: Any) -> VectorStore:
        with self._database.begin() as connection:
            connection.execute(
                update(vector_stores).where(vector_stores.c.id == store).values(**values)
            )
        return self.get(store)

    def counts(self, store: str) -> dict[str, int]:
        """How many files are in each state."""
        return self._counted(attached.c.store == store)

    def batch_counts(self, batch: str) -> dict[str, int]:
        return self._counted(attached.c.batch == batch)

    def _counted(self, which: Any) -> dict[str, int]:
        query = select(attached.c.state, func.count()).where(which).group_by(attached.c.state)
        with self._database.read() as connection:
            found = {str(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    def _seen(self) -> Select[Any]:
        return select(vector_stores).where(owned(vector_stores.c.owner, self._owner))

    def _adopt(self) -> None:
        """Ids for knowledge bases that were made elsewhere."""
        known = select(vector_stores.c.knowledge)
        query = select(knowledge_bases).where(knowledge_bases.c.name.not_in(known))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            made_id = f"vs_{secrets.token_hex(12)}"
            made = VectorStore(
                made_id, row.name, row.name, {}, None, row.created_at, row.changed_at
            )
            try:
                with self._database.begin() as connection:
                    connection.execute(insert(vector_stores).values(msgspec.structs.asdict(made)))
            except IntegrityError:  # another was faster, or it was deleted
                continue

    # --- files ------------------------------------------------------------------------------

    def attach(self, made: Sequence[Attached], *, is_batch: bool = False) -> None:
        """Remember that files are to be in a store; one that is there already is put anew.

        Raises:
            Conflict: a file has just been deleted.
        """
        with self._database.begin() as connection, _deleted_meanwhile():
            take_turns(connection, f"vector store {made[0].store}")
            if is_batch:
                batch = Batch(made[0].batch or "", made[0].store, made[0].created_at, False)
                connection.execute(insert(batches).values(msgspec.structs.asdict(batch)))
            for one in made:
                connection.execute(delete(attached).where(_is(one.store, one.file)))
                connection.execute(insert(attached).values(msgspec.structs.asdict(one)))

    def file(self, store: str, file: str) -> Attached:
        """
        Raises:
            NotFound: the file is not in this store.
        """
        with self._database.read() as connection:
            row = connection.execute(select(attached).where(_is(store, file))).first()
        if row is None:
            raise NotFound(
                f"There is no file '{file[:80]}' in the vector store '{store}'.", param="file_id"
            )
        return _made(Attached, row)

    def files(
        self,
        at: Cut,
        *,
        store: str | None = None,
        batch: str | None = None,
        state: str | None = None,
    ) -> tuple[list[Attached], bool]:
        """Some of the files of a store or of a batch, and whether there are more."""
        query = select(attached)
        for column, wanted in (
            (attached.c.store, store),
            (attached.c.batch, batch),
            (attached.c.state, state),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.read() as connection:
            rows, more = cut(connection, query, attached.c.created_at, attached.c.file, at)
        return [_made(Attached, row) for row in rows], more

    def of_file(self, file: str) -> list[Attached]:
        """Every place in which a file is."""
        return self._all(attached.c.file == file)

    def unfinished(self) -> list[Attached]:
        """What a server that ended has left behind."""
        return self._all(attached.c.state == "in_progress")

    def expired(self) -> list[Attached]:
        """What is in stores that have expired."""
        until = vector_stores.c.active_at + _DAY_S * vector_stores.c.expires_days
        return self._all(
            attached.c.store.in_(select(vector_stores.c.id).where(until <= time.time()))
        )

    def end(self, store: str, file: str, state: State, *error: str) -> bool:
        """Say what became of a file that is on its way; False where it no longer is."""
        code, message = error or (None, None)
        return self._moved(
            store, file, state=state, error_code=code, error=message, when="in_progress"
        )

    def describe(self, store: str, file: str, attributes: Mapping[str, Scalar]) -> None:
        self._moved(store, file, attributes=dict(attributes))

    def detach(self, store: str, file: str) -> None:
        """
        Raises:
            NotFound: the file is not in this store.
        """
        self.file(store, file)
        with self._database.begin() as connection:
            connection.execute(delete(attached).where(_is(store, file)))

    def batch(self, store: str, batch: str) -> Batch:
        """
        Raises:
            NotFound: this store has no such batch.
        """
        query = select(batches).where(batches.c.id == batch, batches.c.store == store)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(
                f"There is no batch '{batch[:80]}' of the vector store '{store}'.",
                param="batch_id",
            )
        return _made(Batch, row)

    def cancel(self, batch: Batch) -> None:
        """Give up what of a batch is on its way."""
        with self._database.begin() as connection:
            connection.execute(
                update(batches).where(batches.c.id == batch.id).values(cancelled=True)
            )
            connection.execute(
                update(attached)
                .where(attached.c.batch == batch.id, attached.c.state == "in_progress")
                .values(state="cancelled")
            )

    def _all(self, which: Any) -> list[Attached]:
        with self._database.read() as connection:
            rows = connection.execute(select(attached).where(which)).all()
        return [_made(Attached, row) for row in rows]

    def _moved(self, store: str, file: str, *, when: str | None = None, **values: Any) -> bool:
        which = update(attached).where(_is(store, file))
        if when is not None:
            which = which.where(attached.c.state == when)
        with self._database.begin() as connection:
            return bool(connection.execute(which.values(**values)).rowcount)


@contextmanager
def _deleted_meanwhile() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise Conflict("A file or the vector store has just been deleted.") from error


def _is(store: str, file: str) -> Any:
    return (attached.c.store == store) & (attached.c.file == file)


def _can_be_name(label: str) -> bool:
    try:
        check_name(label)
    except InvalidInput:
        return False
    return True


def _made(kind: type[T], row: Row[Any]) -> T:
    return kind(*(getattr(row, name) for name in kind.__struct_fields__))
