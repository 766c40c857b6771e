"""Calls to the vendors: documents by id, tokens refreshed, payloads downloaded; and how such a call can fail.

Every error says what to do with the work it belongs to. Their texts are ours, never the vendor's, and name no person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from auren.bridge.decoders import Notice


class VendorError(Exception):
    """A call to a vendor brought nothing; `reason` says why, for people and for the DLQ."""

    def __init__(self, reason: str) -> None:
        """`reason` holds no data of people: no ids, tokens, addresses of payloads or bodies."""
        super().__init__(reason)
        self.reason = reason


class RetryLaterError(VendorError):
    """The same call may work in `seconds`: a limit is reached, a breaker is open, our credentials are missing."""

    def __init__(self, seconds: float, reason: str) -> None:
        """`seconds` from now, above 0."""
        super().__init__(reason)
        self.seconds = seconds


class UpstreamFailedError(RetryLaterError):
    """The vendor does not answer, or answers that it cannot: 5xx, a time limit, a lost connection. Breakers count."""


class GoneError(VendorError):
    """The document does not exist at the vendor (any more)."""


class NotAllowedError(VendorError):
    """The person has not allowed this, or not any more; nothing helps but the person.

    `connection_broken`: no token of this person works, so the connection is at its end. Otherwise only this kind of
    document is refused: a scope is missing, or the person's subscription at the vendor has ended.
    """

    def __init__(self, reason: str, *, connection_broken: bool = False) -> None:
        """See the class."""
        super().__init__(reason)
        self.connection_broken = connection_broken


class UnusableError(VendorError):
    """What the vendor has can never be used: too large, an address that is not allowed, a request it refuses."""


class ExpiredError(UnusableError):
    """The payload's address is not valid any more; only the vendor can send it again."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document as the vendor's API gave it: JSON, not decoded. `document_type` is the notice's `data_type`."""

    document_type: str
    raw: bytes = field(repr=False)


Fetch = Callable[[str, Notice], Awaitable[list[Fetched]]]
"""(our user id, what has changed) -> the documents; empty for a type that is not known and for a deletion.

Raises VendorError (each of its kinds but ExpiredError) UnavailableError (the store of the tokens is away) and
DecryptionError (tokens.py).
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list as the vendor's API gave it: JSON, not decoded. `next_token` asks for the part behind it."""

    raw: bytes = field(repr=False)
    next_token: str | None = field(repr=False)


ListPage = Callable[[str, str, datetime, datetime, str | None], Awaitable[Page]]
"""(our user id, type of document, from, to, `next_token` of the page before) -> documents of that time, perhaps more.

Raises as Fetch does.
"""


class TokenSource(Protocol):
    """Access tokens of one vendor's users."""

    async def access_token(self, user_id: str, *, stale: str | None = None) -> str:
        """A token that should work. `stale` is one that the vendor has refused: it is never the answer.

        Raises NotAllowedError, RetryLaterError, UnavailableError, DecryptionError.
        """
        ...
