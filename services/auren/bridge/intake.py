"""`POST /webhooks/<provider>`: verify, append to the log, answer. Plain ASGI, for this is the hot path.

Answers: 2xx once Kafka has acknowledged the raw body · 400 no body or broken gzip · 401, 403 signature or token · 405 ·
408 the body does not come · 413 too large, also after inflating · 415 type or encoding · 429 too many from one address
or user · 503 with Retry-After while Kafka is away, the bridge is full, or nothing is configured to verify with.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from auren import bodies
from auren.admission import Admission
from auren.bridge.batches import BatchingProducer
from auren.bridge.buckets import Buckets
from auren.bridge.webhooks import Claim, Webhook
from auren.events import Delivery
from auren.http import ProblemError, problem_of
from auren.kafka import RefusedError
from auren.telemetry import Metrics, logger

_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_HEADERS: Final = (b"content-type", b"application/json")
_MOST_VENDOR_BYTES: Final = 256
"""A vendor's trace id or timestamp is shorter; anything longer is left out."""

_log = logger(__name__)


class IntakeMetrics:
    """What is counted of every provider's deliveries; one for the process."""

    def __init__(self, metrics: Metrics, *admissions: Admission) -> None:
        """Registers the metrics; `admissions` are all there are."""
        self.answers = metrics.counter("deliveries", "Deliveries answered", ("provider", "status"))
        self.bytes = metrics.counter("delivery_bytes", "Bytes of accepted bodies", ("provider",))
        self.seconds = metrics.histogram("delivery_duration_seconds", "Time from headers to answer", ("provider",))
        metrics.gauge("in_flight_bytes", "Bytes read but not answered").set_function(
            lambda: sum(admission.in_flight for admission in admissions)
        )


class Intake:
    """The ASGI application of one provider's webhook."""

    def __init__(
        self,
        webhook: Webhook,
        log: BatchingProducer,
        admission: Admission,
        buckets: Buckets,
        metrics: IntakeMetrics,
    ) -> None:
        """`log` appends to biometric-webhooks; it, `admission` and `buckets` are shared by all providers."""
        self._webhook = webhook
        self._log = log
        self._admission = admission
        self._buckets = buckets
        self._answers = metrics.answers
        self._accepted = metrics.answers.labels(webhook.provider, str(webhook.accepted))
        self._bytes = metrics.bytes.labels(webhook.provider)
        self._seconds = metrics.seconds.labels(webhook.provider)
        self._allow = "GET, POST" if webhook.wire.challenge else "POST"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        began = time.perf_counter()
        provider = self._webhook.provider
        try:
            answer = await self._answer(scope, receive)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log a line
            problem = problem_of(error)
            if problem is None:
                # Neither path nor body is written down: both belong to a person.
                _log.exception("delivery failed", provider=provider)
                problem = ProblemError(500, "internal", "internal error")
            self._answers.labels(provider, str(problem.status)).inc()
            await problem.response()(scope, receive, send)
        else:
            await _send(send, *answer)
        finally:
            self._seconds.observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Mapping[str, Any]]:
        if scope["method"] == "GET" and (answer := self._webhook.challenge(scope["query_string"])) is not None:
            return 200, answer
        if scope["method"] != "POST":
            raise ProblemError(405, "method", "this method is not allowed here", headers={"Allow": self._allow})
        self._buckets.spend(self._webhook.provider, scope["client"][0] if scope.get("client") else "")
        delivery = await self._take(dict(scope["headers"]), receive)
        self._accepted.inc()
        self._bytes.inc(len(delivery.body))
        return self._webhook.accepted, {"status": "accepted", "id": delivery.id}

    async def _take(self, headers: dict[bytes, bytes], receive: Receive) -> Delivery:
        """Durable in the log when it returns."""
        claim = self._webhook.admit(headers)
        if claim.user_id:
            self._buckets.spend("user", claim.user_id)
        kind, coding = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"")
        content_type, encoding = bodies.content(kind, coding)
        # Without Kafka nothing can be accepted, so nothing is read either: memory stays flat.
        self._log.require()
        with self._admission.ticket() as ticket:
            body = await bodies.read(headers, receive, ticket, self._webhook.max_body_bytes)
            await _check(claim, body, encoding, self._webhook.max_body_bytes)
            delivery = Delivery(
                id=secrets.token_hex(16),
                provider=self._webhook.provider,
                received_at=datetime.now(UTC),
                body=body,
                user_id=claim.user_id,
                content_type=content_type,
                content_encoding=encoding,
                vendor=self._vendor(headers),
            )
            await self._append(delivery, headers.get(b"traceparent", b""))
        return delivery

    def _vendor(self, headers: dict[bytes, bytes]) -> tuple[tuple[str, str], ...]:
        return tuple(
            (name.decode("latin-1"), headers[name].decode("latin-1"))
            for name in self._webhook.vendor_headers
            if name in headers and len(headers[name]) <= _MOST_VENDOR_BYTES
        )

    async def _append(self, delivery: Delivery, traceparent: bytes) -> None:
        record_headers = delivery.headers()
        if _TRACEPARENT.fullmatch(traceparent):
            record_headers.append(("traceparent", traceparent))
        try:
            await self._log.append(delivery.body, record_headers)
        except RefusedError as error:
            raise bodies.TooLargeError from error


async def _check(claim: Claim, body: bytes, encoding: str, limit: int) -> None:
    if len(body) < bodies.THREAD_FROM_BYTES:
        _check_now(claim, body, encoding, limit)
    else:
        await asyncio.to_thread(_check_now, claim, body, encoding, limit)


def _check_now(claim: Claim, body: bytes, encoding: str, limit: int) -> None:
    """First who sent it, then what it is: a stranger's body is not inflated."""
    claim.verify(body)
    if encoding == "gzip":
        bodies.inflated_size(body, limit)


async def _send(send: Send, status: int, body: Mapping[str, Any]) -> None:
    content = orjson.dumps(body)
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON_HEADERS, length]})
    await send({"type": "http.response.body", "body": content})
