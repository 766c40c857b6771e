"""Backfill from the app: the same log as webhooks, and so the same way into the tables."""

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from auren import bodies
from auren.admission import Admission
from auren.auth import Principal
from auren.events import Delivery
from auren.http import Caller
from auren.kafka import Producer, RefusedError
from auren.openapi import problem
from auren.topics import MAX_BODY_BYTES, WEBHOOKS

PROVIDER: Final = "healthkit"
ANSWERS: dict[int | str, dict[str, Any]] = {
    **problem(400, "no body, or broken gzip", "empty", "gzip", "disconnected", "http-400"),
    **problem(408, "the body did not come in time", "timeout"),
    **problem(413, "more than 16 MiB, also after inflating", "too-large"),
    **problem(415, "neither JSON nor JSON as gzip", "content-type", "content-encoding"),
}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "what Health Auto Export sends: the document of `POST /webhooks/healthkit`, at most 16 MiB",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["data"], "properties": {"data": {"type": "object"}}},
                "example": {
                    "data": {
                        "metrics": [
                            {
                                "name": "heart_rate_variability",
                                "units": "ms",
                                "data": [{"date": "2026-03-01 07:00:00 +0100", "qty": 52}],
                            }
                        ]
                    }
                },
            }
        },
    }
}


class AcceptedOut(BaseModel):
    """The delivery is in the log, and its readings will be in the table in a moment."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "accepted", "id": "0f8fad5bd9cb469fa16570867728950e"}]}
    )

    status: str
    id: str


def routes(pusher: Caller, producer: Producer, admission: Admission) -> APIRouter:
    """`POST /batch/healthkit`. The body is read after the token was checked, and only while Kafka is there."""
    routes = APIRouter(tags=["backfill"])

    @routes.post("/batch/healthkit", status_code=202, responses=ANSWERS, openapi_extra=BODY)
    async def batch(request: Request, caller: Annotated[Principal, Depends(pusher)]) -> AcceptedOut:
        """Put a document of the app into the log; answered once Kafka has it. The token names the person."""
        headers = dict(request.scope["headers"])
        kind, encoding = bodies.content(headers.get(b"content-type", b""), headers.get(b"content-encoding", b""))
        producer.require()
        with admission.ticket() as ticket:
            body = await bodies.read(headers, request.receive, ticket, MAX_BODY_BYTES)
            if encoding:
                await asyncio.to_thread(bodies.inflated_size, body)
            delivery = Delivery(
                id=secrets.token_hex(16),
                provider=PROVIDER,
                received_at=datetime.now(UTC),
                body=body,
                user_id=caller.user_id,
                content_type=kind,
                content_encoding=encoding,
            )
            try:
                await producer.send(WEBHOOKS, body, None, delivery.headers())
            except RefusedError as error:
                raise bodies.TooLargeError from error
        return AcceptedOut(status="accepted", id=delivery.id)

    return routes
