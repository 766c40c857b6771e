"""Apple Health through an app that pushes (Health Auto Export): a token of ours names the user.

The app has no signature; it sends the headers that its user typed in: ``Authorization: Bearer <token>``, or
``api-key: <token>`` as the app's own example server has it. Tokens are JWTs of scope `push:healthkit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from auren.auth import SCOPE_PUSH_HEALTHKIT, Verifier
from auren.bridge.webhooks import Claim, Proven, RequestHeaders, Wire
from auren.topics import MAX_BODY_BYTES


class HealthKitWebhook:
    """`POST /webhooks/healthkit`."""

    provider: ClassVar[str] = "healthkit"
    path: ClassVar[str] = "/webhooks/healthkit"
    max_body_bytes: ClassVar[int] = MAX_BODY_BYTES
    accepted: ClassVar[int] = 202
    vendor_headers: ClassVar[frozenset[bytes]] = frozenset()
    wire: ClassVar[Wire] = Wire(
        headers=(),
        body={
            "type": "object",
            "required": ["data"],
            "properties": {
                "data": {
                    "type": "object",
                    "properties": {
                        "metrics": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "data"],
                                "properties": {
                                    "name": {"type": "string", "examples": ["heart_rate", "sleep_analysis"]},
                                    "units": {"type": "string", "examples": ["count/min", "hr", "kJ"]},
                                    "data": {"type": "array", "items": {"type": "object"}},
                                },
                            },
                        }
                    },
                }
            },
        },
        by_token=True,
    )

    def __init__(self, verifier: Verifier) -> None:
        """`verifier` knows the stack's keys."""
        self._verifier = verifier

    def admit(self, headers: RequestHeaders) -> Claim:
        """Raises UnauthorizedError, ForbiddenError, NotConfiguredError."""
        authorization = headers.get(b"authorization", b"")
        if not authorization and (key := headers.get(b"api-key", b"")):
            authorization = b"Bearer " + key
        principal = self._verifier.principal(authorization.decode("latin-1"))
        principal.require(SCOPE_PUSH_HEALTHKIT)
        return Proven(principal.user_id)

    def challenge(self, query: bytes) -> Mapping[str, Any] | None:
        """No app asks."""
        return None

    def configured(self) -> bool:
        """The stack's own keys are always there; whether they can be read is the verifier's check."""
        return True
