"""The bridge: takes what wearables push. A Deployment on port 8889 with two containers.

`serve` answers webhooks once Kafka has them; `collect` decodes and normalises them. They share a pod but not a fate:
`collect` has no readiness probe, so its trouble never takes the webhooks out of their Service.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from auren_operator.api import names
from auren_operator.api.defaults import lesser_cpu
from auren_operator.api.external import ExternalDatabase
from auren_operator.api.pools import pools
from auren_operator.api.providers import SIGNED
from auren_operator.api.spec import Stack
from auren_operator.components import kafka, redis, timescaledb
from auren_operator.components import stack as whole
from auren_operator.manifests.images import BRIDGE
from auren_operator.manifests.meta import child_name, manifest
from auren_operator.manifests.model import Built, Component, Facts, Manifest, SecretSpec, UserObject
from auren_operator.manifests.network import BRIDGE_PORT, COLLECT_HEALTH_PORT, COLLECT_METRICS_PORT, METRICS_PORT
from auren_operator.manifests.pods import Container, Probes, ask_http
from auren_operator.manifests.secrets import have_secrets, optional_files
from auren_operator.manifests.services import (
    LIVE,
    PROBE_PERIOD_SECONDS,
    START_SECONDS,
    our_service,
    service_container,
    service_secret,
)
from auren_operator.manifests.wiring import Wiring

COMPONENT = Component(
    name="biometric-bridge",
    workload="Deployment",
    needs=("kafka", "timescaledb", "redis", "migrations", "topics"),
    port=BRIDGE_PORT,
)

SERVE_PORTS: Final = {"http": BRIDGE_PORT, "metrics": METRICS_PORT}
COLLECT_PORTS: Final = {"health": COLLECT_HEALTH_PORT, "collect-metrics": COLLECT_METRICS_PORT}
PORTS: Final = {**SERVE_PORTS, "collect-metrics": COLLECT_METRICS_PORT}

COLLECT_CPU_DIVISOR: Final = 10
"""Requests are what containers get when there is not enough for all: then webhooks are answered and the log waits."""

COLLECT_ALIVE: Final = ask_http(LIVE, "health")
COLLECT_PROBES: Final = Probes(
    alive=COLLECT_ALIVE,
    ready=None,
    start=COLLECT_ALIVE,
    start_seconds=START_SECONDS,
    ready_period_seconds=PROBE_PERIOD_SECONDS,
)


KEYRING: Final = "keyring"


def keyring_secret(stack: Stack) -> str:
    """Name of the Secret with the keys of people's OAuth tokens."""
    return f"{child_name(stack, COMPONENT)}-keyring"


def external_mark(stack: Stack) -> str:
    """Name of the ConfigMap that stands for what an external server holds, as a volume does for our own."""
    return f"{child_name(stack, COMPONENT)}-external"


def secrets(stack: Stack) -> list[SecretSpec]:
    """Its passwords at the database and at Kafka; made also while it is switched off, as are its role and user.

    The keyring is a Secret of its own: the tokens in the database cannot be read without it, so it stays as long as
    TimescaleDB's volume does, or the mark of an external server. The passwords may be made anew at any time.
    """
    keyring = SecretSpec(
        keyring_secret(stack),
        COMPONENT.name,
        {KEYRING: "keyring"},
        guards_data=True,
        guarded_volumes=timescaledb.volumes(stack),
        guarded_marks=(external_mark(stack),),
        at_stake="the wearables' OAuth tokens",
        way_out="make a new keyring as docs/providers.md says, after which people connect their wearables again",
    )
    return [service_secret(stack, COMPONENT), keyring]


def user_objects(stack: Stack) -> list[UserObject]:
    """The credentials of the providers that are switched on; none while the bridge itself is off."""
    asked = stack.bridge.providers if stack.bridge.enabled else {}
    return [
        UserObject(provider.secret, COMPONENT.name, f"provider {name}", SIGNED[name].keys)
        for name, provider in asked.items()
    ]


def build(stack: Stack, facts: Facts) -> Built:
    """Both containers with what they need to reach the log, the database and Redis, and the mark of an external one."""
    built = _service(stack, facts)
    if stack.timescaledb.external is None:
        return built
    if not have_secrets(facts, [keyring_secret(stack)]):
        return replace(built, withheld=(*built.withheld, "ConfigMap"))
    return replace(built, manifests=[*built.manifests, _mark(stack, stack.timescaledb.external)])


def _mark(stack: Stack, external: ExternalDatabase) -> Manifest:
    """Made as soon as there is a keyring, before anything is encrypted with it; like the keyring, it outlives the stack
    under ``Retain``.
    """
    data = {"database": f"{external.host}:{external.port}/{external.database}"}
    mark = manifest(stack, COMPONENT, "ConfigMap", {"data": data}, name=external_mark(stack))
    if stack.deletion_policy == "Retain":
        del mark["metadata"]["ownerReferences"]
    return mark


def _service(stack: Stack, facts: Facts) -> Built:
    wiring = (
        whole.member(stack)
        | kafka.client(stack, COMPONENT)
        | timescaledb.client(stack, COMPONENT)
        | redis.client(stack)
        | Wiring(files={"auren_oauth_keyring": (keyring_secret(stack), KEYRING)})
    )
    containers = [_serve(stack, wiring), _collect(stack, wiring)]
    volumes = [
        optional_files(_volume(name), provider.secret, SIGNED[name].known_keys)
        for name, provider in stack.bridge.providers.items()
    ]
    return our_service(stack, COMPONENT, facts, stack.bridge, containers, wiring, PORTS, volumes)


def _volume(provider: str) -> str:
    return f"provider-{provider}"


def _mounts(stack: Stack) -> dict[str, str]:
    """Volume → directory, of each provider that is switched on.

    What is mounted follows a changed Secret by itself, and the bridge reads it again: no hash of it is on the pods.
    """
    return {_volume(name): f"{names.PROVIDERS_DIR}/{name}" for name in stack.bridge.providers}


def _providers(stack: Stack) -> dict[str, str]:
    """What both containers are told about providers."""
    url = stack.bridge.public_url
    return {names.ENV_PROVIDERS_DIR: names.PROVIDERS_DIR} | ({names.ENV_PUBLIC_URL: url} if url else {})


def _serve(stack: Stack, wiring: Wiring) -> Container:
    windows = {SIGNED[name].window_variable: str(p.window_seconds) for name, p in stack.bridge.providers.items()}
    env = {
        names.ENV_DATABASE_POOL_SIZE: str(pools(stack).bridge_serve),
        names.ENV_HEALTHKIT_ENABLED: str(stack.bridge.healthkit).lower(),
        **_providers(stack),
        **windows,
    }
    return service_container(
        "serve", BRIDGE, stack.bridge, wiring, SERVE_PORTS, env, arguments=("serve",), mounts=_mounts(stack)
    )


def _collect(stack: Stack, wiring: Wiring) -> Container:
    env = {
        names.ENV_DATABASE_POOL_SIZE: str(pools(stack).bridge_collect),
        names.ENV_HEALTH_PORT: str(COLLECT_HEALTH_PORT),
        names.ENV_METRICS_PORT: str(COLLECT_METRICS_PORT),
        **_providers(stack),
    }
    container = service_container(
        "collect",
        BRIDGE,
        stack.bridge,
        wiring,
        COLLECT_PORTS,
        env,
        arguments=("collect",),
        probes=COLLECT_PROBES,
        mounts=_mounts(stack),
    )
    return replace(container, resources=lesser_cpu(stack.bridge.resources, COLLECT_CPU_DIVISOR))
