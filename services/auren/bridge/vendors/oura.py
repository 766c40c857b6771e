"""Oura's API v2: documents by id.

Paths and statuses as in the vendor's OpenAPI, copy in api-evangelist/oura, `openapi/_original/` at 1f1d1d98.
"""

from __future__ import annotations

from typing import Final

from auren.bridge.decoders import Notice
from auren.bridge.vendors import Fetched
from auren.bridge.vendors.calls import Api, segment
from auren.bridge.vendors.limits import Quota

BASE_URL: Final = "https://api.ouraring.com"
TOKEN_URL: Final = "https://api.ouraring.com/oauth/token"  # noqa: S105 - an address

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
