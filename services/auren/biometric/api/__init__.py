"""What people and other parts may ask of the biometric service: one module for each group of routes."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter

from auren.admission import Admission
from auren.auth import SCOPE_CHAT_NEUROS, SCOPE_PUSH_HEALTHKIT, SCOPE_READ_BIOMETRICS, Verifier
from auren.biometric.api import baselines, batch, chat, latest, mode, patterns, people, readings, reports, stream
from auren.biometric.chats import Chats
from auren.biometric.erasure import Erasure
from auren.biometric.export import Export
from auren.biometric.learnt import Learnt
from auren.biometric.live_streams import LiveStreams
from auren.biometric.ranges import Ranges
from auren.biometric.report.drawing import Drawing
from auren.http import authenticated
from auren.kafka import Producer
from auren.latest import LatestValues


@dataclass(frozen=True, slots=True)
class Stores:
    """What the routes read from; all of it belongs to the service."""

    ranges: Ranges
    latest: LatestValues
    learnt: Learnt
    erasure: Erasure
    export: Export
    live: LiveStreams
    log: Producer
    admission: Admission
    chats: Chats


def router(verifier: Verifier, stores: Stores, drawing: Drawing, origins: Sequence[str] = ()) -> APIRouter:
    """All routes. Each takes a bearer token whose `sub` is the user of the path, with the scope of its group."""
    reader = authenticated(verifier, SCOPE_READ_BIOMETRICS)
    together = APIRouter()
    together.include_router(readings.routes(reader, stores.ranges))
    together.include_router(latest.routes(reader, stores.latest))
    together.include_router(patterns.routes(reader, stores.learnt))
    together.include_router(mode.routes(reader, stores.learnt))
    together.include_router(baselines.routes(reader, stores.learnt))
    together.include_router(reports.routes(reader, stores.ranges, stores.learnt, drawing))
    together.include_router(people.routes(reader, verifier, stores.erasure, stores.export))
    together.include_router(stream.routes(reader, verifier, stores.live))
    pusher = authenticated(verifier, SCOPE_PUSH_HEALTHKIT)
    together.include_router(batch.routes(pusher, stores.log, stores.admission))
    talker = authenticated(verifier, SCOPE_CHAT_NEUROS)
    together.include_router(chat.routes(talker, verifier, stores.chats, origins))
    return together
