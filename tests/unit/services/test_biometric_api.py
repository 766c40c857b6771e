"""The biometric API without stores: who may read, and which moments can be asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from auren.auth import Revocations, Verifier, jwks
from auren.biometric.api import Stores, router
from auren.health import Health
from auren.http import create_app
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

KEY = ec.generate_private_key(ec.SECP256R1())


class Empty:
    """Readings and latest values of nobody."""

    async def range(self, *_: Any) -> list[Any]:
        return []


def bearer(scope: str) -> dict[str, str]:
    claims = {"iss": "auren", "aud": "auren", "sub": "anna", "scope": scope, "jti": "1", "exp": time.time() + 60}
    return {"Authorization": f"Bearer {jwt.encode(claims, KEY, algorithm='ES256')}"}


def app() -> FastAPI:
    async def none() -> frozenset[str]:
        return frozenset()

    settings = ServiceSettings(auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))))
    revocations = Revocations(none)
    subject = create_app("test", settings, Health("test"), Metrics("test"), (revocations,))
    subject.include_router(router(Verifier(settings, revocations), Stores(Empty(), Empty())))  # type: ignore[arg-type]
    return subject


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app(), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/readings/anna/heart_rate", "/latest/anna"])
def test_a_token_that_may_only_push_reads_nothing(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=bearer("push:healthkit chat:neuros"))
    assert answer.status_code == 403
    assert "read:biometrics" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({}, 200),
        ({"from": "1970-01-01T00:00:00Z", "to": "2200-01-01T00:00:00Z"}, 200),
        ({"from": "0001-01-01T00:00:00+14:00"}, 422),
        ({"from": "1969-12-31T23:59:59Z"}, 422),
        ({"to": "9999-12-31T23:59:59-12:00"}, 422),
        ({"from": "2300-01-01T00:00:00Z", "to": "2301-01-01T00:00:00Z"}, 422),
        ({"after": "MDAwMS0wMS0wMVQwMDowMDowMCswMDowMHxh"}, 422),
    ],
)
def test_moments_beyond_what_databases_hold_are_refused(
    client: TestClient, parameters: dict[str, str], status: int
) -> None:
    answer = client.get("/readings/anna/heart_rate", params=parameters, headers=bearer("read:biometrics"))
    assert answer.status_code == status, answer.text
