"""Oura's API v2: documents by id, and lists of them by time.

Paths and statuses as in the vendor's OpenAPI, copy in api-evangelist/oura, `openapi/_original/` at 1f1d1d98.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from auren.bridge.decoders import Notice
from auren.bridge.decoders.oura import HEART_RATE
from auren.bridge.vendors import Fetched, Page, UnusableError
from auren.bridge.vendors.calls import Api, instant, page, segment, shaped
from auren.bridge.vendors.limits import Quota

BASE_URL: Final = "https://api.ouraring.com"
TOKEN_URL: Final = "https://api.ouraring.com/oauth/token"  # noqa: S105 - an address
AUTHORIZE_URL: Final = "https://cloud.ouraring.com/oauth/authorize"
REVOKE_URL: Final = "https://api.ouraring.com/oauth/revoke"

QUOTAS: Final[tuple[Quota, ...]] = ()
"""Oura says in each answer how much is left, and 429 with Retry-After; it states no quota of its own accord."""

PATHS: Final = {
    name: name
    for name in (
        "tag",
        "enhanced_tag",
        "workout",
        "session",
        "sleep",
        "daily_sleep",
        "daily_readiness",
        "daily_activity",
        "daily_spo2",
        "sleep_time",
        "rest_mode_period",
        "ring_configuration",
        "daily_stress",
        "daily_cardiovascular_age",
        "daily_resilience",
    )
} | {"vo2_max": "vO2_max"}
"""The types that have a route by id, and how it is spelled. `meal` has a webhook but no route."""


DAY: Final = timedelta(days=1)
"""Days are the person's own, from fourteen hours before ours to twelve behind, so a list is asked for a day more."""


class _List(msgspec.Struct):
    data: list[msgspec.Raw]
    next_token: str | None = None


class OuraApi:
    """Fetches what Oura's webhooks name."""

    def __init__(self, api: Api) -> None:
        """`api` with BASE_URL, or the address of a double."""
        self._api = api

    async def fetch(self, user_id: str, notice: Notice) -> list[Fetched]:
        """The document; see vendors.Fetch."""
        path = PATHS.get(notice.data_type)
        if path is None or notice.deleted:
            return []
        raw = await self._api.get(user_id, f"/v2/usercollection/{path}/{segment(notice.document_id)}")
        return [Fetched(notice.data_type, raw)]

    async def page(
        self, user_id: str, data_type: str, since: datetime, until: datetime, next_token: str | None
    ) -> Page:
        """See vendors.ListPage. Heart rates go by moments, at most 30 days of them; all else by days."""
        if data_type == HEART_RATE:
            path, query = HEART_RATE, {"start_datetime": instant(since), "end_datetime": instant(until)}
        else:
            path = PATHS.get(data_type, "")
            # Whether the last day is in it differs from type to type at Oura, hence another one.
            query = {"start_date": _day(since - DAY), "end_date": _day(until + 2 * DAY)}
        if not path:
            raise UnusableError("no list of this type")
        raw = await self._api.listed(user_id, f"/v2/usercollection/{path}", {**query, "next_token": next_token})
        return page(raw, shaped(raw, _List).next_token)


def _day(time: datetime) -> str:
    return instant(time)[: len("2025-03-01")]
