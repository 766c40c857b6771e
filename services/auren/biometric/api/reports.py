"""A report for people to look at: one HTML page."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse
from pydantic import Field

from auren.auth import Principal
from auren.biometric.api.asking import EARLIEST, LATEST, User
from auren.biometric.api.views import time_zone
from auren.biometric.learnt import Learnt
from auren.biometric.ranges import Ranges
from auren.biometric.report.cards import report
from auren.biometric.report.drawing import Drawing
from auren.biometric.report.material import Calendar, fetch
from auren.biometric.report.page import HEADERS, html
from auren.http import Caller

DEFAULT_DAYS: Final = 7
MOST_DAYS: Final = 31

LastDay = Annotated[date, Field(ge=(EARLIEST + timedelta(days=100)).date(), le=LATEST.date())]
"""A report looks back from its last day."""

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One page without scripts, which loads nothing; charts are inside",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}


def routes(caller: Caller, ranges: Ranges, learnt: Learnt, drawing: Drawing) -> APIRouter:
    """`GET /reports/{user}`."""
    routes = APIRouter(tags=["reports"])

    @routes.get("/reports/{user}", response_class=HTMLResponse, responses=_ANSWERS)
    async def get_report(
        user: User,
        _caller: Annotated[Principal, Depends(caller)],
        days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="how many")] = DEFAULT_DAYS,
        to: Annotated[LastDay | None, Query(description="the last day, default today", examples=["2026-03-07"])] = None,
        tz: Annotated[str, Query(description="time zone (IANA)", examples=["Europe/Berlin"])] = "UTC",
    ) -> HTMLResponse:
        """HRV, resting heart rate, sleep and recovery of a week beside what is usual, and how the mode went.

        To be read on a phone, on a desk, in print, and aloud: each chart has a table with its numbers.
        """
        zone, now = time_zone(tz), datetime.now(UTC)
        last = to or now.astimezone(zone).date()
        material = await fetch(ranges, learnt, user, Calendar(last - timedelta(days=days - 1), last, zone), now)
        said = report(material)
        return HTMLResponse(html(said, await drawing.draw(said.charts)), headers=HEADERS)

    return routes
