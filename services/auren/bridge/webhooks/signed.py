"""Webhooks signed with HMAC-SHA256 over the raw body and a timestamp. What differs between vendors is data."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from auren.auth import NotConfiguredError, UnauthorizedError
from auren.bridge.credentials import Credentials
from auren.bridge.webhooks import SMALL_BODY_BYTES, Claim, RequestHeaders, Wire

DEFAULT_WINDOW_SECONDS: Final = 300.0
"""How far a timestamp may lie from now. No vendor states one; 5 minutes is Stripe's, and Svix's."""

MOST_SIGNATURES: Final = 8
"""Signatures of one request that are looked at."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A timestamp, and signatures that one of the secrets must have made over it and the body."""

    prefix: bytes
    signatures: tuple[bytes, ...]
    secrets: tuple[bytes, ...]
    encode: Callable[[bytes], bytes]
    user_id: str = ""

    def verify(self, body: bytes) -> None:
        """Raises UnauthorizedError. The time it takes does not tell which secret or signature was how close."""
        message = self.prefix + body
        found = False
        for secret in self.secrets:
            expected = self.encode(hmac.digest(secret, message, "sha256"))
            for signature in self.signatures:
                found |= hmac.compare_digest(signature, expected)
        if not found:
            raise UnauthorizedError("the signature does not fit the body")


class SignedWebhook:
    """The common part; a vendor's class says where its headers are and how it encodes."""

    provider: ClassVar[str]
    path: ClassVar[str]
    secret: ClassVar[str]
    """Name of the credential that signs."""
    max_body_bytes: ClassVar[int] = SMALL_BODY_BYTES
    accepted: ClassVar[int] = 200
    vendor_headers: ClassVar[frozenset[bytes]] = frozenset()
    wire: ClassVar[Wire]
    ticks_per_second: ClassVar[int] = 1
    separator: ClassVar[bytes] = b""
    """Between timestamp and body in what is signed."""

    def __init__(
        self,
        credentials: Credentials,
        window_seconds: float = DEFAULT_WINDOW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`credentials` are the provider's own; `clock` gives seconds since the epoch."""
        self._credentials = credentials
        self._window_seconds = window_seconds
        self._clock = clock

    def admit(self, headers: RequestHeaders) -> Claim:
        """Raises NotConfiguredError without a secret, UnauthorizedError for missing headers and old timestamps."""
        secrets = self._credentials.active(self.secret)
        if not secrets:
            raise NotConfiguredError(f"no {self.secret} of {self.provider} is configured")
        timestamp, signatures = self.signatures(headers)
        if not timestamp or not signatures:
            raise UnauthorizedError("the signature or its timestamp is missing")
        if not timestamp.isdigit() or len(timestamp) > 16:
            raise UnauthorizedError("the timestamp of the signature is no number")
        if abs(int(timestamp) / self.ticks_per_second - self._clock()) > self._window_seconds:
            raise UnauthorizedError("the timestamp of the signature is too far from now")
        return Signed(timestamp + self.separator, signatures[:MOST_SIGNATURES], secrets, self.encode)

    def challenge(self, query: bytes) -> Mapping[str, Any] | None:
        """Most vendors never ask."""
        return None

    def configured(self) -> bool:
        """Whether there is a secret."""
        return bool(self._credentials.active(self.secret))

    def signatures(self, headers: RequestHeaders) -> tuple[bytes, tuple[bytes, ...]]:
        """Timestamp and signatures, as `encode` writes them; empty where there are none."""
        raise NotImplementedError

    @staticmethod
    def encode(digest: bytes) -> bytes:
        """The text form of a digest: hexadecimal, lower case."""
        return digest.hex().encode()
