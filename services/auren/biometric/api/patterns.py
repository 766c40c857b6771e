"""What repeats in a person's measurements."""

from datetime import datetime
from typing import Annotated, Any, get_args

import asyncpg
import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import Principal
from auren.biometric.api.asking import User
from auren.biometric.learnt import Learnt
from auren.http import Caller
from auren.patterns import Kind, Level


class PatternOut(BaseModel):
    """One pattern. It is there while `ended_at` is null."""

    kind: str = Field(description=", ".join(get_args(Kind)))
    detail: str = Field(description="which of its kind: a metric, an hour, a weekday; empty where there is but one")
    level: str = Field(description=" or ".join(get_args(Level)))
    confidence: float = Field(ge=0, le=1)
    since: datetime
    last_seen: datetime
    ended_at: datetime | None
    evidence: dict[str, Any] = Field(description="the numbers that it was found in")


class PatternsOut(BaseModel):
    """Patterns that are there now, then those that were, the one that ended last first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patterns": [
                        {
                            "kind": "circadian-disruption",
                            "detail": "",
                            "level": "high",
                            "confidence": 0.86,
                            "since": "2026-03-01T07:00:00Z",
                            "last_seen": "2026-03-04T06:40:00Z",
                            "ended_at": None,
                            "evidence": {"nights": 9, "sd_minutes": 204.5, "limit_minutes": 120},
                        }
                    ]
                }
            ]
        }
    )

    patterns: list[PatternOut]


def routes(caller: Caller, learnt: Learnt) -> APIRouter:
    """`GET /patterns/{user}`."""
    routes = APIRouter(tags=["learnt"])

    @routes.get("/patterns/{user}")
    async def get_patterns(
        user: User,
        _caller: Annotated[Principal, Depends(caller)],
        ended: Annotated[bool, Query(description="also those that are not there any more")] = False,
    ) -> PatternsOut:
        """What repeats in a user's sleep and heart: each pattern with its evidence."""
        return PatternsOut(patterns=[_pattern(row) for row in await learnt.patterns(user, ended=ended)])

    return routes


def _pattern(row: asyncpg.Record) -> PatternOut:
    return PatternOut(**(dict(row) | {"evidence": msgspec.json.decode(row["evidence"])}))
