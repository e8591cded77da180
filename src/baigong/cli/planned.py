"""`--plan`."""

from __future__ import annotations
from typing import Annotated
import typer

Plan = Annotated[
    bool, typer.Option("--plan", help="say what would be done and what it takes, and do nothing")
]


def plan_and_show(platform, recipe, reasons=(), *, json):
    raise NotImplementedError
