"""The webhook's hot path: nothing is accepted before the log has it, and memory is bounded whatever comes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from starlette.types import Message, Scope

from auren import bodies
from auren.admission import LEAST_CHARGE_BYTES, Admission
from auren.auth import Revocations, Verifier, jwks
from auren.bridge.batches import BatchingProducer
from auren.bridge.buckets import BURST_SECONDS, Buckets
from auren.bridge.intake import Intake, IntakeMetrics
from auren.bridge.webhooks.healthkit import HealthKitWebhook
from auren.events import Headers
from auren.link import UnavailableError
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

KEY = ec.generate_private_key(ec.SECP256R1())
DOCUMENT = b'{"data": {"metrics": []}}'


ADDRESS_RATE, USER_RATE = 16.0, 8.0


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log:
    """Stands for Kafka: records wait until the test acknowledges them."""

    def __init__(self) -> None:
        self.away = False
        self.appended: list[tuple[bytes, Headers, asyncio.Future[None]]] = []
        self.came = asyncio.Event()

    def require(self) -> None:
        if self.away:
            raise UnavailableError("kafka", "away")

    def append(self, value: bytes, headers: Headers) -> asyncio.Future[None]:
        self.require()
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.appended.append((value, headers, acknowledged))
        self.came.set()
        return acknowledged


class Bench:
    """An intake with its parts in the test's hands."""

    def __init__(self, verifier: Verifier, limit: int) -> None:
        self.log = Log()
        self.admission = Admission(limit)
        self.clock = Clock()
        self.intake = Intake(
            HealthKitWebhook(verifier),
            cast(BatchingProducer, self.log),
            self.admission,
            Buckets(ADDRESS_RATE, USER_RATE, self.clock),
            IntakeMetrics(Metrics("bridge"), self.admission),
        )

    def token(self, scope: str) -> str:
        """Anna's."""
        claims = {"iss": "auren", "aud": "auren", "sub": "anna", "scope": scope, "jti": "1", "exp": time.time() + 60}
        return jwt.encode(claims, KEY, algorithm="ES256")

    async def post(
        self, *chunks: bytes | None, headers: dict[str, str] | None = None, scope: str = "push:healthkit"
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer; None among the chunks stands for a client that sends nothing any more."""
        sent = {
            "authorization": f"Bearer {self.token(scope)}",
            "content-type": "application/json; charset=utf-8",
            **(headers or {}),
        }
        request: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/webhooks/healthkit",
            "client": ("192.0.2.1", 1234),
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
        }
        waiting = list(chunks)
        answer: list[Message] = []

        async def receive() -> Message:
            chunk = waiting.pop(0)
            if chunk is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

        async def send(message: Message) -> None:
            answer.append(message)

        await self.intake(request, receive, send)
        return answer[0]["status"], json.loads(answer[1]["body"])


@pytest.fixture
async def bench() -> Bench:
    async def none_revoked() -> frozenset[str]:
        return frozenset()

    revocations = Revocations(none_revoked)
    await revocations.refresh()
    settings = ServiceSettings(auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))))
    return Bench(Verifier(settings, revocations), limit=4 * LEAST_CHARGE_BYTES)


async def test_the_answer_waits_for_the_acknowledgement(bench: Bench) -> None:
    request = asyncio.create_task(bench.post(DOCUMENT[:5], DOCUMENT[5:], headers={"traceparent": "00-" + "a" * 32}))
    await bench.log.came.wait()
    (value, headers, acknowledged), *_ = bench.log.appended
    for _ in range(10):
        await asyncio.sleep(0)
    assert not request.done()
    acknowledged.set_result(None)
    status, body = await request
    assert status == 202
    assert value == DOCUMENT
    by_name = dict(headers)
    assert by_name["ce_id"].decode() == body["id"]
    assert by_name["ce_subject"] == b"anna"
    assert by_name["content-type"] == b"application/json"
    # It is no trace context, so it goes nowhere.
    assert "traceparent" not in by_name
    assert bench.admission.in_flight == 0


async def test_a_trace_context_goes_along(bench: Bench) -> None:
    context = f"00-{'a' * 32}-{'b' * 16}-01"
    request = asyncio.create_task(bench.post(DOCUMENT, headers={"traceparent": context}))
    await bench.log.came.wait()
    assert dict(bench.log.appended[0][1])["traceparent"] == context.encode()
    bench.log.appended[0][2].set_result(None)
    assert (await request)[0] == 202


async def test_a_batch_that_fails_is_503(bench: Bench) -> None:
    request = asyncio.create_task(bench.post(DOCUMENT))
    await bench.log.came.wait()
    bench.log.appended[0][2].set_exception(UnavailableError("kafka", "no acknowledgement in time"))
    assert (await request)[0] == 503
    assert bench.admission.in_flight == 0


async def test_without_kafka_the_body_is_not_even_read(bench: Bench) -> None:
    bench.log.away = True
    status, body = await bench.post(None)
    assert (status, body["type"]) == (503, "urn:auren:problem:unavailable")


async def test_beyond_the_bytes_in_flight_is_503_until_there_is_room(bench: Bench) -> None:
    waiting = [asyncio.create_task(bench.post(DOCUMENT)) for _ in range(4)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(bench.log.appended) == 4
    assert bench.admission.in_flight == bench.admission.limit
    assert (await bench.post(DOCUMENT))[0] == 503
    bench.log.appended[0][2].set_result(None)
    await waiting[0]
    large = LEAST_CHARGE_BYTES * b" "
    assert (await bench.post(large, b"{}"))[0] == 503
    for _, _, acknowledged in bench.log.appended[1:]:
        acknowledged.set_result(None)
    await asyncio.gather(*waiting)
    assert bench.admission.in_flight == 0


async def test_a_body_that_does_not_come_is_408(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_SECONDS", 0.01)
    assert (await bench.post(b"{", None))[0] == 408
    assert bench.admission.in_flight == 0


async def test_a_token_without_the_scope_is_403(bench: Bench) -> None:
    assert (await bench.post(None, scope="read:biometrics"))[0] == 403


async def test_a_defect_is_an_answer_without_details(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(value: bytes, headers: Headers) -> asyncio.Future[None]:
        raise KeyError("anna")

    monkeypatch.setattr(bench.log, "append", broken)
    status, body = await bench.post(DOCUMENT)
    assert status == 500
    assert "anna" not in json.dumps(body)
    assert bench.admission.in_flight == 0


async def test_too_many_are_told_to_come_back_and_then_are_taken(bench: Bench) -> None:
    bench.log.away = True  # which is found out after the buckets
    burst = int(USER_RATE * BURST_SECONDS)
    assert {(await bench.post(None))[0] for _ in range(burst)} == {503}
    assert (await bench.post(None))[0] == 429
    bench.clock.now += 1 / USER_RATE
    assert [(await bench.post(None))[0] for _ in range(2)] == [503, 429]


async def test_strangers_have_a_bucket_for_their_address(bench: Bench) -> None:
    burst = int(ADDRESS_RATE * BURST_SECONDS)
    refused = {"authorization": "Bearer nonsense"}
    assert {(await bench.post(None, headers=refused))[0] for _ in range(burst)} == {401}
    assert (await bench.post(None, headers=refused))[0] == 429


async def test_the_token_may_stand_in_the_header_of_the_apps_example_server(bench: Bench) -> None:
    bench.log.away = True
    token = bench.token("push:healthkit")
    assert (await bench.post(None, headers={"authorization": "", "api-key": token}))[0] == 503
    assert (await bench.post(None, headers={"authorization": "", "api-key": "nonsense"}))[0] == 401


async def test_what_has_come_is_taken_without_waiting_and_what_has_not_is_left_for_later() -> None:
    came: asyncio.Queue[Message] = asyncio.Queue()

    async def receive() -> Message:
        return await came.get()

    assert bodies.at_once(receive) is None
    came.put_nowait({"type": "http.request", "body": b"all", "more_body": False})
    assert bodies.at_once(receive) == {"type": "http.request", "body": b"all", "more_body": False}
    assert bodies.at_once(receive) is None
    assert came.empty()


@pytest.mark.parametrize("late", [True, False], ids=["late", "with the headers"])
async def test_a_body_in_parts_is_one_body_whenever_they_come(bench: Bench, late: bool) -> None:
    parts = [DOCUMENT[:5], b"", DOCUMENT[5:]]

    async def receive() -> Message:
        if late:
            await asyncio.sleep(0)
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    with bench.admission.ticket() as ticket:
        assert await bodies.read({}, receive, ticket, len(DOCUMENT)) == DOCUMENT
    assert bench.admission.in_flight == 0


@pytest.mark.parametrize("parts", [[DOCUMENT], [DOCUMENT[:-1], DOCUMENT[-1:]]], ids=["whole", "in parts"])
async def test_a_body_over_the_limit_is_413_also_without_a_length(bench: Bench, parts: list[bytes]) -> None:
    left = list(parts)

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    with bench.admission.ticket() as ticket, pytest.raises(bodies.TooLargeError):
        await bodies.read({}, receive, ticket, len(DOCUMENT) - 1)
