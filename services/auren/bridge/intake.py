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
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from starlette.types import Message, Receive, Scope, Send

from auren.bridge.admission import Admission, Ticket
from auren.bridge.batches import BatchingProducer
from auren.bridge.buckets import Buckets
from auren.bridge.webhooks import Claim, Webhook
from auren.events import Delivery
from auren.http import ProblemError, problem_of
from auren.kafka import RefusedError
from auren.telemetry import Metrics, logger
from auren.topics import MAX_BODY_BYTES

BODY_TIMEOUT_SECONDS: Final = 30.0
THREAD_FROM_BYTES: Final = 64 * 1024
"""Smaller bodies are inflated and verified at once; larger ones in a thread, so that others are not held up."""

_INFLATE_STEP: Final = 256 * 1024
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_HEADERS: Final = (b"content-type", b"application/json")
_MOST_VENDOR_BYTES: Final = 256
"""A vendor's trace id or timestamp is shorter; anything longer is left out."""

_log = logger(__name__)


class TooLargeError(ProblemError):
    """413."""

    def __init__(self, limit: int = MAX_BODY_BYTES) -> None:
        """The limit is part of the answer."""
        super().__init__(413, "too-large", "the body is too large", f"at most {limit} bytes, also inflated")


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
        content_type, encoding = _content(headers.get(b"content-type", b""), headers.get(b"content-encoding", b""))
        # Without Kafka nothing can be accepted, so nothing is read either: memory stays flat.
        self._log.require()
        with self._admission.ticket() as ticket:
            body = await _read(headers, receive, ticket, self._webhook.max_body_bytes)
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
            raise TooLargeError from error


@lru_cache(maxsize=64)
def _content(content_type: bytes, content_encoding: bytes) -> tuple[str, str]:
    """(content type, content encoding) of these headers. Raises 415 for any other than JSON, plain or gzip."""
    kind = content_type.decode("latin-1").split(";")[0].strip().lower()
    encoding = content_encoding.decode("latin-1").strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "content-type", "the content type is not supported", "send application/json")
    if encoding not in {"", "identity", "gzip"}:
        raise ProblemError(415, "content-encoding", "the content encoding is not supported", "send plain or gzip")
    return kind, encoding if encoding == "gzip" else ""


async def _read(headers: dict[bytes, bytes], receive: Receive, ticket: Ticket, limit: int) -> bytes:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise TooLargeError(limit)
    message = at_once(receive)
    if message is None or message.get("more_body", False):
        body = await _read_on(message, receive, ticket, limit)
    else:
        body = _chunk(message)
        _take_in(len(body), len(body), ticket, limit)
    if not body:
        raise ProblemError(400, "empty", "the body is empty")
    return body


async def _read_on(first: Message | None, receive: Receive, ticket: Ticket, limit: int) -> bytes:
    """A body that comes in parts, or later than its headers: bounded in time, and no more read than is allowed."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            message = first or await receive()
            while True:
                chunks.append(_chunk(message))
                size += len(chunks[-1])
                _take_in(len(chunks[-1]), size, ticket, limit)
                if not message.get("more_body", False):
                    return b"".join(chunks)
                message = await receive()
    except TimeoutError:
        raise ProblemError(408, "timeout", "the body did not come in time") from None


def _take_in(more: int, size: int, ticket: Ticket, limit: int) -> None:
    """Account for `more` bytes of a body that has `size` by now. Raises 413, and UnavailableError without room."""
    if size > limit:
        raise TooLargeError(limit)
    ticket.add(more)


def at_once(receive: Receive) -> Message | None:
    """The next message when it has come already, as most bodies have with their headers; None when it must be awaited.

    Nothing is taken then. A time limit around the wait would cost more than the rest of the reading.
    """
    waiting = receive()
    try:
        waiting.send(None)  # type: ignore[attr-defined]
    except StopIteration as come:
        message: Message = come.value
        return message
    waiting.close()  # type: ignore[attr-defined]
    return None


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ProblemError(400, "disconnected", "the client went away")
    chunk: bytes = message.get("body", b"")
    return chunk


async def _check(claim: Claim, body: bytes, encoding: str, limit: int) -> None:
    if len(body) < THREAD_FROM_BYTES:
        _check_now(claim, body, encoding, limit)
    else:
        await asyncio.to_thread(_check_now, claim, body, encoding, limit)


def _check_now(claim: Claim, body: bytes, encoding: str, limit: int) -> None:
    """First who sent it, then what it is: a stranger's body is not inflated."""
    claim.verify(body)
    if encoding == "gzip":
        inflated_size(body, limit)


def inflated_size(body: bytes, limit: int = MAX_BODY_BYTES) -> int:
    """Size of a gzip body after inflating, which is bounded in memory. Raises 413 beyond the limit, 400 when broken.

    Even a small body may inflate a thousandfold, so what is inflated is counted and thrown away step by step.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    size, rest = 0, body
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _INFLATE_STEP))
            rest = inflater.unconsumed_tail
            if size > limit:
                raise TooLargeError(limit)
    except zlib.error:
        raise ProblemError(400, "gzip", "the body is no gzip") from None
    if not inflater.eof or inflater.unused_data:
        raise ProblemError(400, "gzip", "the body is no gzip")
    return size


async def _send(send: Send, status: int, body: Mapping[str, Any]) -> None:
    content = orjson.dumps(body)
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON_HEADERS, length]})
    await send({"type": "http.response.body", "body": content})
