"""What the webhooks are measured beside: `python -m tests.bench.peers ceiling|naive`, with serve's environment.

`ceiling` is the bridge's own webhooks, verified as ever, before a log that takes everything at once: what the server
could do if Kafka cost nothing. `naive` is what one would write first: a FastAPI route that verifies the same signatures
and awaits the acknowledgement of each message of an idempotent aiokafka producer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request, Response

from auren.auth import Revocations, UnauthorizedError, Verifier
from auren.bridge import serve_process
from auren.bridge.batches import BatchingProducer
from auren.bridge.settings import BridgeSettings
from auren.events import Delivery, Headers
from auren.health import Health
from auren.http import run, serve
from auren.kafka import COMPRESSION, client_options
from auren.settings import load
from auren.telemetry import Metrics, configure_logging
from auren.topics import MAX_DELIVERY_BYTES, WEBHOOKS


def acknowledged(_log: BatchingProducer, _value: bytes, _headers: Headers) -> asyncio.Future[None]:
    """In place of `append`: every record is taken at once and forgotten."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


async def ceiling() -> None:
    """The bridge's `serve` without Kafka."""
    setattr(BatchingProducer, "append", acknowledged)  # noqa: B010 - a method is replaced, which types forbid
    await serve_process.serve_webhooks()


async def naive() -> None:
    """One route, one await per message."""
    settings = load(BridgeSettings)
    configure_logging(settings, "naive")
    metrics, health = Metrics("naive"), Health("naive")
    revocations = Revocations(_none_revoked)
    verifier = Verifier(settings, revocations)
    webhooks = {webhook.provider: webhook for webhook in serve_process.webhooks_of(settings, verifier)}
    await revocations.refresh()  # there are none, and nobody reads them again
    producer = AIOKafkaProducer(
        enable_idempotence=True,
        acks="all",
        compression_type=COMPRESSION,
        max_request_size=MAX_DELIVERY_BYTES,
        **client_options(settings, "naive"),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await producer.start()
        health.started()
        yield
        await producer.stop()

    app = FastAPI(lifespan=lifespan, routes=list(health.routes()))

    @app.post("/webhooks/{provider}")
    async def take(provider: str, request: Request) -> Response:
        webhook = webhooks[provider]
        body = await request.body()
        try:
            claim = webhook.admit(dict(request.scope["headers"]))
            claim.verify(body)
        except UnauthorizedError:
            return Response(status_code=401)
        delivery = Delivery(id=str(uuid4()), provider=provider, received_at=datetime.now(UTC), body=body)
        await producer.send_and_wait(WEBHOOKS.name, body, headers=delivery.headers())
        return Response(status_code=webhook.accepted)

    await serve(app, settings, health, metrics)


async def _none_revoked() -> frozenset[str]:
    return frozenset()


PEERS: Final = {"ceiling": ceiling, "naive": naive}

if __name__ == "__main__":
    run(PEERS[sys.argv[1]])
