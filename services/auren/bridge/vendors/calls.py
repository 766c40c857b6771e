"""GET of documents from a vendor's API with the person's token, within the vendor's limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from auren.bridge.vendors import (
    GoneError,
    NotAllowedError,
    Page,
    RetryLaterError,
    TokenSource,
    UnusableError,
    UpstreamFailedError,
)
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.exchange import RETRY_SECONDS, TOTAL_SECONDS, Answer, exchange, wait_seconds

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one document; a night of five-minute samples is some 50 KiB."""

LIMITED_SECONDS: Final = 60.0
"""To wait after a 429 that names no time: WHOOP's shorter window."""

LONGEST_TOKEN: Final = 4096
"""Of a page's `next_token`, which goes back in a query."""

Shape = TypeVar("Shape")

_DOCUMENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Limits(Protocol):
    """How often one vendor may be asked."""

    async def spend(self) -> None:
        """Count one request. Raises RetryLaterError when there may be none now."""
        ...

    async def pause(self, seconds: float) -> None:
        """The vendor wants no request for so long."""
        ...


class Api:
    """The API of one vendor, for all people."""

    def __init__(
        self,
        base_url: str,
        client: httpx.AsyncClient,
        tokens: TokenSource,
        limits: Limits,
        breaker: Breaker,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`base_url` without a slash at its end; `client` as exchange.http_client makes it."""
        self._base_url = base_url.rstrip("/")
        self._client = client
        self._tokens = tokens
        self._limits = limits
        self._breaker = breaker
        self._now = now

    async def get(self, user_id: str, path: str) -> bytes:
        """The JSON at `path`, not decoded. A refused token is refreshed once. Raises as vendors.Fetch."""
        token = await self._tokens.access_token(user_id)
        answer = await self._ask(path, token)
        if answer.status == 401:
            answer = await self._ask(path, await self._tokens.access_token(user_id, stale=token))
        if answer.status != 200:
            raise _refusal(answer.status)
        return answer.body

    async def listed(self, user_id: str, path: str, query: Mapping[str, str | None]) -> bytes:
        """The JSON of a list at `path`; parts of `query` that are None are left out. Raises as vendors.Fetch."""
        text = urlencode({name: value for name, value in query.items() if value is not None})
        return await self.get(user_id, f"{path}?{text}")

    async def _ask(self, path: str, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        request = self._client.build_request("GET", self._base_url + path, headers=headers)
        with self._breaker.attempt():
            await self._limits.spend()
            answer = await exchange(self._client, request, MOST_BYTES, TOTAL_SECONDS)
            if answer.status == 200 and not _is_json(answer):
                raise UpstreamFailedError(RETRY_SECONDS, "answered something that is no JSON")
        if answer.status == 429:
            seconds = wait_seconds(answer.headers, LIMITED_SECONDS, self._now())
            await self._limits.pause(seconds)
            raise RetryLaterError(seconds, "the vendor's rate limit")
        return answer


def segment(document_id: str) -> str:
    """`document_id` as a part of a path. Raises UnusableError for one that no vendor gives out."""
    if not _DOCUMENT_ID.fullmatch(document_id):
        raise UnusableError("no id of a document")
    return document_id


def shaped(raw: bytes, shape: type[Shape]) -> Shape:
    """What is needed of a document. Raises UnusableError for one that does not have it."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnusableError("the vendor's document has another shape") from None


def page(raw: bytes, next_token: str | None) -> Page:
    """A page as vendors.ListPage gives it. Raises UnusableError for a token that no vendor gives out."""
    if next_token and len(next_token) > LONGEST_TOKEN:
        raise UnusableError("no token of a page")
    return Page(raw, next_token or None)


def instant(time: datetime) -> str:
    """A time in a query: RFC 3339 in UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_json(answer: Answer) -> bool:
    content_type: str = answer.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _refusal(status: int) -> GoneError | NotAllowedError | UnusableError:
    match status:
        case 401:
            return NotAllowedError("the vendor refuses a fresh token", connection_broken=True)
        case 403:
            return NotAllowedError("a scope is missing, or the subscription at the vendor has ended")
        case 404 | 410:
            return GoneError("the vendor has no such document")
        case _:
            return UnusableError(f"the vendor answered {status}")
