"""Ranges of one metric's readings: each of them, or what hours and days make of them; as JSON, CSV or Arrow."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import Principal
from auren.biometric.api import media
from auren.biometric.api.asking import (
    UNKNOWN_METRIC,
    Metric,
    Moment,
    User,
    cursor,
    invalid,
    known_metric,
    position,
)
from auren.biometric.api.views import Resolution, View, bounded, time_zone, view
from auren.biometric.ranges import Position, Ranges, pages
from auren.biometric.tabular import Rows, as_arrow, as_csv
from auren.events import METRICS
from auren.http import Caller

DEFAULT_LIMIT: Final = 1000
GREATEST_LIMIT: Final = 10_000


class ReadingOut(BaseModel):
    """One reading of the metric that was asked for."""

    time: datetime = Field(description="when it was measured, or when its interval began")
    value: float
    source: str = Field(description="provider, and device where one is named")
    end_time: datetime | None = Field(None, description="the end of its interval")
    flags: list[str] = Field([], description="why it is not trusted, or what its vendor says of it")


class BucketOut(BaseModel):
    """What the trusted readings of one source make of an hour or a day, which ends where the next one begins."""

    start: datetime
    end: datetime
    source: str
    count: int = Field(description="readings")
    average: float
    lowest: float
    highest: float
    total: float = Field(description="sum of the values: what counts for steps, energy and distance")


class ReadingsOut(BaseModel):
    """A page of readings, oldest first. `next` is the `after` of the following page, None on the last one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "metric": "heart_rate",
                    "unit": "/min",
                    "resolution": "raw",
                    "start": "2026-03-01T00:00:00Z",
                    "end": "2026-03-02T00:00:00Z",
                    "readings": [
                        {
                            "time": "2026-03-01T07:00:00Z",
                            "value": 61,
                            "source": "oura/ring",
                            "end_time": None,
                            "flags": [],
                        }
                    ],
                    "next": None,
                }
            ]
        }
    )

    metric: str
    unit: str = Field(description="UCUM")
    resolution: Literal["raw"] = "raw"
    start: datetime
    end: datetime
    readings: list[ReadingOut]
    next: str | None


class BucketsOut(BaseModel):
    """A page of hours or days, oldest first; those without readings are left out. `next` as in a page of readings."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "metric": "heart_rate",
                    "unit": "/min",
                    "resolution": "day",
                    "tz": "Europe/Berlin",
                    "start": "2026-03-29T00:00:00+01:00",
                    "end": "2026-03-30T00:00:00+02:00",
                    "buckets": [
                        {
                            "start": "2026-03-29T00:00:00+01:00",
                            "end": "2026-03-30T00:00:00+02:00",
                            "source": "oura/ring",
                            "count": 276,
                            "average": 63.2,
                            "lowest": 48,
                            "highest": 121,
                            "total": 17443.2,
                        }
                    ],
                    "next": None,
                }
            ]
        }
    )

    metric: str
    unit: str = Field(description="UCUM")
    resolution: Literal["hour", "day"]
    tz: str
    start: datetime = Field(description="the first moment of the first hour or day that begins in the range")
    end: datetime
    buckets: list[BucketOut]
    next: str | None


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "JSON in pages; CSV and Arrow as a stream of the whole range",
        "content": {
            media.CSV: {"schema": {"type": "string"}},
            media.ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {"Vary": {"schema": {"type": "string"}}},
    },
    **UNKNOWN_METRIC,
    **media.NOT_ACCEPTABLE,
}


def routes(caller: Caller, ranges: Ranges) -> APIRouter:
    """`GET /readings/{user}/{metric}`."""
    routes = APIRouter(tags=["readings"])

    @routes.get("/readings/{user}/{metric}", responses=_ANSWERS, response_model=ReadingsOut | BucketsOut)
    async def get_readings(
        user: User,
        metric: Metric,
        _caller: Annotated[Principal, Depends(caller)],
        request: Request,
        response: Response,
        start: Annotated[
            Moment | None,
            Query(alias="from", description="first moment; default a day before `to`, a week for hours, 30 d for days"),
        ] = None,
        end: Annotated[Moment | None, Query(alias="to", description="up to this moment, default now")] = None,
        resolution: Annotated[Resolution, Query(description="each reading, or a row for each hour or day")] = "raw",
        tz: Annotated[
            str,
            Query(description="whose calendar the days are of (IANA), with resolution=day", examples=["Europe/Berlin"]),
        ] = "UTC",
        after: Annotated[str | None, Query(description="`next` of the page before (JSON)")] = None,
        limit: Annotated[
            int | None, Query(ge=1, le=GREATEST_LIMIT, description=f"rows of a page (JSON), default {DEFAULT_LIMIT}")
        ] = None,
    ) -> Any:
        """A user's readings of one metric, oldest first.

        Hours are those of UTC, days those of `tz`; they hold trusted readings only, by source. The form is chosen by
        Accept: `application/json` in pages, or `text/csv` or `application/vnd.apache.arrow.stream` as one stream of
        the whole range. At most 366 days of readings, three years of hours, ten years of days.
        """
        form = media.chosen(request.headers.get("accept"))
        if tz != "UTC" and resolution != "day":
            raise invalid("tz is for days: with resolution=day")
        asked = bounded(user, known_metric(metric), start, end, resolution)
        shown = view(ranges, asked, resolution, time_zone(tz))
        if form == media.JSON:
            response.headers["Vary"] = "Accept"
            return await _page(shown, after, limit or DEFAULT_LIMIT)
        if after is not None or limit is not None:
            raise invalid("after and limit are for pages of application/json: CSV and Arrow are the whole range")
        return await _stream(shown, form)

    return routes


async def _page(shown: View, after: str | None, limit: int) -> ReadingsOut | BucketsOut:
    asked = shown.asked
    found = await shown.fetch(Position(*position(after)) if after else Position(asked.start, ""), limit + 1)
    rows = [shown.shape(record) for record in found[:limit]]
    facts: dict[str, Any] = {
        "metric": asked.metric,
        "unit": METRICS[asked.metric].unit,
        "resolution": shown.resolution,
        "start": asked.start,
        "end": asked.end,
        "next": cursor(found[limit - 1]["time"], found[limit - 1]["source"]) if len(found) > limit else None,
    }
    if shown.resolution == "raw":
        return ReadingsOut(**facts, readings=[ReadingOut(**row) for row in rows])
    return BucketsOut(**facts, tz=shown.zone.key, buckets=[BucketOut(**row) for row in rows])


async def _stream(shown: View, form: str) -> StreamingResponse:
    """The whole range. Its first page is there before the answer begins, so that what is away is said by the status."""
    metric = shown.asked.metric
    rows = await _begun(_rows(shown))
    if form == media.CSV:
        content, ending = as_csv(shown.columns, rows), "csv"
    else:
        content, ending = as_arrow(shown.columns, rows, {"metric": metric, "unit": METRICS[metric].unit}), "arrows"
    headers = {"Vary": "Accept", "Content-Disposition": f'attachment; filename="{metric}.{ending}"'}
    return StreamingResponse(content, media_type=form, headers=headers)


async def _rows(shown: View) -> AsyncIterator[Rows]:
    async for page in pages(shown.fetch, shown.asked.start):
        yield [shown.shape(record) for record in page]


async def _begun(rows: AsyncIterator[Rows]) -> AsyncIterator[Rows]:
    """The same pages, the first of which has been read."""
    first = await anext(rows, None)

    async def all_of_them() -> AsyncIterator[Rows]:
        if first is not None:
            yield first
            async for page in rows:
                yield page

    return all_of_them()
