"""Transactions that look first and write then, one after the other where PostgreSQL lets them overlap."""

from __future__ import annotations

from sqlalchemy import Connection, text


def take_turns(connection: Connection, over: str) -> None:
    """Whoever decides by what is there about the same thing waits for the end of this
    transaction. Call it before looking, and before any lock on rows or tables.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:over, 0))")
        connection.execute(lock, {"over": over})
