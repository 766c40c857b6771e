"""NEUROS put together: connections, agent, routes, health."""

from __future__ import annotations

from fastapi import FastAPI

from auren.auth import Revocations, Verifier
from auren.database import Database
from auren.health import Health
from auren.http import create_app
from auren.latest import HotValues, LatestValues
from auren.migrations import REVISION
from auren.modes import overridden
from auren.neuros.agent import Agent
from auren.neuros.api import router
from auren.neuros.audit import Audit
from auren.neuros.chroma import Chroma
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
    chroma = Chroma(settings)
    audit = Audit(database, SERVICE, metrics)
    agent = Agent(settings, LatestValues(hot, database), audit, f"{SERVICE}-sessions", database.erased_users)
    health.add("database", database.check)
    health.add("redis", hot.check)
    health.add("chroma", chroma.check)
    health.add("agent", agent.check)
    health.add("auth", verifier.check)
    health.add("revoked-tokens", revocations.check)
    health.fact("model", lambda: "rules")
    app = create_app(SERVICE, settings, health, metrics, (database, revocations, limits, hot, chroma, audit, agent))
    app.include_router(router(verifier, agent, overridden(settings.modes)))
    return app
