"""The newest reading of each metric of a person."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import Principal
from auren.biometric.api.asking import User
from auren.http import Caller
from auren.latest import LatestValue, LatestValues


class LatestOut(BaseModel):
    """The newest reading of one metric."""

    metric: str
    value: float
    unit: str = Field(description="UCUM")
    time: datetime
    source: str
    end_time: datetime | None = None
    flags: list[str] = []


class LatestValuesOut(BaseModel):
    """The newest reading of each metric. `origin` is the store that answered; `missing` names what was away."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "values": [
                        {
                            "metric": "resting_heart_rate",
                            "value": 54,
                            "unit": "/min",
                            "time": "2026-03-01T05:40:00Z",
                            "source": "oura/ring",
                            "end_time": None,
                            "flags": [],
                        }
                    ],
                    "origin": "redis",
                    "missing": [],
                }
            ]
        }
    )

    values: list[LatestOut]
    origin: str
    missing: list[str]


def routes(caller: Caller, latest: LatestValues) -> APIRouter:
    """`GET /latest/{user}`."""
    routes = APIRouter(tags=["readings"])

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
