"""What people and other parts may ask: ranges of readings, and the latest values."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime, BaseModel, Field

from auren.auth import SCOPE_READ_BIOMETRICS, Principal, Verifier
from auren.biometric.store import Position, Readings
from auren.events import METRICS, USER_ID_PATTERN
from auren.http import ProblemError, authenticated
from auren.latest import LatestValue, LatestValues
from auren.openapi import problem

DEFAULT_RANGE: Final = timedelta(hours=24)
DEFAULT_LIMIT: Final = 1000
GREATEST_LIMIT: Final = 10_000
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Moments that can be asked for: what a database and its driver can hold in every time zone, with room."""

Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
User = Annotated[str, Path(pattern=USER_ID_PATTERN)]


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


class LatestOut(BaseModel):
    """The newest reading of one metric."""

    metric: str
    value: float
    unit: str
    time: datetime
    source: str
    end_time: datetime | None = None
    flags: list[str] = []


class LatestValuesOut(BaseModel):
    """The newest reading of each metric. `origin` is the store that answered; `missing` names what was away."""

    values: list[LatestOut]
    origin: str
    missing: list[str]


def router(verifier: Verifier, readings: Readings, latest: LatestValues) -> APIRouter:
    """The routes. Every one takes a bearer token with `read:biometrics` whose `sub` is the user of the path."""
    routes = APIRouter()
    caller = authenticated(verifier, SCOPE_READ_BIOMETRICS)

    @routes.get("/readings/{user}/{metric}", responses=problem(404, "there is no such metric", "unknown-metric"))
    async def get_readings(
        user: User,
        metric: Annotated[str, Path(examples=["heart_rate"])],
        _caller: Annotated[Principal, Depends(caller)],
        start: Annotated[Moment | None, Query(alias="from", description="first moment, default a day ago")] = None,
        end: Annotated[Moment | None, Query(alias="to", description="up to this moment, default now")] = None,
        after: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=GREATEST_LIMIT)] = DEFAULT_LIMIT,
    ) -> ReadingsOut:
        """A user's readings of one metric, oldest first, in pages."""
        if metric not in METRICS:
            raise ProblemError(404, "unknown-metric", "there is no such metric", ", ".join(METRICS))
        end = end or datetime.now(UTC)
        start = start or end - DEFAULT_RANGE
        if start >= end:
            raise ProblemError(422, "invalid", "the request is not valid", "from must lie before to")
        position = _position(after) if after else Position(start, "")
        found = await readings.range(user, metric, start, end, position, limit + 1)
        return ReadingsOut(
            metric=metric,
            unit=METRICS[metric].unit,
            start=start,
            end=end,
            readings=[_reading(row) for row in found[:limit]],
            next=_cursor(found[limit - 1]) if len(found) > limit else None,
        )

    @routes.get("/latest/{user}")
    async def get_latest(user: User, _caller: Annotated[Principal, Depends(caller)]) -> LatestValuesOut:
        """The newest reading of each metric of a user in the last 30 days; from PostgreSQL when Redis is away."""
        found = await latest.of(user)
        return LatestValuesOut(
            values=[_latest(found.values[metric]) for metric in sorted(found.values)],
            origin=found.origin,
            missing=[f"redis: {found.redis_trouble}"] if found.redis_trouble else [],
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


def _latest(value: LatestValue) -> LatestOut:
    return LatestOut(
        metric=value.metric,
        value=value.value,
        unit=value.unit,
        time=value.time,
        source=value.source,
        end_time=value.end_time,
        flags=list(value.flags),
    )


def _cursor(row: Any) -> str:
    return base64.urlsafe_b64encode(f"{row['time'].isoformat()}|{row['source']}".encode()).decode()


def _position(cursor: str) -> Position:
    """Where a page ended. Raises ProblemError (422) for anything that `_cursor` did not make."""
    try:
        time, _, source = base64.urlsafe_b64decode(cursor).decode().partition("|")
        position = Position(datetime.fromisoformat(time), source)
    except (binascii.Error, ValueError):
        raise ProblemError(422, "invalid", "the request is not valid", "after is no cursor of this service") from None
    if position.time.tzinfo is None or not EARLIEST <= position.time <= LATEST or "\0" in source:
        raise ProblemError(422, "invalid", "the request is not valid", "after is no cursor of this service")
    return position
