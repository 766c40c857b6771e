"""WHOOP v2: ``base64(HMAC-SHA256(client secret, timestamp + body))``, the timestamp in milliseconds.

Wire format: developer.whoop.com, "Webhooks". The body holds ids only. Anything but 2xx is sent again, five times in
about an hour.
"""

from __future__ import annotations

import base64
from typing import ClassVar

from auren.bridge.credentials import CLIENT_SECRET
from auren.bridge.webhooks import Parameter, RequestHeaders, Wire
from auren.bridge.webhooks.signed import SignedWebhook


class WhoopWebhook(SignedWebhook):
    """`POST /webhooks/whoop`."""

    provider: ClassVar[str] = "whoop"
    path: ClassVar[str] = "/webhooks/whoop"
    secret: ClassVar[str] = CLIENT_SECRET
    vendor_headers: ClassVar[frozenset[bytes]] = frozenset({b"x-whoop-signature-timestamp"})
    ticks_per_second: ClassVar[int] = 1000
    wire: ClassVar[Wire] = Wire(
        headers=(
            Parameter("X-WHOOP-Signature", "base64 of the HMAC-SHA256 of timestamp and body"),
            Parameter("X-WHOOP-Signature-Timestamp", "Unix time in milliseconds"),
        ),
        body={
            "type": "object",
            "required": ["user_id", "id", "type"],
            "properties": {
                "user_id": {"type": "integer"},
                "id": {"type": ["string", "integer"], "description": "a recovery goes by its sleep's"},
                "type": {"type": "string", "examples": ["sleep.updated", "recovery.deleted"]},
                "trace_id": {"type": "string"},
            },
        },
    )

    def signatures(self, headers: RequestHeaders) -> tuple[bytes, tuple[bytes, ...]]:
        """One of each."""
        signature = headers.get(b"x-whoop-signature", b"")
        return headers.get(b"x-whoop-signature-timestamp", b""), (signature,) if signature else ()

    @staticmethod
    def encode(digest: bytes) -> bytes:
        """Standard base64 with padding."""
        return base64.b64encode(digest)
