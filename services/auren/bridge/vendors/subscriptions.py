"""Oura's webhook subscriptions: what an application wants to be told, and where.

`/v2/webhook/subscription` of the vendor's OpenAPI (copy in api-evangelist/oura, `openapi/_original/` at 1f1d1d98), with
`x-client-id` and `x-client-secret` instead of a person's token. While one is made or changed, Oura asks its address for
the challenge; a subscription that does not exist (any more) is answered 403. That one which exists already is answered
409 is not in the vendor's document but in the-momentum/open-wearables, `oura/webhook_service.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec

from auren.bridge.credentials import CLIENT_ID, CLIENT_SECRET, Credentials
from auren.bridge.vendors import GoneError, RetryLaterError, UnusableError
from auren.bridge.vendors.calls import LIMITED_SECONDS, segment, shaped
from auren.bridge.vendors.exchange import Answer, exchange, wait_seconds
from auren.bridge.vendors.token_endpoint import OURS_SECONDS

PATH: Final = "/v2/webhook/subscription"
MOST_BYTES: Final = 1024 * 1024
"""Of the list: some 300 bytes for each, and an application has at most a few hundred."""

SECONDS: Final = 30.0
"""For one answer: Oura asks us, and waits for up to ten seconds, before it answers."""


class Subscription(msgspec.Struct, frozen=True):
    """One as Oura lists it: it tells `callback_url` of events of one type about documents of one type."""

    id: str
    callback_url: str
    event_type: str
    data_type: str
    expiration_time: str = ""

    @property
    def about(self) -> tuple[str, str]:
        """(data type, event type)."""
        return self.data_type, self.event_type


class TakenError(Exception):
    """Oura has such a subscription already (409)."""


class SubscriptionApi:
    """Every method raises RetryLaterError, for missing credentials too, and UnusableError with Oura's status."""

    def __init__(
        self,
        base_url: str,
        client: httpx.AsyncClient,
        credentials: Credentials,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`base_url` without a slash at its end; `client` as exchange.http_client makes it."""
        self._url = base_url.rstrip("/") + PATH
        self._client = client
        self._credentials = credentials
        self._now = now

    async def all(self) -> list[Subscription]:
        """Those of the application, whoever made them."""
        return shaped((await self._ask("GET", "")).body, list[Subscription])

    async def create(self, callback: str, token: str, about: tuple[str, str]) -> Subscription:
        """A new one. Raises TakenError."""
        return shaped((await self._ask("POST", "", _body(callback, token, about))).body, Subscription)

    async def move(self, subscription: Subscription, callback: str, token: str) -> None:
        """Let it tell another address. Raises GoneError, TakenError."""
        await self._ask("PUT", f"/{segment(subscription.id)}", _body(callback, token, subscription.about))

    async def renew(self, subscription: Subscription) -> None:
        """Let it expire later. Raises GoneError."""
        await self._ask("PUT", f"/renew/{segment(subscription.id)}")

    async def delete(self, subscription: Subscription) -> None:
        """End it. Raises GoneError."""
        await self._ask("DELETE", f"/{segment(subscription.id)}")

    async def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        request = self._client.build_request(
            method, self._url + path, headers=self._headers(), json=body, timeout=httpx.Timeout(SECONDS)
        )
        answer = await exchange(self._client, request, MOST_BYTES, SECONDS)
        match answer.status:
            case 200 | 201 | 204:
                return answer
            case 403 | 404 if path:
                raise GoneError("Oura has no such subscription")
            case 409:
                raise TakenError
            case 429:
                seconds = wait_seconds(answer.headers, LIMITED_SECONDS, self._now())
                raise RetryLaterError(seconds, "Oura's rate limit")
            case status:
                raise UnusableError(f"Oura answered {status}")

    def _headers(self) -> dict[str, str]:
        client_id, secret = self._credentials.get(CLIENT_ID), self._credentials.get(CLIENT_SECRET)
        if client_id is None or secret is None:
            raise RetryLaterError(OURS_SECONDS, "no client credentials")
        return {"x-client-id": client_id.decode(), "x-client-secret": secret.decode()}


def _body(callback: str, token: str, about: tuple[str, str]) -> dict[str, str]:
    data_type, event_type = about
    return {
        "callback_url": callback,
        "verification_token": token,
        "event_type": event_type,
        "data_type": data_type,
    }
