"""Whose a row is, decided here alone: a user sees their own rows, an operator sees all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, true
from sqlalchemy.sql.elements import ColumnElement


def owned(column: Column[Any], owner: str | None) -> ColumnElement[bool]:
    """What an owner sees, by the column of owners; None is an operator."""
    return true() if owner is None else column == owner
