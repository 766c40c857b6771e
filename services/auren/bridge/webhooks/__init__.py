"""How each provider delivers: one file per provider, from the headers and raw bytes to "it was really them"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

RequestHeaders = Mapping[bytes, bytes]
"""Headers of a request, names in lower case, as ASGI has them."""

SMALL_BODY_BYTES: Final = 1024 * 1024
"""The largest body of a provider whose webhooks hold ids only."""


class Claim(Protocol):
    """Who a request says that it comes from. Nothing of it is believed before `verify` has returned."""

    @property
    def user_id(self) -> str:
        """Whom the delivery is about, where the credentials say it; empty where only the body does."""

    def verify(self, body: bytes) -> None:
        """Check the raw body, as it came over the wire. Raises UnauthorizedError."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A claim that the headers alone have proven."""

    user_id: str

    def verify(self, body: bytes) -> None:
        """There is nothing left to check."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, or a parameter of a query."""

    name: str
    description: str
    required: bool = True
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Wire:
    """What a provider sends, for readers of the API's description. What is let in is decided by the code below alone.

    `body` is a JSON Schema, as far as the vendor keeps the format stable.
    """

    headers: tuple[Parameter, ...]
    body: Mapping[str, Any]
    challenge: tuple[Parameter, ...] = ()
    """The query of a GET that asks whether this address is ours; empty for a provider that never asks."""
    by_token: bool = False
    """Whether a token of ours takes the place of a signature."""


class Webhook(Protocol):
    """One provider's way to deliver."""

    provider: ClassVar[str]
    path: ClassVar[str]
    max_body_bytes: ClassVar[int]
    accepted: ClassVar[int]
    """The status that tells the provider that the delivery is safe."""
    vendor_headers: ClassVar[frozenset[bytes]]
    """Headers that are kept with the delivery (lower case). Never one that holds a credential."""
    wire: ClassVar[Wire]

    def admit(self, headers: RequestHeaders) -> Claim:
        """Look at the headers before any of the body is read.

        Raises UnauthorizedError, ForbiddenError, or NotConfiguredError where there is nothing to verify with.
        """

    def challenge(self, query: bytes) -> Mapping[str, Any] | None:
        """The answer to a GET that asks whether this address is ours; None for a provider that never asks.

        Raises UnauthorizedError.
        """

    def configured(self) -> bool:
        """Whether there is something to verify with; without it the path answers 503."""
