"""WHOOP's API v2: documents by id, a recovery through the sleep that it belongs to; and lists of them by time.

Paths as in the vendor's OpenAPI, copy in api-evangelist/whoop-co, `openapi/_original/` at 2e0ac0ab. Limits: the
vendor's page on rate limiting: 100 requests a minute and 10,000 a day for each client; X-RateLimit-Reset in seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from auren.bridge.decoders import Notice
from auren.bridge.vendors import Fetched, GoneError, Page, UnusableError
from auren.bridge.vendors.calls import Api, instant, page, segment, shaped
from auren.bridge.vendors.limits import Quota

BASE_URL: Final = "https://api.prod.whoop.com/developer"
TOKEN_URL: Final = "https://api.prod.whoop.com/oauth/oauth2/token"  # noqa: S105 - an address
AUTHORIZE_URL: Final = "https://api.prod.whoop.com/oauth/oauth2/auth"
REFRESH_SCOPE: Final = "offline"
"""The vendor's tutorial on refreshing asks for it: without it no new refresh token comes."""

QUOTAS: Final = (Quota(100, 60), Quota(10_000, 86_400))


LISTS: Final = {
    "sleep": "/v2/activity/sleep",
    "workout": "/v2/activity/workout",
    "recovery": "/v2/recovery",
    "cycle": "/v2/cycle",
}
"""By type of document. `start` and `end` are times of the measurement; the newest come first."""

PAGE: Final = 25
"""Documents in one page, the most that WHOOP allows."""


class _List(msgspec.Struct):
    records: list[msgspec.Raw]
    next_token: str | None = None


class _Sleep(msgspec.Struct):
    cycle_id: int


class _Recovery(msgspec.Struct):
    sleep_id: str | None = None


class WhoopApi:
    """Fetches what WHOOP's webhooks name."""

    def __init__(self, api: Api) -> None:
        """`api` with BASE_URL, or the address of a double."""
        self._api = api

    async def fetch(self, user_id: str, notice: Notice) -> list[Fetched]:
        """The document; see vendors.Fetch. Types: sleep, workout, recovery (its id is the sleep's)."""
        if notice.deleted:
            return []
        match notice.data_type:
            case "sleep" | "workout":
                path = f"/v2/activity/{notice.data_type}/{segment(notice.document_id)}"
                return [Fetched(notice.data_type, await self._api.get(user_id, path))]
            case "recovery":
                return [Fetched("recovery", await self._recovery(user_id, notice.document_id))]
            case _:
                return []

    async def page(
        self, user_id: str, data_type: str, since: datetime, until: datetime, next_token: str | None
    ) -> Page:
        """See vendors.ListPage."""
        path = LISTS.get(data_type)
        if path is None:
            raise UnusableError("no list of this type")
        times = {"start": instant(since), "end": instant(until)}
        raw = await self._api.listed(user_id, path, {"limit": str(PAGE), **times, "nextToken": next_token})
        return page(raw, shaped(raw, _List).next_token)

    async def _recovery(self, user_id: str, sleep_id: str) -> bytes:
        """Raises GoneError also when the cycle's recovery comes from another sleep."""
        raw = await self._api.get(user_id, f"/v2/activity/sleep/{segment(sleep_id)}")
        cycle_id = shaped(raw, _Sleep).cycle_id
        raw = await self._api.get(user_id, f"/v2/cycle/{cycle_id}/recovery")
        found = shaped(raw, _Recovery).sleep_id
        if found and found.lower() != sleep_id.lower():
            raise GoneError("the cycle's recovery belongs to another sleep")
        return raw
