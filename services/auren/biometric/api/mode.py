"""A person's cognitive mode: which one, since when and why, and those before."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import asyncpg
import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import Principal
from auren.biometric.api.asking import Moment, User, cursor, invalid, position
from auren.biometric.learnt import FIRST, Learnt, SwitchPosition
from auren.http import Caller
from auren.modes import Mode

DEFAULT_RANGE: Final = timedelta(days=30)
DEFAULT_LIMIT: Final = 100
GREATEST_LIMIT: Final = 1000
NOTHING_YET: Final = "nothing has been measured yet"
NO_SWITCH_YET: Final = "no rule has held yet"

_WHY: Final[dict[str, Any]] = {
    "rule": "hrv-fall",
    "reason": "HRV (RMSSD) fell 34 % below the usual 62 ms",
    "confidence": 0.9,
    "evidence": [
        {
            "metric": "hrv_rmssd",
            "value": 41,
            "unit": "ms",
            "time": "2026-03-01T07:00:00Z",
            "comparison": "drop_ratio",
            "threshold": 0.3,
            "baseline": 62.1,
            "derived": False,
            "confidence": 0.9,
        }
    ],
    "off": [{"metric": "spo2", "why": "absent"}],
}


class EvidenceOut(BaseModel):
    """A condition that was met: by which value, against what."""

    metric: str
    value: float
    unit: str
    time: datetime
    comparison: str
    threshold: float
    baseline: float | None = Field(None, description="the person's usual value, where the condition compares with it")
    derived: bool = Field(False, description="computed from another value, not measured")
    confidence: float = Field(1.0, description="0 to 1: less for what is derived, or compared with few days")


class OffOut(BaseModel):
    """Why rules about a metric could not be applied."""

    metric: str
    why: str


class WhyOut(BaseModel):
    """What a mode was decided by."""

    rule: str | None = Field(description="of the thresholds in force; null when no rule holds any more")
    reason: str
    confidence: float | None = Field(description="0 to 1; null before the first decision")
    evidence: list[EvidenceOut]
    off: list[OffOut]


class ModeOut(WhyOut):
    """The mode now. `since` is null for somebody of whom nothing came yet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"mode": "reflex", "since": "2026-03-01T07:02:11Z", "as_of": "2026-03-01T09:30:00Z", **_WHY}]
        }
    )

    mode: Mode
    since: datetime | None
    as_of: datetime | None = Field(description="when the newest event that was judged was received")


class SwitchOut(WhyOut):
    """One switch of the mode."""

    id: uuid.UUID
    at: datetime
    mode: Mode
    previous: Mode


class HistoryOut(BaseModel):
    """A page of switches, oldest first. `next` is the `after` of the following page, null on the last one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "start": "2026-02-01T00:00:00Z",
                    "end": "2026-03-02T00:00:00Z",
                    "switches": [
                        {
                            "id": "4f5c0f4e-6a55-5c5b-9d3c-0b8f1f3f1a77",
                            "at": "2026-03-01T07:02:11Z",
                            "mode": "reflex",
                            "previous": "baseline",
                            **_WHY,
                        }
                    ],
                    "next": None,
                }
            ]
        }
    )

    start: datetime
    end: datetime
    switches: list[SwitchOut]
    next: str | None


def routes(caller: Caller, learnt: Learnt) -> APIRouter:
    """`GET /mode/{user}` and `GET /mode/{user}/history`."""
    routes = APIRouter(tags=["learnt"])

    @routes.get("/mode/{user}")
    async def get_mode(user: User, _caller: Annotated[Principal, Depends(caller)]) -> ModeOut:
        """A user's cognitive mode, since when, and why."""
        row = await learnt.mode(user)
        if row is None:
            return ModeOut(mode=Mode.BASELINE, since=None, as_of=None, **_without(NOTHING_YET))
        return ModeOut(mode=row["mode"], since=row["mode_since"], as_of=row["clock"], **_why(row))

    @routes.get("/mode/{user}/history")
    async def get_history(
        user: User,
        _caller: Annotated[Principal, Depends(caller)],
        start: Annotated[
            Moment | None, Query(alias="from", description="first moment, default 30 d before `to`")
        ] = None,
        end: Annotated[Moment | None, Query(alias="to", description="up to this moment, default now")] = None,
        after: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=GREATEST_LIMIT, description="switches of a page")] = DEFAULT_LIMIT,
    ) -> HistoryOut:
        """How a user's mode has switched, oldest first, in pages; each switch with what led to it."""
        end = end or datetime.now(UTC)
        start = start or end - DEFAULT_RANGE
        if start >= end:
            raise invalid("from must lie before to")
        begin = _position(after) if after else SwitchPosition(start, FIRST)
        found = await learnt.switches(user, start, end, begin, limit + 1)
        return HistoryOut(
            start=start,
            end=end,
            switches=[switch(row) for row in found[:limit]],
            next=cursor(found[limit - 1]["at"], str(found[limit - 1]["id"])) if len(found) > limit else None,
        )

    return routes


def switch(row: asyncpg.Record) -> SwitchOut:
    """A row of the table as the API gives it."""
    return SwitchOut(id=row["id"], at=row["at"], mode=row["mode"], previous=row["previous"], **_why(row))


def _why(row: asyncpg.Record) -> dict[str, Any]:
    if row["reason"] is None:
        return _without(NO_SWITCH_YET)
    return {
        "rule": row["rule"],
        "reason": row["reason"],
        "confidence": row["confidence"],
        "evidence": msgspec.json.decode(row["evidence"]),
        "off": msgspec.json.decode(row["off"]),
    }


def _without(reason: str) -> dict[str, Any]:
    """The members of WhyOut where nothing was decided."""
    return {"rule": None, "reason": reason, "confidence": None, "evidence": [], "off": []}


def _position(after: str) -> SwitchPosition:
    at, text = position(after)
    try:
        return SwitchPosition(at, uuid.UUID(text))
    except ValueError:
        raise invalid("after is no cursor of this service") from None
