"""What a job that learns tells on its way, kept so that any process can draw its curve while it runs."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec
from sqlalchemy import delete, insert, select

from baigong.store.database import Database
from baigong.store.tables import job_points
from baigong.types import Progress


class Told(NamedTuple):
    """A point: `at` in seconds since the epoch, its `step` of training in the metrics."""

    at: float
    progress: Progress


class Points:
    """The points of one job. What is heard is kept by `keep`, many at a time."""

    def __init__(self, database: Database, job: str) -> None:
        self._database = database
        self._job = job
        self._heard: list[Told] = []

    def hear(self, progress: Progress) -> None:
        """Take note of it, if it tells of a step of training."""
        if {"step", "loss"} <= progress.metrics.keys():
            self._heard.append(Told(time.time(), progress))

    def keep(self) -> None:
        """Write what was heard. A run that was killed tells some steps again: the later word counts."""
        heard = {_place(told.progress): told for told in self._heard}
        self._heard.clear()
        if not heard:
            return
        trial, step = min(heard)
        place = (job_points.c.trial > trial) | (
            (job_points.c.trial == trial) & (job_points.c.step >= step)
        )
        rows = [
            {
                "job": self._job,
                "trial": trial,
                "step": step,
                "at": told.at,
                "progress": msgspec.to_builtins(told.progress),
            }
            for (trial, step), told in heard.items()
        ]
        with self._database.begin() as connection:
            connection.execute(delete(job_points).where(job_points.c.job == self._job, place))
            connection.execute(insert(job_points), rows)

    def last_trial(self) -> list[Told]:
        """In order; of a search, those of the trial that began last."""
        query = select(job_points).where(job_points.c.job == self._job)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(job_points.c.trial, job_points.c.step)).all()
        return [
            Told(row.at, msgspec.convert(row.progress, Progress))
            for row in rows
            if row.trial == rows[-1].trial
        ]


def _place(progress: Progress) -> tuple[int, int]:
    return round(progress.metrics.get("trial", 0)), round(progress.metrics["step"])
