"""How the database's connections are shared out, so that no rolling update can exhaust them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from auren_operator.api.spec import Stack

RESERVED_CONNECTIONS: Final = 5
"""Three that PostgreSQL keeps for its superuser (the migrations Job), one for a probe, one for a person's psql."""

LEAST: Final[Mapping[str, int]] = {"biometric": 2, "bridge_collect": 3, "neuros": 2, "bridge_serve": 1}
"""What every container gets at least. The collector keeps one while a periodic job runs and one while a token is
refreshed, and goes on with the third."""

LEAST_PER_POD: Final[Mapping[str, int]] = {
    "neuros": LEAST["neuros"],
    "biometric": LEAST["biometric"],
    "bridge": LEAST["bridge_serve"] + LEAST["bridge_collect"],
}
"""The same by service."""

SURGE: Final = 1
"""Pods beyond its replicas that a Deployment may run during a rolling update (its ``maxSurge``)."""

GREATEST_POOL: Final = 10
"""Beyond this a pool in one process gains nothing: its event loop is the limit."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Connections per container. NEUROS shares its own between two drivers."""

    neuros: int
    biometric: int
    bridge_serve: int
    bridge_collect: int


def least_connections(greatest_replicas: Mapping[str, int]) -> int:
    """The fewest server connections that hold for services (by name) with these greatest replicas (0: disabled)."""
    return RESERVED_CONNECTIONS + sum(LEAST_PER_POD[name] * _pods(most) for name, most in greatest_replicas.items())


def pools(stack: Stack) -> Pools:
    """The pool of each container: each its least, then one more in turn while all pods together still fit.

    ``biometric`` writes and answers, so it comes first. All services are counted as rolling at the same time.
    """
    pods = {
        "biometric": _pods(stack.biometric.greatest_replicas),
        "bridge_collect": _pods(stack.bridge.greatest_replicas),
        "neuros": _pods(stack.neuros.greatest_replicas),
        "bridge_serve": _pods(stack.bridge.greatest_replicas),
    }
    sizes = dict(LEAST)
    free = stack.timescaledb.max_connections - RESERVED_CONNECTIONS - sum(sizes[name] * pods[name] for name in pods)
    growing = [name for name in pods if pods[name]]
    while growing:
        growing = [name for name in growing if pods[name] <= free and sizes[name] < GREATEST_POOL]
        for name in growing:
            if pods[name] <= free:
                sizes[name] += 1
                free -= pods[name]
    return Pools(**sizes)


def _pods(greatest_replicas: int) -> int:
    return greatest_replicas + SURGE if greatest_replicas else 0
