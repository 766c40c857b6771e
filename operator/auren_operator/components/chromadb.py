"""ChromaDB: vectors of NEUROS' memory. One StatefulSet.

Chroma's server has no authentication: its NetworkPolicy, which lets nobody but NEUROS in and nothing out, is its only
guard. On a cluster whose network ignores policies, any pod can read and write what it holds.
"""

from __future__ import annotations

from typing import Final

from auren_operator.api import names
from auren_operator.api.spec import Stack, StoreSpec
from auren_operator.manifests.availability import disruption_budget
from auren_operator.manifests.images import CHROMADB
from auren_operator.manifests.meta import host
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.network import CHROMADB_PORT, network_policy, service
from auren_operator.manifests.pods import Container, Probes, ask_http, pod_template, scratch
from auren_operator.manifests.storage import claim_names, claim_template, shrink_notes, wanted_bytes
from auren_operator.manifests.wiring import Wiring
from auren_operator.manifests.workloads import service_account, stateful_set

COMPONENT = Component(name="chromadb", workload="StatefulSet", port=CHROMADB_PORT)

PORTS: Final = {"http": CHROMADB_PORT}
HEARTBEAT: Final = ask_http("/api/v2/heartbeat", "http")
PROBES: Final = Probes(alive=HEARTBEAT, ready=HEARTBEAT, start=HEARTBEAT, start_seconds=120, ready_period_seconds=2)
GRACE_SECONDS: Final = 15

UNGUARDED: Final = "Chroma has no authentication and networkPolicies is off: any pod can read and write its data"


def secrets(stack: Stack) -> list[SecretSpec]:
    """None: there is nothing to authenticate with."""
    return []


def claims(stack: Stack, facts: Facts) -> dict[str, int]:
    """Claim → bytes that it should request."""
    size = wanted_bytes(stack, COMPONENT, stack.chromadb, 1, facts)
    return dict.fromkeys(claim_names(stack, COMPONENT, 1), size)


def build(stack: Stack, facts: Facts) -> Built:
    """The server, its address and its guard."""
    size = wanted_bytes(stack, COMPONENT, stack.chromadb, 1, facts)
    notes = (*shrink_notes(stack.chromadb, size), *(() if stack.network_policies else (UNGUARDED,)))
    template = pod_template(
        stack,
        COMPONENT,
        [_container(stack.chromadb)],
        [scratch("tmp", "64Mi")],
        grace_seconds=GRACE_SECONDS,
        annotations={},
    )
    workload = stateful_set(stack, COMPONENT, template, claim_template(stack, COMPONENT, stack.chromadb, size))
    manifests = [
        service_account(stack, COMPONENT),
        service(stack, COMPONENT, PORTS),
        disruption_budget(stack, COMPONENT),
        *network_policy(stack, COMPONENT),
        workload,
    ]
    return Built(manifests, notes)


def _container(spec: StoreSpec) -> Container:
    return Container(
        name="chromadb",
        image=CHROMADB,
        resources=spec.resources,
        probes=PROBES,
        ports=PORTS,
        writable={"data": CHROMADB.data_path or "", "tmp": "/tmp"},
    )


def client(stack: Stack) -> Wiring:
    """Where NEUROS finds it."""
    return Wiring({names.ENV_CHROMA_HOST: host(stack, COMPONENT), names.ENV_CHROMA_PORT: str(CHROMADB_PORT)})
