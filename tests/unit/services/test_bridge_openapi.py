"""What the bridge's OpenAPI document says of the webhooks is what they answer: each of it, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from starlette.types import Message

from auren import bodies
from auren.admission import Admission
from auren.bridge.simulated_people import people
from auren.bridge.simulated_vendors import SIGNATURES, deliver
from auren.bridge.webhooks import Webhook
from auren.bridge.webhooks.openapi import describe
from auren.bridge.webhooks.oura import OuraWebhook, verification_token
from auren.health import Health
from auren.http import create_app
from auren.telemetry import Metrics
from tests.unit.services.front import SECRET, SETTINGS, URL, Kafka, Log, front, token, webhooks

SERVED = {webhook.provider: webhook for webhook in webhooks(SECRET)}
BODY = b'{"type": "healthcheck"}'
NOW = datetime(2026, 3, 1, 15, 4, 5, tzinfo=UTC)
(ANNA,) = people(["anna"], seed=1)

Answer = tuple[int, str]
"""Status, and the last word of the problem's type; empty for success."""


async def document(**options: Any) -> dict[str, Any]:
    """What `/openapi.json` answers."""
    transport = httpx.ASGITransport(front(Log(), tuple(SERVED.values()), **options))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def documented(operation: dict[str, Any]) -> set[Answer]:
    """Every status with every type that it may have."""
    found: set[Answer] = set()
    for status, answer in operation["responses"].items():
        ((media_type, content),) = answer["content"].items()
        Draft202012Validator.check_schema(content["schema"])
        types = content["schema"]["properties"].get("type", {}).get("enum", [""])
        assert (media_type == "application/json") == (int(status) < 300) == (types == [""])
        found |= {(int(status), kind.rpartition(":")[2]) for kind in types}
    return found


class Asked:
    """Asks one webhook, holds each answer to the document, and keeps which it was."""

    def __init__(self, provider: str, operation: dict[str, Any], **options: Any) -> None:
        """`options` are those of `front`."""
        self.provider = provider
        self.log = Log()
        self.operation = operation
        self.found: set[Answer] = set()
        self._options = options

    def headers(
        self, body: bytes = BODY, secret: bytes = SECRET, scope: str = "push:healthkit", **more: str
    ) -> dict[str, str]:
        """Those of a good delivery unless told otherwise; `more` with underscores for hyphens."""
        key = token(scope).encode() if self.provider == "healthkit" else secret
        signed = SIGNATURES[self.provider](key, body, int(time.time() * 1000))
        more = {name.replace("_", "-"): value for name, value in more.items()}
        return {"content-type": "application/json"} | signed | more

    async def __call__(self, body: bytes = BODY, **proof: str | bytes) -> Answer:
        """POST."""
        return await self.send("POST", content=body, headers=self.headers(body, **proof))  # type: ignore[arg-type]

    async def send(self, method: str, *, served: Webhook | None = None, **request: Any) -> Answer:
        """Anything else."""
        webhook = served or SERVED[self.provider]
        transport = httpx.ASGITransport(front(self.log, (webhook,), **self._options))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return self.judge(await client.request(method, webhook.path, **request))

    def judge(self, answer: httpx.Response) -> Answer:
        """Hold an answer to the document."""
        told = self.operation["responses"][str(answer.status_code)]
        assert set(told["content"]) == {answer.headers["content-type"]}
        Draft202012Validator(told["content"][answer.headers["content-type"]]["schema"]).validate(answer.json())
        assert {name for name in told.get("headers", {}) if name not in answer.headers} == set()
        kind = "" if answer.is_success else answer.json()["type"].rpartition(":")[2]
        self.found.add((answer.status_code, kind))
        return answer.status_code, kind


async def _never() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


def _defect(*_: object) -> None:
    raise KeyError("a defect")


async def gone(asked: Asked) -> Answer:
    """A client that goes away before its body is there."""
    webhook, sent = SERVED[asked.provider], list[Message]()
    headers = [(name.encode(), value.encode()) for name, value in asked.headers().items()]
    scope = {"type": "http", "method": "POST", "path": webhook.path, "query_string": b"", "headers": headers}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await front(Log(), (webhook,))(scope, receive, send)
    return asked.judge(httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"]))


@pytest.mark.parametrize("provider", SERVED)
async def test_a_delivery_is_answered_as_documented_and_in_no_other_way(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = (await document())["paths"][f"/webhooks/{provider}"]["post"]
    webhook, ask = SERVED[provider], Asked(provider, operation)
    large = b" " * (webhook.max_body_bytes + 1)
    assert await ask() == (webhook.accepted, "")
    assert await ask(b"") == (400, "empty")
    assert await ask(content_encoding="gzip") == (400, "gzip")
    assert await gone(ask) == (400, "disconnected")
    assert await ask.send("POST", content=BODY, headers={"content-type": "application/json"}) == (401, "unauthorized")
    if webhook.wire.by_token:
        assert await ask(scope="read:biometrics") == (403, "forbidden")
    else:
        assert await ask(secret=b"another's") == (401, "unauthorized")
    assert await ask(large) == (413, "too-large")
    assert await ask(gzip.compress(large), content_encoding="gzip") == (413, "too-large")
    assert await ask(content_type="text/csv") == (415, "content-type")
    assert await ask(content_encoding="br") == (415, "content-encoding")
    expected: dict[Kafka, Answer] = {
        "away": (503, "unavailable"),
        "lost": (503, "unavailable"),
        "refusing": (413, "too-large"),
        "broken": (500, "internal"),
    }
    for ask.log.kafka, answer in expected.items():
        assert await ask() == answer
    ask.log.kafka = "there"
    full = Asked(provider, operation, admission=Admission(1))
    assert await full() == (503, "unavailable")
    busy = Asked(provider, operation, deliveries_per_second=0.1)
    assert await busy() == (429, "too-many")
    unknowing = next(w for w in webhooks() if w.provider == provider)
    assert await ask.send("POST", served=unknowing, content=BODY, headers=ask.headers()) == (503, "not-configured")
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_SECONDS", 0.01)
    assert await ask.send("POST", content=_never(), headers=ask.headers()) == (408, "timeout")
    assert ask.found | full.found | busy.found == documented(operation)


async def test_ouras_challenge_is_answered_as_documented_and_in_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = (await document())["paths"]["/webhooks/oura"]["get"]
    assert {p["name"]: p["required"] for p in operation["parameters"]} == {
        "verification_token": True,
        "challenge": True,
    }
    ask = Asked("oura", operation)
    known = {"verification_token": verification_token(SECRET, URL + "/webhooks/oura"), "challenge": "x1"}
    assert await ask.send("GET", params=known) == (200, "")
    assert await ask.send("GET", params=known | {"verification_token": "x"}) == (401, "unauthorized")
    unknowing = next(w for w in webhooks() if w.provider == "oura")
    assert await ask.send("GET", served=unknowing, params=known) == (503, "not-configured")
    monkeypatch.setattr(OuraWebhook, "challenge", _defect)
    assert await ask.send("GET", params=known) == (500, "internal")
    assert ask.found == documented(operation)


async def test_what_is_sent_is_documented() -> None:
    paths = (await document())["paths"]
    for provider, webhook in SERVED.items():
        operation = paths[webhook.path]["post"]
        parameters = {p["name"].lower(): p for p in operation["parameters"]}
        proof = SIGNATURES[provider](SECRET, BODY, 0)
        assert ("security" in operation) == ("authorization" in proof) == webhook.wire.by_token
        assert {name for name in proof if name not in parameters} <= {"authorization"}
        assert {name.decode() for name in webhook.vendor_headers} <= set(parameters)
        assert str(webhook.max_body_bytes) in operation["requestBody"]["description"]
        assert "api-key" not in parameters, "a credential is no parameter"
        for number in range(20):
            body = json.loads(deliver(provider, ANNA, number, NOW, SECRET).body)
            Draft202012Validator(operation["requestBody"]["content"]["application/json"]["schema"]).validate(body)


async def test_other_methods_are_told_which_are_allowed() -> None:
    paths = (await document())["paths"]
    transport = httpx.ASGITransport(front(Log(), tuple(SERVED.values())))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        for webhook in SERVED.values():
            documented_methods = {method.upper() for method in paths[webhook.path]}
            for method in {"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} - documented_methods:
                answer = await client.request(method, webhook.path)
                assert answer.status_code == 405
                assert set(answer.headers["allow"].split(", ")) == documented_methods


async def test_a_webhook_that_is_not_served_is_not_documented() -> None:
    settings = SETTINGS.model_copy()
    app = create_app("bridge", settings, Health("biometric-bridge"), Metrics("bridge"))
    describe(app, [SERVED["whoop"]])
    assert set(app.openapi()["paths"]) == {"/webhooks/whoop"}
    assert not app.openapi()["components"]["securitySchemes"]
