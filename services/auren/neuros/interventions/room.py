"""Interventions put together, for the service that has them.

room = build(settings, database, hot, verifier, health, metrics)
create_app(..., parts=(..., *room.parts)).include_router(room.router)
async with aclosing(room.sockets.follow(user_id)) as interventions: ...
await room.store.erase(user_id)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import APIRouter

from auren.auth import Verifier
from auren.database import Database
from auren.health import Health
from auren.http import Part
from auren.kafka import Consumer, Producer
from auren.latest import HotValues
from auren.neuros.interventions import api, preferences
from auren.neuros.interventions.decision import Policy
from auren.neuros.interventions.experience import Learn
from auren.neuros.interventions.settings import InterventionSettings, RoomSettings
from auren.neuros.interventions.sockets import Sockets
from auren.neuros.interventions.store import Store
from auren.neuros.interventions.suggestions import suggesting
from auren.neuros.interventions.worker import Worker
from auren.neuros.protocols import PROTOCOLS, Protocol
from auren.outbox import Outbox, Place
from auren.telemetry import Metrics
from auren.topics import EVENTS, MODE_SWITCHES, NEUROS_GROUP

CLIENT_ID: Final = "neuros-advanced"
OUTBOX: Final = Place(table="intervention_outbox", lock=4_158_201_761, client_id=f"{CLIENT_ID}-outbox")


@dataclass(frozen=True, slots=True)
class Room:
    """What the service gets: parts to start in this order, routes, and what others of the service call."""

    parts: tuple[Part, ...]
    router: APIRouter
    sockets: Sockets
    store: Store


def build(
    settings: RoomSettings,
    database: Database,
    hot: HotValues,
    verifier: Verifier,
    health: Health,
    metrics: Metrics,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
    learn: Learn | None = None,
) -> Room:
    """The room, which registers its own checks and metrics; `protocols` are those in force, `learn` remembers.

    Database, hot values and verifier are the service's.
    """
    store = Store(database)
    sockets = Sockets(settings, hot, store, metrics)
    producer = Producer(settings, CLIENT_ID)
    outbox = Outbox(settings, database, producer, metrics, OUTBOX)
    worker = Worker(policy(settings, protocols), store, sockets, producer, outbox, metrics, learn)
    consumer = Consumer(
        settings, client_id=CLIENT_ID, group=NEUROS_GROUP, topics=(MODE_SWITCHES, EVENTS), handle=worker.handle
    )
    metrics.gauge("lag_records", "Records behind the end of the partitions of this replica").set_function(
        lambda: sum(consumer.lag().values())
    )
    health.add("kafka", consumer.check)
    health.add("kafka-producer", producer.check)
    router = api.router(verifier, store, preferences.defaults(settings), learn)
    return Room((producer, outbox, sockets, consumer), router, sockets, store)


def policy(settings: InterventionSettings, protocols: Mapping[str, Protocol]) -> Policy:
    """What holds for everybody."""
    return Policy(
        cooldown=timedelta(seconds=settings.interventions_cooldown_seconds),
        stale_after=timedelta(seconds=settings.interventions_stale_seconds),
        suggest=suggesting(protocols),
    )
