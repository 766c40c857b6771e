"""The service put together: connections, consumer, routes, health."""

from __future__ import annotations

from fastapi import FastAPI

from auren.auth import Revocations, Verifier
from auren.biometric.api import Stores, router
from auren.biometric.ingest import Ingest
from auren.biometric.ranges import Ranges
from auren.biometric.retention import Retention
from auren.biometric.settings import BiometricSettings
from auren.biometric.store import Readings
from auren.database import Database
from auren.health import Health
from auren.http import create_app
from auren.kafka import Consumer, Producer
from auren.latest import HotValues, LatestValues
from auren.migrations import REVISION
from auren.telemetry import Metrics
from auren.topics import BIOMETRIC_GROUP, EVENTS

SERVICE = "biometric-production"


def build(settings: BiometricSettings, health: Health, metrics: Metrics) -> FastAPI:
    """The app; nothing is connected before its lifespan begins."""
    database = Database(settings, application=SERVICE, revision=REVISION)
    revocations = Revocations(database.revoked_tokens)
    verifier = Verifier(settings, revocations)
    hot = HotValues(settings)
    readings = Readings(database)
    producer = Producer(settings, SERVICE)
    ingest = Ingest(readings, hot, producer, metrics)
    consumer = Consumer(settings, client_id=SERVICE, group=BIOMETRIC_GROUP, topics=(EVENTS,), handle=ingest.handle)
    metrics.gauge("lag_records", "Events behind the end of the partitions of this replica").set_function(
        lambda: sum(consumer.lag().values())
    )
    health.add("kafka", consumer.check)
    health.add("dead-letters", producer.check)
    health.add("database", readings.check)
    health.add("redis", hot.check)
    health.add("auth", verifier.check)
    health.add("revoked-tokens", revocations.check)
    health.fact("timescaledb edition", readings.edition)
    parts = (database, revocations, hot, producer, consumer, Retention(settings, database, metrics))
    app = create_app(SERVICE, settings, health, metrics, parts)
    app.include_router(router(verifier, Stores(Ranges(database), LatestValues(hot, database))))
    return app
