"""Ranges of one metric's readings."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import asyncpg
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from auren.auth import Principal
from auren.biometric.api.asking import (
    UNKNOWN_METRIC,
    Caller,
    Metric,
    Moment,
    User,
    cursor,
    invalid,
    known_metric,
    position,
)
from auren.biometric.store import Position, Readings
from auren.events import METRICS

DEFAULT_RANGE: Final = timedelta(hours=24)
DEFAULT_LIMIT: Final = 1000
GREATEST_LIMIT: Final = 10_000


class ReadingOut(BaseModel):
    """One reading of the metric that was asked for."""

    time: datetime
    value: float
    source: str
    end_time: datetime | None = None
    flags: list[str] = []


class ReadingsOut(BaseModel):
    """A page of readings, oldest first. `next` is the `after` of the following page, None on the last one."""

    metric: str
    unit: str
    start: datetime
    end: datetime
    readings: list[ReadingOut]
    next: str | None


def routes(caller: Caller, readings: Readings) -> APIRouter:
    """`GET /readings/{user}/{metric}`."""
    routes = APIRouter()

    @routes.get("/readings/{user}/{metric}", responses=UNKNOWN_METRIC)
    async def get_readings(
        user: User,
        metric: Metric,
        _caller: Annotated[Principal, Depends(caller)],
        start: Annotated[Moment | None, Query(alias="from", description="first moment, default a day ago")] = None,
        end: Annotated[Moment | None, Query(alias="to", description="up to this moment, default now")] = None,
        after: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=GREATEST_LIMIT)] = DEFAULT_LIMIT,
    ) -> ReadingsOut:
        """A user's readings of one metric, oldest first, in pages."""
        known_metric(metric)
        end = end or datetime.now(UTC)
        start = start or end - DEFAULT_RANGE
        if start >= end:
            raise invalid("from must lie before to")
        begin = Position(*position(after)) if after else Position(start, "")
        found = await readings.range(user, metric, start, end, begin, limit + 1)
        return ReadingsOut(
            metric=metric,
            unit=METRICS[metric].unit,
            start=start,
            end=end,
            readings=[_reading(row) for row in found[:limit]],
            next=cursor(found[limit - 1]["time"], found[limit - 1]["source"]) if len(found) > limit else None,
        )

    return routes


def _reading(row: asyncpg.Record) -> ReadingOut:
    return ReadingOut(
        time=row["time"],
        value=row["value"],
        source=row["source"],
        end_time=row["end_time"],
        flags=row["flags"] or [],
    )
