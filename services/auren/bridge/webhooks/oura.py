"""Oura: ``HEX(HMAC-SHA256(client secret, timestamp + body))``, and a challenge by GET.

Wire format: Oura API v2, "Webhook Subscription Routes" (OpenAPI of 2026-08). The body holds ids only. Oura repeats a
delivery that it got 4xx, 5xx or no answer for; 410 would cancel the subscription, so nothing here answers 410.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

from auren.auth import NotConfiguredError, UnauthorizedError
from auren.bridge.credentials import CLIENT_SECRET, Credentials
from auren.bridge.webhooks import Parameter, RequestHeaders, Wire
from auren.bridge.webhooks.signed import DEFAULT_WINDOW_SECONDS, SignedWebhook

LONGEST_CHALLENGE: Final = 1024


class OuraWebhook(SignedWebhook):
    """`POST /webhooks/oura`; `GET` answers the challenge of a new subscription."""

    provider: ClassVar[str] = "oura"
    path: ClassVar[str] = "/webhooks/oura"
    secret: ClassVar[str] = CLIENT_SECRET
    vendor_headers: ClassVar[frozenset[bytes]] = frozenset({b"x-oura-timestamp"})
    wire: ClassVar[Wire] = Wire(
        headers=(
            Parameter("x-oura-signature", "hexadecimal HMAC-SHA256 of timestamp and body, in either case"),
            Parameter("x-oura-timestamp", "Unix time in seconds"),
        ),
        body={
            "type": "object",
            "required": ["event_type", "data_type", "object_id", "user_id"],
            "properties": {
                "event_type": {"type": "string", "examples": ["create", "update", "delete"]},
                "data_type": {"type": "string", "examples": ["sleep", "daily_readiness"]},
                "object_id": {"type": "string"},
                "event_time": {"type": "string", "format": "date-time"},
                "user_id": {"type": "string"},
            },
        },
        challenge=(
            Parameter("verification_token", "the token that the subscription was made with"),
            Parameter(
                "challenge",
                "what the answer repeats",
                schema={"type": "string", "minLength": 1, "maxLength": LONGEST_CHALLENGE},
            ),
        ),
    )

    def __init__(
        self,
        credentials: Credentials,
        public_url: str,
        window_seconds: float = DEFAULT_WINDOW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`public_url` is the bridge's own address as Oura reaches it, without a path."""
        super().__init__(credentials, window_seconds, clock)
        self.callback = callback(public_url)

    def signatures(self, headers: RequestHeaders) -> tuple[bytes, tuple[bytes, ...]]:
        """Documented as upper case; compared in lower case."""
        signature = headers.get(b"x-oura-signature", b"").lower()
        return headers.get(b"x-oura-timestamp", b""), (signature,) if signature else ()

    def challenge(self, query: bytes) -> Mapping[str, Any]:
        """``{"challenge": …}`` for whoever knows the verification token. Raises UnauthorizedError."""
        secrets = self._credentials.active(self.secret)
        if not secrets:
            raise NotConfiguredError(f"no {self.secret} of oura is configured")
        found = parse_qs(query.decode("latin-1"))
        token, challenge = found.get("verification_token", [""])[0], found.get("challenge", [""])[0]
        known = [verification_token(secret, self.callback) for secret in secrets]
        if not any(hmac.compare_digest(token.encode(), one.encode()) for one in known):
            raise UnauthorizedError("the verification token is not ours")
        if not 0 < len(challenge) <= LONGEST_CHALLENGE:
            raise UnauthorizedError("there is no challenge")
        return {"challenge": challenge}


def callback(public_url: str) -> str:
    """The address that Oura is told for its challenge and its deliveries."""
    return public_url.rstrip("/") + OuraWebhook.path


def verification_token(client_secret: bytes, callback: str) -> str:
    """The token of a subscription for this address, known to Oura and us: derived, so it is stored nowhere."""
    return hmac.new(client_secret, b"oura-verification:" + callback.encode(), hashlib.sha256).hexdigest()
