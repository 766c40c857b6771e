"""The process `serve`, put together from its parts."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from auren.admission import MAX_BYTES_IN_FLIGHT, Admission
from auren.auth import Revocations, Verifier
from auren.bridge.batches import BatchingProducer
from auren.bridge.buckets import Buckets
from auren.bridge.connect.accounts import Accounts
from auren.bridge.connect.books import Books
from auren.bridge.connect.routes import router
from auren.bridge.intake import Intake, IntakeMetrics
from auren.bridge.settings import BridgeSettings
from auren.bridge.tokens import TokenBox
from auren.bridge.vendors.breaker import Breakers
from auren.bridge.webhooks import Webhook
from auren.bridge.webhooks.healthkit import HealthKitWebhook
from auren.bridge.webhooks.openapi import describe
from auren.bridge.webhooks.oura import OuraWebhook
from auren.bridge.webhooks.signed import SignedWebhook
from auren.bridge.webhooks.terra import TerraWebhook
from auren.bridge.webhooks.whoop import WhoopWebhook
from auren.database import Database
from auren.health import Health
from auren.http import create_app, serve
from auren.migrations import REVISION
from auren.rate_limits import RateLimits
from auren.settings import load
from auren.telemetry import Metrics, configure_logging
from auren.topics import WEBHOOKS


class Front:
    """Sends the webhooks' paths to their intake and everything else to the app, past its middleware."""

    def __init__(self, intakes: Mapping[str, ASGIApp], app: ASGIApp) -> None:
        """`intakes` by exact path."""
        self._intakes = intakes
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        target = self._intakes.get(scope["path"], self._app) if scope["type"] == "http" else self._app
        await target(scope, receive, send)


def webhooks_of(settings: BridgeSettings, verifier: Verifier) -> tuple[Webhook, ...]:
    """Every provider's webhook. One without credentials answers 503 until they are there."""
    return (
        *((HealthKitWebhook(verifier),) if settings.healthkit_enabled else ()),
        OuraWebhook(settings.credentials("oura"), settings.public_url, settings.oura_window_seconds),
        WhoopWebhook(settings.credentials("whoop"), settings.whoop_window_seconds),
        TerraWebhook(settings.credentials("terra"), settings.terra_window_seconds),
    )


async def serve_webhooks() -> None:
    """`serve`: until the signal to stop."""
    settings = load(BridgeSettings)
    configure_logging(settings, "biometric-bridge")
    metrics = Metrics("bridge")
    health = Health("biometric-bridge")
    database = Database(settings, application="biometric-bridge", revision=REVISION)
    revocations = Revocations(database.revoked_tokens)
    limits = RateLimits(settings, settings.rate_limit_per_minute, metrics)
    verifier = Verifier(settings, revocations, limits)
    log = BatchingProducer(settings, "biometric-bridge", WEBHOOKS)
    health.add("kafka", log.check)
    health.add("database", database.check)
    health.add("authentication", verifier.check)
    health.add("revoked-tokens", revocations.check)
    # what is signed is believed only after its body was read: a stranger's bodies must not keep a phone's out
    tokens, signed = Admission(MAX_BYTES_IN_FLIGHT // 2), Admission(MAX_BYTES_IN_FLIGHT // 2)
    counted = IntakeMetrics(metrics, tokens, signed)
    buckets = Buckets(settings.deliveries_per_second, settings.pushes_per_second)
    webhooks = webhooks_of(settings, verifier)
    intakes = {
        webhook.path: Intake(webhook, log, signed if isinstance(webhook, SignedWebhook) else tokens, buckets, counted)
        for webhook in webhooks
    }
    configured = metrics.gauge("provider_configured", "Whether a provider's secret is there", ("provider",))
    for webhook in webhooks:
        configured.labels(webhook.provider).set_function(webhook.configured)
    breakers = Breakers(metrics)
    breakers.watch("kafka", lambda: log.link.state)
    breakers.watch("database", lambda: database.link.state)
    health.add("breakers", breakers.check)
    accounts = Accounts(settings, Books(database, TokenBox(settings.oauth_keyring.get_secret_value())), breakers)
    app = create_app("bridge", settings, health, metrics, parts=(database, revocations, limits, log, accounts))
    app.include_router(router(verifier, accounts))
    describe(app, webhooks)
    await serve(Front(intakes, app), settings, health, metrics)
