"""What is usual for a person."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import Principal
from auren.baselines import LEAST_DAYS, Baseline, DayValue, baseline, by_day, values_of_days
from auren.biometric.api.asking import EARLIEST, LATEST, UNKNOWN_METRIC, Metric, User, known_metric
from auren.biometric.learnt import Learnt
from auren.events import METRICS
from auren.http import Caller

WINDOWS: Final = tuple(sorted(LEAST_DAYS))
AsOf = Annotated[date, Field(ge=(EARLIEST + timedelta(days=100)).date(), le=LATEST.date())]
"""A baseline looks back from its day."""


class BaselineOut(BaseModel):
    """One window. The numbers are null where no day has a value."""

    window_days: int
    start: date = Field(description="the first day of the window")
    end: date = Field(description="the day after its last, which is the day that it is as of")
    days: int = Field(description="days of the window that have a value")
    readings: int = Field(description="trusted readings that they are made of")
    trusted: bool = Field(description="whether there are enough days to compare with")
    least_days: int = Field(description="days from which on it is trusted")
    mean: float | None
    sd: float | None = Field(description="sample standard deviation of the days' values")
    median: float | None
    mad: float | None = Field(description="median absolute deviation from the median, not scaled")


class BaselinesOut(BaseModel):
    """The windows, and the values of days that they are made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "metric": "hrv_rmssd",
                    "unit": "ms",
                    "as_of": "2026-03-29",
                    "baselines": [
                        {
                            "window_days": 28,
                            "start": "2026-03-01",
                            "end": "2026-03-29",
                            "days": 26,
                            "readings": 214,
                            "trusted": True,
                            "least_days": 7,
                            "mean": 62.1,
                            "sd": 7.4,
                            "median": 61.8,
                            "mad": 4.9,
                        }
                    ],
                    "values": {"2026-03-28": 58.4},
                }
            ]
        }
    )

    metric: str
    unit: str = Field(description="UCUM")
    as_of: date
    baselines: list[BaselineOut]
    values: dict[date, float] = Field(description="value of each day that has one: the mean, or the sum of the day")


def routes(caller: Caller, learnt: Learnt) -> APIRouter:
    """`GET /baselines/{user}/{metric}`."""
    routes = APIRouter(tags=["learnt"])

    @routes.get("/baselines/{user}/{metric}", responses=UNKNOWN_METRIC)
    async def get_baselines(
        user: User,
        metric: Metric,
        _caller: Annotated[Principal, Depends(caller)],
        at: Annotated[
            AsOf | None,
            Query(
                description="the day to compare with what came before it, default today in UTC", examples=["2026-03-29"]
            ),
        ] = None,
    ) -> BaselinesOut:
        """What was usual for a user as of a day: over the 7 and the 28 days before it, from trusted readings."""
        as_of = at or datetime.now(UTC).date()
        rows = await learnt.daily_values(user, [known_metric(metric)], as_of - timedelta(days=WINDOWS[-1]), as_of)
        days = by_day(DayValue(row["day"], row["source"], row["count"], row["total"]) for row in rows)
        return BaselinesOut(
            metric=metric,
            unit=METRICS[metric].unit,
            as_of=as_of,
            baselines=[_out(baseline(metric, days, as_of, window), window, as_of) for window in WINDOWS],
            values=values_of_days(metric, days, date.min, date.max),
        )

    return routes


def _out(found: Baseline | None, window: int, as_of: date) -> BaselineOut:
    return BaselineOut(
        window_days=window,
        start=as_of - timedelta(days=window),
        end=as_of,
        days=found.days if found else 0,
        readings=found.readings if found else 0,
        trusted=found is not None and found.trusted,
        least_days=LEAST_DAYS[window],
        mean=found.mean if found else None,
        sd=found.sd if found else None,
        median=found.median if found else None,
        mad=found.mad if found else None,
    )
