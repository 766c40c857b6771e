"""Terra: ``t=<timestamp>,v1=<hex>`` of ``HMAC-SHA256(signing secret, timestamp + "." + body)``.

Wire format: Terra's agent-skills (2026-07) and docs.tryterra.co, "Webhooks". The header stands under two names, the
newer one first. The body holds the data, up to 10 MB a chunk, or a URL where it can be fetched.
"""

from __future__ import annotations

from typing import ClassVar

from auren.bridge.credentials import SIGNING_SECRET
from auren.bridge.webhooks import Parameter, RequestHeaders, Wire
from auren.bridge.webhooks.signed import SignedWebhook
from auren.topics import MAX_BODY_BYTES


class TerraWebhook(SignedWebhook):
    """`POST /webhooks/terra`."""

    provider: ClassVar[str] = "terra"
    path: ClassVar[str] = "/webhooks/terra"
    secret: ClassVar[str] = SIGNING_SECRET
    max_body_bytes: ClassVar[int] = MAX_BODY_BYTES
    vendor_headers: ClassVar[frozenset[bytes]] = frozenset(
        {b"x-terra-trace-id", b"x-terra-ordering-timestamp", b"terra-reference"}
    )
    separator: ClassVar[bytes] = b"."
    wire: ClassVar[Wire] = Wire(
        headers=(
            Parameter("X-Terra-Signature", "t=<Unix time in seconds>,v1=<hexadecimal HMAC-SHA256>", required=False),
            Parameter("terra-signature", "the same under its older name, read without the other", required=False),
        ),
        body={
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"type": "string", "examples": ["daily", "sleep", "activity", "body", "auth", "s3_payload"]},
                "user": {
                    "type": ["object", "null"],
                    "properties": {
                        "user_id": {"type": "string"},
                        "reference_id": {"type": ["string", "null"], "description": "our user"},
                        "provider": {"type": ["string", "null"]},
                    },
                },
                "data": {"type": ["array", "null"], "items": {"type": "object"}},
                "url": {"type": "string", "description": "where the data lies, in an s3_payload"},
                "expires_in": {"type": "number", "description": "seconds"},
            },
        },
    )

    def signatures(self, headers: RequestHeaders) -> tuple[bytes, tuple[bytes, ...]]:
        """Several ``v1`` may stand there while Terra rotates its secret."""
        value = headers.get(b"x-terra-signature") or headers.get(b"terra-signature", b"")
        timestamp, signatures = b"", []
        for part in value.split(b","):
            name, _, content = part.strip().partition(b"=")
            if name == b"t":
                timestamp = content
            elif name == b"v1":
                signatures.append(content.lower())
        return timestamp, tuple(signatures)
