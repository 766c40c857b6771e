"""What routes about a person have in common: who asks, which moments can be asked for, how a page goes on."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Path
from pydantic import AwareDatetime, Field

from auren.events import METRICS, USER_ID_PATTERN
from auren.http import ProblemError
from auren.openapi import Answers, problem

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Moments that can be asked for: what a database and its driver can hold in every time zone, with room."""

Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
User = Annotated[str, Path(pattern=USER_ID_PATTERN, examples=["anna"])]
Metric = Annotated[str, Path(examples=["heart_rate"])]

UNKNOWN_METRIC: Final[Answers] = problem(404, "there is no such metric", "unknown-metric")


def invalid(detail: str) -> ProblemError:
    """The 422 of a request whose parts do not fit together."""
    return ProblemError(422, "invalid", "the request is not valid", detail)


def known_metric(metric: str) -> str:
    """The metric. Raises ProblemError (404) for a name that no event may have."""
    if metric not in METRICS:
        raise ProblemError(404, "unknown-metric", "there is no such metric", ", ".join(METRICS))
    return metric


def cursor(time: datetime, tie: str) -> str:
    """Where a page ended, for `after` of the next one: its last time, and what tells rows of one time apart."""
    return base64.urlsafe_b64encode(f"{time.isoformat()}|{tie}".encode()).decode()


def position(cursor: str) -> tuple[datetime, str]:
    """(time, tie) of a cursor. Raises ProblemError (422) for anything that `cursor` did not make."""
    try:
        text, _, tie = base64.urlsafe_b64decode(cursor).decode().partition("|")
        time = datetime.fromisoformat(text)
    except (binascii.Error, ValueError):
        raise invalid("after is no cursor of this service") from None
    if time.tzinfo is None or not EARLIEST <= time <= LATEST or "\0" in tie:
        raise invalid("after is no cursor of this service")
    return time, tie
