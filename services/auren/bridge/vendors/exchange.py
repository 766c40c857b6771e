"""One HTTP exchange with a vendor: bounded in time and size, no redirects, no cookies, no proxy of the environment."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import httpx

from auren.bridge.vendors import UnusableError, UpstreamFailedError

TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
"""Seconds for each step; the whole exchange has its own limit."""

TOTAL_SECONDS: Final = 20.0
"""For one exchange with an API, from the connection to the last byte."""

RETRY_SECONDS: Final = 30.0
"""To wait after a failure when the vendor names no time."""

LONGEST_WAIT_SECONDS: Final = 24 * 3600.0
"""The longest window of any vendor's limit (WHOOP's day); a header that asks for more is taken for this."""

MOST_ERROR_BYTES: Final = 64 * 1024
"""Of an answer that is no success; only OAuth's are read, and those are short."""

_EPOCH_FROM: Final = 1_000_000_000
"""X-RateLimit-Reset is a point in time at Oura (Unix seconds) and seconds from now at WHOOP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is without content encoding; of an error it is empty when it was too long or unreadable."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)


def http_client(transport: httpx.AsyncBaseTransport | None = None, *, keep_alive: bool = True) -> httpx.AsyncClient:
    """A client for vendors, shared by all people: it keeps no cookies. `transport` for tests."""
    client = httpx.AsyncClient(
        transport=transport,
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=8 if keep_alive else 0),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "auren-bridge", "Accept-Encoding": "gzip"},
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return client


async def exchange(client: httpx.AsyncClient, request: httpx.Request, most_bytes: int, total_seconds: float) -> Answer:
    """Send `request`, read the answer. 5xx and 408 are failures of the vendor.

    Raises UpstreamFailedError, and UnusableError for a success of more than `most_bytes` (after inflating).
    """
    try:
        async with asyncio.timeout(total_seconds):
            response = await client.send(request, stream=True)
            try:
                answer = await _read(response, most_bytes)
            finally:
                await response.aclose()
    except TimeoutError:
        raise UpstreamFailedError(RETRY_SECONDS, "no whole answer in time") from None
    except httpx.RequestError as error:  # its text may show the address
        raise UpstreamFailedError(RETRY_SECONDS, f"no answer: {type(error).__name__}") from None
    if answer.status >= 500 or answer.status == 408:
        raise UpstreamFailedError(wait_seconds(answer.headers, RETRY_SECONDS), f"answered {answer.status}")
    return answer


def wait_seconds(headers: httpx.Headers, default: float, now: datetime | None = None) -> float:
    """How long the vendor asks to wait: Retry-After in seconds, else X-RateLimit-Reset, else `default`.

    `now` is needed for a reset that is a point in time. At least a second, at most a day.
    """
    for name in ("retry-after", "x-ratelimit-reset"):
        text = headers.get(name, "").strip()
        if not (text.isascii() and text.isdecimal()) or len(text) > 12:
            continue
        value = float(text)
        if value >= _EPOCH_FROM:
            if now is None:
                continue
            value -= now.timestamp()
        return min(max(value, 1.0), LONGEST_WAIT_SECONDS)
    return default


async def _read(response: httpx.Response, most_bytes: int) -> Answer:
    success = response.status_code == 200
    try:
        body = await _body(response, most_bytes if success else MOST_ERROR_BYTES)
    except UnusableError:
        if success:
            raise
        body = b""
    return Answer(response.status_code, response.headers, body)


async def _body(response: httpx.Response, most_bytes: int) -> bytes:
    """The body without gzip, never more than `most_bytes` of it in memory. Raises UnusableError."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise UnusableError("unknown content encoding")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            body += inflater.decompress(chunk, most_bytes + 1 - len(body)) if inflater else chunk
        except zlib.error:
            raise UnusableError("broken gzip") from None
        if len(body) > most_bytes:
            raise UnusableError("too large")
    if inflater and (not inflater.eof or inflater.unused_data):
        raise UnusableError("gzip is cut off, or something stands behind it")
    return bytes(body)
