"""`POST /webhooks/healthkit`: verify, append to the log, answer. Plain ASGI, for this is the hot path.

Answers: 202 once Kafka has acknowledged the raw body · 400 no body or broken gzip · 401, 403 token · 405 · 408 the body
does not come · 413 too large, also after inflating · 415 type or encoding · 503 with Retry-After while Kafka is away,
the bridge is full, or nothing is configured to verify tokens with.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
import zlib
from datetime import UTC, datetime
from typing import Final

import orjson
from starlette.types import Message, Receive, Scope, Send

from auren.auth import SCOPE_PUSH_HEALTHKIT, Verifier
from auren.bridge.admission import Admission, Ticket
from auren.bridge.batches import BatchingProducer
from auren.events import Delivery
from auren.http import ProblemError, problem_of
from auren.kafka import RefusedError
from auren.telemetry import Metrics, logger
from auren.topics import MAX_BODY_BYTES

PROVIDER: Final = "healthkit"
BODY_TIMEOUT_SECONDS: Final = 30.0
THREAD_FROM_BYTES: Final = 64 * 1024
"""Smaller gzip bodies are inflated at once; larger ones in a thread, so that others are not held up."""

_INFLATE_STEP: Final = 256 * 1024
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_HEADERS: Final = (b"content-type", b"application/json")

_log = logger(__name__)


class TooLargeError(ProblemError):
    """413."""

    def __init__(self) -> None:
        """The limit is part of the answer."""
        super().__init__(413, "too-large", "the body is too large", f"at most {MAX_BODY_BYTES} bytes, also inflated")


class Intake:
    """The ASGI application of the webhook."""

    def __init__(self, verifier: Verifier, log: BatchingProducer, admission: Admission, metrics: Metrics) -> None:
        """`log` appends to biometric-webhooks."""
        self._verifier = verifier
        self._log = log
        self._admission = admission
        self._answers = metrics.counter("deliveries", "Deliveries answered", ("provider", "status"))
        self._bytes = metrics.counter("delivery_bytes", "Bytes of accepted bodies", ("provider",)).labels(PROVIDER)
        self._seconds = metrics.histogram(
            "delivery_duration_seconds", "Time from headers to answer", ("provider",)
        ).labels(PROVIDER)
        self._accepted = self._answers.labels(PROVIDER, "202")
        metrics.gauge("in_flight_bytes", "Bytes read but not answered").set_function(lambda: admission.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        began = time.perf_counter()
        try:
            delivery = await self._take(scope, receive)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log a line
            problem = problem_of(error)
            if problem is None:
                # Neither path nor body is written down: both belong to a person.
                _log.exception("delivery failed", provider=PROVIDER)
                problem = ProblemError(500, "internal", "internal error")
            self._answers.labels(PROVIDER, str(problem.status)).inc()
            await problem.response()(scope, receive, send)
        else:
            self._accepted.inc()
            self._bytes.inc(len(delivery.body))
            await _answer(send, 202, {"status": "accepted", "id": delivery.id})
        finally:
            self._seconds.observe(time.perf_counter() - began)

    async def _take(self, scope: Scope, receive: Receive) -> Delivery:
        """Durable in the log when it returns."""
        if scope["method"] != "POST":
            raise ProblemError(405, "method", "only POST is allowed here", headers={"Allow": "POST"})
        headers: dict[bytes, bytes] = dict(scope["headers"])
        principal = self._verifier.principal(headers.get(b"authorization", b"").decode("latin-1"))
        principal.require(SCOPE_PUSH_HEALTHKIT)
        content_type, encoding = _content(headers)
        # Without Kafka nothing can be accepted, so nothing is read either: memory stays flat.
        self._log.require()
        with self._admission.ticket() as ticket:
            body = await _read(headers, receive, ticket)
            await _check_size(body, encoding)
            delivery = Delivery(
                id=str(uuid.uuid4()),
                provider=PROVIDER,
                received_at=datetime.now(UTC),
                body=body,
                user_id=principal.user_id,
                content_type=content_type,
                content_encoding=encoding,
            )
            await self._append(delivery, headers.get(b"traceparent", b""))
        return delivery

    async def _append(self, delivery: Delivery, traceparent: bytes) -> None:
        record_headers = delivery.headers()
        if _TRACEPARENT.fullmatch(traceparent):
            record_headers.append(("traceparent", traceparent))
        try:
            await self._log.append(delivery.body, record_headers)
        except RefusedError as error:
            raise TooLargeError from error


def _content(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """(content type, content encoding). Raises 415 for any other than JSON, plain or gzip."""
    content_type = headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
    encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
    if content_type != "application/json":
        raise ProblemError(415, "content-type", "the content type is not supported", "send application/json")
    if encoding not in {"", "identity", "gzip"}:
        raise ProblemError(415, "content-encoding", "the content encoding is not supported", "send plain or gzip")
    return content_type, encoding if encoding == "gzip" else ""


async def _read(headers: dict[bytes, bytes], receive: Receive, ticket: Ticket) -> bytes:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise TooLargeError
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            more = True
            while more:
                message = await receive()
                chunk = _chunk(message)
                more = message.get("more_body", False)
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise TooLargeError
                ticket.add(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise ProblemError(408, "timeout", "the body did not come in time") from None
    if not size:
        raise ProblemError(400, "empty", "the body is empty")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ProblemError(400, "disconnected", "the client went away")
    chunk: bytes = message.get("body", b"")
    return chunk


async def _check_size(body: bytes, encoding: str) -> None:
    if encoding != "gzip":
        return
    if len(body) < THREAD_FROM_BYTES:
        inflated_size(body)
    else:
        await asyncio.to_thread(inflated_size, body)


def inflated_size(body: bytes) -> int:
    """Size of a gzip body after inflating, which is bounded in memory. Raises 413 beyond the limit, 400 when broken.

    Even a small body may inflate a thousandfold, so what is inflated is counted and thrown away step by step.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    size, rest = 0, body
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _INFLATE_STEP))
            rest = inflater.unconsumed_tail
            if size > MAX_BODY_BYTES:
                raise TooLargeError
    except zlib.error:
        raise ProblemError(400, "gzip", "the body is no gzip") from None
    if not inflater.eof or inflater.unused_data:
        raise ProblemError(400, "gzip", "the body is no gzip")
    return size


async def _answer(send: Send, status: int, body: dict[str, str]) -> None:
    content = orjson.dumps(body)
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON_HEADERS, length]})
    await send({"type": "http.response.body", "body": content})
