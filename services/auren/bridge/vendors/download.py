"""Payloads that Terra leaves at an address: fetched from allowed hosts only, and never from inside the network.

A pointer comes out of a log that an outside party writes, so its address is not trusted (SSRF): the host must be on
the list, each address that its name stands for must be public, and the connection goes to the address that was
checked, not to what a second look-up might say. Terra's documentation shows buckets of Google
(`storage.googleapis.com/<bucket>/…`) and speaks of S3 and of own buckets, so the list is a setting.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote

import httpx

from auren.bridge.decoders import Pointer
from auren.bridge.vendors import ExpiredError, RetryLaterError, UnusableError, UpstreamFailedError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.exchange import RETRY_SECONDS, Answer, exchange, http_client, wait_seconds
from auren.topics import MAX_BODY_BYTES

TOTAL_SECONDS: Final = 30.0
"""For one payload, from the look-up of the name to the last byte."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses that a host name stands for. Raises OSError."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address as IPv6-only clusters see it
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # RFC 4291, 2.5.5.1: deprecated, and Python calls it global


_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where payloads may lie: a domain with all below it, or also only what is below one path (a bucket)."""

    labels: tuple[str, ...]
    path: str

    @classmethod
    def parse(cls, text: str) -> Place:
        """`example.org` or `storage.example.org/bucket`. Raises ValueError; a top-level domain is none."""
        host, _, path = text.strip().partition("/")
        labels = tuple(host.lower().split("."))
        if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels) or _is_address(host):
            raise ValueError("is no host name such as payloads.example.org, with a bucket behind a slash or without")
        path = path.strip("/")
        return cls(labels, f"/{path}/" if path else "/")

    def holds(self, host: str, path: str) -> bool:
        """Whether `host` is the domain or below it, and `path` is below the path; both by whole parts."""
        return tuple(host.split("."))[-len(self.labels) :] == self.labels and path.startswith(self.path)


async def resolve(host: str) -> list[str]:
    """By the system's resolver, IPv4 first: a cluster without IPv6 is still told of such addresses."""
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in sorted(found, key=lambda entry: entry[0] != socket.AF_INET)]


class Downloads:
    """Downloads payloads; one for the process."""

    def __init__(
        self,
        allowed: Iterable[str],
        breaker: Breaker,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve = resolve,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """`allowed`: places as Place.parse reads them; none allows nothing. Raises ValueError for a wrong one."""
        self._places = [Place.parse(text) for text in allowed]
        self._breaker = breaker
        self._resolve = resolve
        self._total_seconds = total_seconds
        # No connection is used twice: it was verified for one host name, and another may share the address.
        self._client = http_client(transport, keep_alive=False)

    async def start(self) -> None:
        """There is nothing to begin: each download makes its own connection."""

    async def stop(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def download(self, pointer: Pointer, now: datetime) -> bytes:
        """The payload without content encoding, at most MAX_BODY_BYTES.

        Raises ExpiredError and UnusableError (for the DLQ), RetryLaterError.
        """
        if pointer.expires_at is not None and now >= pointer.expires_at:
            raise ExpiredError("the payload's address has expired")
        url = self._checked(pointer.url)
        with self._breaker.attempt():
            try:
                async with asyncio.timeout(self._total_seconds):
                    answer = await self._get(url)
            except TimeoutError:
                raise UpstreamFailedError(RETRY_SECONDS, "the payload did not come in time") from None
        return _payload(answer, now)

    def _checked(self, text: str) -> httpx.URL:
        """The address, parsed by what will use it. Raises UnusableError."""
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, UnicodeError):
            raise UnusableError("the payload's address cannot be read") from None
        if url.scheme != "https" or url.port is not None or url.userinfo:
            raise UnusableError("the payload's address is not plain https on the default port")
        host, path = _host(url), url.raw_path.decode("ascii").partition("?")[0]
        listed = any(place.holds(host, path) for place in self._places)
        if _is_address(host) or ".." in unquote(path).split("/") or not listed:
            raise UnusableError("the payload's host is not on the list")
        return url

    async def _get(self, url: httpx.URL) -> Answer:
        host = _host(url)
        address = await self._public_address(host)
        request = self._client.build_request(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={"Host": host},
            extensions={"sni_hostname": host},  # TLS asks for and verifies the name, not the address
        )
        return await exchange(self._client, request, MAX_BODY_BYTES, self._total_seconds)

    async def _public_address(self, host: str) -> str:
        try:
            addresses = await self._resolve(host)
        except OSError as error:
            raise UpstreamFailedError(RETRY_SECONDS, f"the payload's host: {type(error).__name__}") from None
        if not addresses:
            raise UpstreamFailedError(RETRY_SECONDS, "the payload's host has no address")
        if not all(is_public(address) for address in addresses):
            raise UnusableError("the payload's host lies inside a network")
        return addresses[0]


def is_public(text: str) -> bool:
    """Whether an address is one of the public Internet, also when it carries an IPv4 address."""
    try:
        address: _Address = ipaddress.ip_address(text)
    except ValueError:  # e.g. with a zone, which only link-local addresses have
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        elif address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _COMPATIBLE:
            return False
    return address.is_global and not address.is_multicast


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower().removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _payload(answer: Answer, now: datetime) -> bytes:
    match answer.status:
        case 200:
            return answer.body
        case 403 | 404 | 410:  # S3 and Google say 403 to a signature that has expired
            raise ExpiredError(f"the payload's address is not valid any more ({answer.status})")
        case 400 if b"ExpiredToken" in answer.body:  # Google's word for the same
            raise ExpiredError("the payload's address is not valid any more (400)")
        case 429:
            raise RetryLaterError(wait_seconds(answer.headers, RETRY_SECONDS, now), "the payload's host limits us")
        case _:
            raise UnusableError(f"the payload's host answered {answer.status}")
