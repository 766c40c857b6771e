"""NEUROS' routes, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from prometheus_client import Gauge

from auren.auth import SCOPE_CHAT_NEUROS, Verifier
from auren.http import authenticated
from auren.modes import DEFAULTS, Thresholds
from auren.neuros.agent import Agent
from auren.neuros.api import analysis, remembered, tables, talk
from auren.neuros.api.remembered import Everything
from auren.neuros.interventions.sockets import Sockets as InterventionSockets
from auren.neuros.protocols import PROTOCOLS, Protocol
from auren.sockets import Sockets


def router(
    verifier: Verifier,
    agent: Agent,
    everything: Everything,
    interventions: InterventionSockets,
    open_sockets: Gauge,
    origins: Sequence[str] = (),
    thresholds: Thresholds = DEFAULTS,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
) -> APIRouter:
    """The routes; every one takes a bearer token with `chat:neuros`, whose `sub` is the user."""
    routes = APIRouter()
    caller = authenticated(verifier, SCOPE_CHAT_NEUROS)
    shown = analysis.Shown(protocols)
    routes.include_router(analysis.routes(caller, agent, shown))
    sockets = Sockets(verifier, SCOPE_CHAT_NEUROS, origins, open_sockets)
    routes.include_router(talk.routes(sockets, agent, interventions, shown))
    routes.include_router(remembered.routes(caller, verifier, agent, everything))
    routes.include_router(tables.routes(caller, thresholds, protocols))
    return routes
