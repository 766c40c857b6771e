"""The webhooks in the app's OpenAPI document. They are plain ASGI, past FastAPI, so it cannot know them by itself.

What a path answers is what `intake.py` gives; what stands in a request is each provider's `wire`. The body is kept as
it came and looked at only later, so nothing is refused for not being as its schema says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastapi import FastAPI

from auren.bridge.webhooks import Parameter, Webhook
from auren.openapi import INTERNAL, RETRY_AFTER, Answers, problem, unauthorized, unavailable

SECURITY: Final[dict[str, dict[str, str]]] = {
    "healthkit-bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "healthkit-api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
"""Two places for the same token: apps let people type in a header."""

ENCODING: Final = Parameter(
    "Content-Encoding", "of the body", required=False, schema={"type": "string", "enum": ["gzip", "identity"]}
)


def describe(app: FastAPI, webhooks: Sequence[Webhook]) -> None:
    """Add the webhooks to what the app says of itself."""
    of_the_app = app.openapi

    def openapi() -> dict[str, Any]:
        document = of_the_app()
        document["paths"].update({webhook.path: path(webhook) for webhook in webhooks})
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes.update(SECURITY if any(webhook.wire.by_token for webhook in webhooks) else {})
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def path(webhook: Webhook) -> dict[str, Any]:
    """The path item of one provider."""
    item = {"post": _delivery(webhook)}
    if webhook.wire.challenge:
        item["get"] = _challenge(webhook)
    return item


def _delivery(webhook: Webhook) -> dict[str, Any]:
    wire = webhook.wire
    named = {header.name.lower() for header in wire.headers}
    kept = sorted({name.decode() for name in webhook.vendor_headers} - named)
    headers = (*wire.headers, *(Parameter(name, "kept with the delivery", required=False) for name in kept), ENCODING)
    operation = {
        "operationId": f"deliver_{webhook.provider}",
        "summary": f"Take a delivery of {webhook.provider}",
        "tags": ["webhooks"],
        "parameters": _parameters("header", headers),
        "requestBody": {
            "required": True,
            "description": f"at most {webhook.max_body_bytes} bytes, also inflated; kept as it came, decoded later",
            "content": {"application/json": {"schema": dict(wire.body)}},
        },
        "responses": _responses(delivery_answers(webhook)),
    }
    return operation | ({"security": [{name: []} for name in SECURITY]} if wire.by_token else {})


def _challenge(webhook: Webhook) -> dict[str, Any]:
    return {
        "operationId": f"challenge_{webhook.provider}",
        "summary": f"Prove to {webhook.provider} that this address is ours",
        "tags": ["webhooks"],
        "parameters": _parameters("query", webhook.wire.challenge),
        "responses": _responses(CHALLENGE_ANSWERS),
    }


def _parameters(place: str, parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    return [
        {"name": p.name, "in": place, "required": p.required, "description": p.description, "schema": dict(p.schema)}
        for p in parameters
    ]


def _responses(answers: Answers) -> dict[str, Any]:
    return {str(status): answer for status, answer in sorted(answers.items(), key=lambda item: str(item[0]))}


def _success(status: int, description: str, properties: dict[str, Any]) -> Answers:
    schema = {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}
    return {status: {"description": description, "content": {"application/json": {"schema": schema}}}}


def delivery_answers(webhook: Webhook) -> Answers:
    """All that a POST may be answered."""
    token = webhook.wire.by_token
    proof = "a valid token" if token else "a signature of ours over timestamp and body, made just now"
    return {
        **_success(
            webhook.accepted,
            "durable in the log",
            {"status": {"type": "string", "const": "accepted"}, "id": {"type": "string"}},
        ),
        **problem(400, "there is no body, or it is no gzip although it should be", "empty", "disconnected", "gzip"),
        **unauthorized(f"there is not {proof}"),
        **(problem(403, "the token does not allow to push", "forbidden") if token else {}),
        **problem(408, "the body did not come in time", "timeout"),
        **problem(413, f"the body has more than {webhook.max_body_bytes} bytes, perhaps inflated", "too-large"),
        **problem(415, "the body is no JSON, plain or gzip", "content-type", "content-encoding"),
        **problem(429, "too many from one address or person", "too-many", headers=RETRY_AFTER),
        **INTERNAL,
        **unavailable("Kafka is away, the bridge is full, or there is nothing to verify with"),
    }


CHALLENGE_ANSWERS: Final[Answers] = {
    **_success(200, "it is ours", {"challenge": {"type": "string"}}),
    **unauthorized("the token or the challenge is none"),
    **INTERNAL,
    **problem(503, "there is nothing to verify with", "not-configured", headers=RETRY_AFTER),
}
"""All that a challenge may be answered."""
