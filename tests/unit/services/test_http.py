"""What all services' HTTP has in common: problems, the rule about paths, CORS, and metrics without people."""

import json
import logging
import time
from collections.abc import Iterator
from typing import Annotated, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Depends, FastAPI
from prometheus_client import generate_latest
from pydantic import BaseModel, SecretStr
from starlette.testclient import TestClient

from auren.auth import Principal, Revocations, Verifier, jwks
from auren.health import Health
from auren.http import ProblemError, authenticated, create_app
from auren.link import UnavailableError
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

KEY = ec.generate_private_key(ec.SECP256R1())
ORIGIN = "https://app.example.org"


class Question(BaseModel):
    """A body to validate."""

    message: str
    times: int = 1


class Strict(Question, extra="forbid"):
    """A body that allows nothing else."""


class Recorder:
    """A part of a service that writes down what happens to it."""

    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self.story = story

    async def start(self) -> None:
        self.story.append(f"start {self.name}")

    async def stop(self) -> None:
        self.story.append(f"stop {self.name}")


class Bench:
    """An app with one route of each kind."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.metrics = Metrics("test")
        self.health = Health("test")
        settings = ServiceSettings(
            cors_origins=(ORIGIN,), auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))), log_level="ERROR"
        )
        parts = [Recorder("database", self.story), Recorder("kafka", self.story)]
        self.app = create_app("test", settings, self.health, self.metrics, parts)
        self._routes(self.app, Verifier(settings, _none_revoked()))

    def _routes(self, app: FastAPI, verifier: Verifier) -> None:
        @app.get("/readings/{user}")
        async def readings(
            user: str, caller: Annotated[Principal, Depends(authenticated(verifier, "read:biometrics"))]
        ) -> dict[str, str]:
            return {"user": caller.user_id}

        @app.post("/ask")
        async def ask(question: Question) -> dict[str, int]:
            return {"times": question.times}

        @app.post("/strict")
        async def strict(question: Strict) -> dict[str, int]:
            return {"times": question.times}

        @app.get("/things/{thing}")
        @app.delete("/things/{thing}")
        async def things(thing: str) -> dict[str, str]:
            return {"thing": thing}

        @app.get("/fails/{how}")
        async def fails(how: str) -> None:
            raise {
                "problem": ProblemError(409, "conflict", "already there", "of today"),
                "away": UnavailableError("kafka", "connection lost"),
                "defect": KeyError("anna's heart rate is 61"),
            }[how]

    def token(self, scope: str = "read:biometrics") -> dict[str, str]:
        claims = {"iss": "auren", "aud": "auren", "sub": "anna", "scope": scope, "jti": "1", "exp": time.time() + 60}
        return {"Authorization": f"Bearer {jwt.encode(claims, KEY, algorithm='ES256')}"}


def _none_revoked() -> Revocations:
    async def load() -> frozenset[str]:
        return frozenset()

    revocations = Revocations(load)
    revocations._revoked = frozenset()
    return revocations


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def client(bench: Bench) -> Iterator[TestClient]:
    with TestClient(bench.app, raise_server_exceptions=False) as client:
        yield client


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """The members of a problem of this status and type."""
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"], body["type"]) == (status, status, f"urn:auren:problem:{kind}")
    assert body["title"]
    return body


def test_parts_start_in_order_and_stop_in_reverse(bench: Bench) -> None:
    serving = [bench.health.serving]
    with TestClient(bench.app):
        serving.append(bench.health.serving)
        assert bench.story == ["start database", "start kafka"]
    serving.append(bench.health.serving)
    assert serving == [False, True, False]
    assert bench.story[2:] == ["stop kafka", "stop database"]


def test_who_may_see_whose_readings(bench: Bench, client: TestClient) -> None:
    assert client.get("/readings/anna", headers=bench.token()).json() == {"user": "anna"}
    assert client.get("/readings/bert", headers=bench.token("read:biometrics users:all")).status_code == 200
    problem(client.get("/readings/bert", headers=bench.token()), 403, "forbidden")
    problem(client.get("/readings/anna", headers=bench.token("push:healthkit")), 403, "forbidden")
    refused = client.get("/readings/anna")
    problem(refused, 401, "unauthorized")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_errors_are_problems(client: TestClient) -> None:
    assert problem(client.get("/fails/problem"), 409, "conflict")["detail"] == "of today"
    away = client.get("/fails/away")
    assert problem(away, 503, "unavailable")["title"] == "waiting for kafka"
    assert int(away.headers["Retry-After"]) > 0
    problem(client.get("/nowhere"), 404, "http-404")
    assert client.delete("/ask").headers["Allow"] == "POST"
    assert client.put("/things/1").headers["Allow"] == "DELETE, GET", "of all routes of the path"
    problem(client.delete("/ask"), 405, "http-405")


def test_a_defect_is_a_bare_500_and_a_line_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        body = problem(client.get("/fails/defect"), 500, "internal")
    assert body == {"type": "urn:auren:problem:internal", "title": "internal error", "status": 500}


def test_validation_names_the_field_and_repeats_nothing(client: TestClient) -> None:
    body = problem(client.post("/ask", json={"message": "personal", "times": "personal"}), 422, "invalid")
    assert [e["field"] for e in body["errors"]] == ["body.times"]
    assert "personal" not in json.dumps(body)
    problem(client.post("/ask", content=b"{personal", headers={"content-type": "application/json"}), 422, "invalid")


def test_a_field_that_there_is_not_is_told_without_its_name(client: TestClient) -> None:
    body = problem(client.post("/strict", json={"message": "m", "personal": 1}), 422, "invalid")
    assert [e["field"] for e in body["errors"]] == ["body"]
    assert "personal" not in json.dumps(body)


def test_only_listed_origins_are_allowed(client: TestClient) -> None:
    def allowed(origin: str) -> str | None:
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = client.options("/ask", headers=asked).headers
        assert "access-control-allow-credentials" not in answer
        return answer.get("access-control-allow-origin")

    assert allowed(ORIGIN) == ORIGIN
    assert allowed("https://evil.example.org") is None


def test_metrics_have_route_templates_and_no_paths(bench: Bench, client: TestClient) -> None:
    client.get("/readings/anna", headers=bench.token())
    client.get("/readings/anna")
    client.get("/somewhere/anna")
    client.request("BREW", "/readings/anna")
    text = generate_latest(bench.metrics.registry).decode()
    assert 'auren_test_http_requests_total{method="GET",route="/readings/{user}",status="200"} 1.0' in text
    assert 'auren_test_http_requests_total{method="GET",route="/readings/{user}",status="401"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert 'method="other"' in text
    assert "anna" not in text


def test_health_is_open(client: TestClient) -> None:
    assert [client.get(f"/health{path}").status_code for path in ("", "/live", "/serving", "/ready")] == [200] * 4
