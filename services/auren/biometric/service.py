"""The service put together: connections, consumer, routes, health."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from auren.admission import MAX_BYTES_IN_FLIGHT, Admission
from auren.auth import Revocations, Verifier
from auren.biometric.api import Stores, router
from auren.biometric.chats import Chats
from auren.biometric.edition import Edition
from auren.biometric.erasure import Erasure
from auren.biometric.export import Export
from auren.biometric.ingest.judge import Judge
from auren.biometric.ingest.worker import Ingest
from auren.biometric.learnt import Learnt
from auren.biometric.live_streams import LiveStreams
from auren.biometric.neuros import Neuros
from auren.biometric.ranges import Ranges
from auren.biometric.report.drawing import Drawing
from auren.biometric.retention import Retention
from auren.biometric.settings import BiometricSettings
from auren.database import Database
from auren.health import Health
from auren.http import Part, create_app
from auren.kafka import Consumer, Producer
from auren.latest import HotValues, LatestValues
from auren.migrations import REVISION
from auren.modes import overridden
from auren.outbox import Outbox, Place
from auren.rate_limits import RateLimits
from auren.telemetry import Metrics
from auren.topics import BIOMETRIC_GROUP, EVENTS

SERVICE = "biometric-production"
POLL_RECORDS: Final = 3000
"""A thousand of each of three partitions, which is a transaction each: what one costs is shared by many events."""

OUTBOX: Final = Place(table="outbox", lock=4_158_201_746, client_id="biometric-production-outbox")
"""Mode decisions on their way to NEUROS."""


def build(settings: BiometricSettings, health: Health, metrics: Metrics) -> FastAPI:
    """The app; nothing is connected before its lifespan begins."""
    database = Database(settings, application=SERVICE, revision=REVISION)
    revocations = Revocations(database.revoked_tokens)
    limits = RateLimits(settings, settings.rate_limit_per_minute, metrics)
    verifier = Verifier(settings, revocations, limits)
    hot = HotValues(settings)
    edition = Edition(database)
    producer = Producer(settings, SERVICE)
    outbox = Outbox(settings, database, producer, metrics, OUTBOX)
    ingest = Ingest(database, hot, producer, outbox, Judge(overridden(settings.modes)), metrics)
    consumer = Consumer(
        settings,
        client_id=SERVICE,
        group=BIOMETRIC_GROUP,
        topics=(EVENTS,),
        handle=ingest.handle,
        poll_records=POLL_RECORDS,
    )
    metrics.gauge("lag_records", "Events behind the end of the partitions of this replica").set_function(
        lambda: sum(consumer.lag().values())
    )
    health.add("kafka", consumer.check)
    health.add("dead-letters", producer.check)
    health.add("database", edition.check)
    health.add("redis", hot.check)
    health.add("auth", verifier.check)
    health.add("revoked-tokens", revocations.check)
    health.fact("timescaledb edition", edition.name)
    neuros = Neuros(settings.neuros_url) if settings.neuros_url else None
    latest, learnt = LatestValues(hot, database), Learnt(database)
    live = LiveStreams(settings, latest, learnt, lambda: health.serving)
    stores = Stores(
        Ranges(database),
        latest,
        learnt,
        Erasure(database, hot, neuros),
        Export(database, neuros),
        live,
        producer,
        Admission(MAX_BYTES_IN_FLIGHT),
        Chats(database, neuros, metrics),
    )
    retention = Retention(settings, database, metrics)
    parts: list[Part] = [database, revocations, limits, hot, producer, outbox, consumer, retention, live]
    if neuros is not None:
        parts.append(neuros)
    app = create_app(SERVICE, settings, health, metrics, parts)
    app.include_router(router(verifier, stores, Drawing(), settings.cors_origins))
    return app
