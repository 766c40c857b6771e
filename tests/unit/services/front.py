"""`serve` as one ASGI application, without its process and with Kafka in the test's hands."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Final, Literal, cast, get_args

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter
from pydantic import SecretStr

from auren.admission import Admission
from auren.auth import Revocations, Verifier, jwks
from auren.bridge.batches import BatchingProducer
from auren.bridge.buckets import Buckets
from auren.bridge.credentials import Credentials
from auren.bridge.intake import Intake, IntakeMetrics
from auren.bridge.serve_process import Front
from auren.bridge.webhooks import Webhook
from auren.bridge.webhooks.healthkit import HealthKitWebhook
from auren.bridge.webhooks.openapi import describe
from auren.bridge.webhooks.oura import OuraWebhook
from auren.bridge.webhooks.terra import TerraWebhook
from auren.bridge.webhooks.whoop import WhoopWebhook
from auren.events import Headers
from auren.health import Health
from auren.http import create_app
from auren.kafka import RefusedError
from auren.link import UnavailableError
from auren.settings import ServiceSettings
from auren.telemetry import Metrics

KEY: Final = ec.generate_private_key(ec.SECP256R1())
SETTINGS: Final = ServiceSettings(auth_jwks=SecretStr(json.dumps(jwks(KEY.public_key()))))
SECRET: Final = b"the secret of every vendor"
URL: Final = "https://bridge.example.org"

Kafka = Literal["there", "away", "lost", "refusing", "broken"]
"""Acknowledges, is known to be away, is lost before it acknowledges, refuses the record, or shows a defect of ours."""
KAFKA_STATES: Final[tuple[Kafka, ...]] = get_args(Kafka)


def token(scope: str, user: str = "anna") -> str:
    """A token of the stack's own key."""
    claims = {"iss": "auren", "aud": "auren", "sub": user, "scope": scope, "jti": "1", "exp": time.time() + 600}
    return jwt.encode(claims, KEY, algorithm="ES256")


def verifier(settings: ServiceSettings = SETTINGS) -> Verifier:
    """Knows that key, and that no token is revoked."""

    async def none_revoked() -> frozenset[str]:
        return frozenset()

    revocations = Revocations(none_revoked)
    revocations._revoked = frozenset()
    return Verifier(settings, revocations)


class Fixed(Credentials):
    """Secrets without files; none of them is the credential of a vendor that has none."""

    def __init__(self, *secrets: bytes) -> None:
        super().__init__(Path("/nonexistent"))
        self._secrets = secrets

    def active(self, name: str) -> tuple[bytes, ...]:
        return self._secrets


class Log:
    """Stands for Kafka."""

    def __init__(self) -> None:
        self.kafka: Kafka = "there"
        self.appended: list[tuple[bytes, Headers]] = []

    def require(self) -> None:
        if self.kafka == "away":
            raise UnavailableError("kafka", "away")

    def append(self, value: bytes, headers: Headers) -> asyncio.Future[None]:
        self.require()
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        match self.kafka:
            case "there":
                self.appended.append((value, headers))
                acknowledged.set_result(None)
            case "lost":
                acknowledged.set_exception(UnavailableError("kafka", "no acknowledgement in time"))
            case "refusing":
                acknowledged.set_exception(RefusedError("MessageSizeTooLargeError"))
            case _:
                raise KeyError("a defect")
        return acknowledged


def webhooks(*secrets: bytes) -> tuple[Webhook, ...]:
    """Every provider's; all that sign do it with the same secrets. Without one, there is nothing to verify with."""
    credentials = Fixed(*secrets)
    return (
        HealthKitWebhook(verifier(SETTINGS if secrets else ServiceSettings())),
        OuraWebhook(credentials, URL),
        WhoopWebhook(credentials),
        TerraWebhook(credentials),
    )


def front(
    log: Log,
    served: tuple[Webhook, ...],
    *routes: APIRouter,
    admission: Admission | None = None,
    deliveries_per_second: float = 1e9,
) -> Front:
    """The application, with these routes. `deliveries_per_second` is that of one address."""
    metrics = Metrics("bridge")
    room = admission or Admission()
    counted = IntakeMetrics(metrics, room)
    buckets = Buckets(deliveries_per_second, 1e9)
    intakes = {w.path: Intake(w, cast(BatchingProducer, log), room, buckets, counted) for w in served}
    app = create_app("bridge", SETTINGS, Health("biometric-bridge"), metrics)
    for router in routes:
        app.include_router(router)
    describe(app, served)
    return Front(intakes, app)
