"""NEUROS put together: connections, agent, memory, interventions, routes, health."""

from __future__ import annotations

from fastapi import FastAPI

from auren.auth import Revocations, Verifier
from auren.database import Database
from auren.health import Health
from auren.http import Part, create_app
from auren.latest import HotValues, LatestValues
from auren.migrations import REVISION
from auren.modes import overridden
from auren.neuros import models
from auren.neuros.agent import Agent
from auren.neuros.api import router
from auren.neuros.api.remembered import Everything
from auren.neuros.audit import Audit
from auren.neuros.interventions import room
from auren.neuros.knowledge import Known
from auren.neuros.memory import Memories, Upkeep
from auren.neuros.nodes import Resources
from auren.neuros.pruning import Pruning
from auren.neuros.settings import NeurosSettings
from auren.rate_limits import RateLimits
from auren.telemetry import Metrics

SERVICE = "neuros-advanced"


def build(settings: NeurosSettings, health: Health, metrics: Metrics) -> FastAPI:
    """The app; nothing is connected before its lifespan begins."""
    database = Database(settings.without_sessions(), application=SERVICE, revision=REVISION)
    revocations = Revocations(database.revoked_tokens)
    limits = RateLimits(settings, settings.rate_limit_per_minute, metrics)
    verifier = Verifier(settings, revocations, limits)
    hot = HotValues(settings)
    memories = Memories(settings, database, metrics)
    model = models.from_settings(settings, settings, metrics)
    texts, thresholds = settings.texts(), overridden(settings.modes)
    protocols, known = texts.protocols, Known(database)
    resources = Resources(
        latest=LatestValues(hot, database).of,
        knowledge=known.of,
        recall=memories.recall,
        keep=memories.keep,
        model=model,
        thresholds=thresholds,
        protocols=protocols,
        personality=texts.personality,
    )
    audit = Audit(database, SERVICE, metrics)
    agent = Agent(
        settings, resources, audit, f"{SERVICE}-sessions", database.erased_users, memories.forgotten_at, metrics
    )
    offering = room.build(settings, database, hot, verifier, health, metrics, protocols, memories.keep)
    health.add("database", database.check)
    health.add("redis", hot.check)
    health.add("chroma", memories.check)
    health.add("agent", agent.check)
    health.add("texts", texts.check)
    health.add("auth", verifier.check)
    health.add("revoked-tokens", revocations.check)
    health.fact("model", lambda: model.fact if model is not None else "rules")
    parts: list[Part] = [database, revocations, limits, hot, memories, audit, agent]
    if model is not None:
        health.add("model", model.check)
        parts.append(model)
    parts += [*offering.parts, Upkeep(memories, metrics), Pruning(settings, agent, offering.store, metrics)]
    app = create_app(SERVICE, settings, health, metrics, parts)
    sockets = metrics.gauge("chat_sockets", "Open sockets of this replica")
    everything = Everything(agent, memories, offering.store, known)
    app.include_router(
        router(verifier, agent, everything, offering.sockets, sockets, settings.cors_origins, thresholds, protocols)
    )
    app.include_router(offering.router)
    return app
