"""Redis: hot values, locks and rate limits. One StatefulSet, append-only file, password from a Secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auren_operator.api import names
from auren_operator.api.names import SECRETS_DIR
from auren_operator.api.spec import Stack, StoreSpec
from auren_operator.manifests.availability import disruption_budget
from auren_operator.manifests.config import config_annotation, config_map, config_volume
from auren_operator.manifests.images import REDIS
from auren_operator.manifests.meta import child_name, host
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.network import REDIS_PORT, network_policy, service
from auren_operator.manifests.pods import Container, Probes, ask_command, ask_tcp, pod_template, scratch
from auren_operator.manifests.secrets import have_secrets, secret_files, secrets_annotation
from auren_operator.manifests.storage import claim_names, claim_template, shrink_notes, wanted_bytes
from auren_operator.manifests.wiring import SECRETS_MOUNT, Wiring
from auren_operator.manifests.workloads import service_account, stateful_set

COMPONENT = Component(name="redis", workload="StatefulSet", port=REDIS_PORT)

LOGIN: Final = "password"
PORTS: Final = {"redis": REDIS_PORT}

READY: Final = f'REDISCLI_AUTH="$(cat {SECRETS_DIR}/{LOGIN})" redis-cli ping | grep -q PONG'
PROBES: Final = Probes(
    alive=ask_tcp("redis"),
    ready=ask_command("sh", "-c", READY),  # while it loads its file it takes connections, but answers LOADING
    start=ask_tcp("redis"),
    start_seconds=60,
    ready_period_seconds=2,
)
GRACE_SECONDS: Final = 30

DATA_SHARE: Final = 0.6
"""Share of the memory limit for data: a rewrite of the append-only file copies what changes meanwhile."""

START: Final = f"""\
# Adds the password to the configuration, in memory only, and becomes the server.
set -eu
umask 077
{{
  cat /etc/auren/redis.conf
  echo "requirepass $(cat {SECRETS_DIR}/{LOGIN})"
}} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
"""


def secrets(stack: Stack) -> list[SecretSpec]:
    """The password. What Redis holds can be rebuilt, so a new one costs nothing but a restart."""
    return [SecretSpec(child_name(stack, COMPONENT), COMPONENT.name, {LOGIN: "password"})]


def claims(stack: Stack, facts: Facts) -> dict[str, int]:
    """Claim → bytes that it should request."""
    size = wanted_bytes(stack, COMPONENT, stack.redis, 1, facts)
    return dict.fromkeys(claim_names(stack, COMPONENT, 1), size)


def build(stack: Stack, facts: Facts) -> Built:
    """The server, its address and its configuration."""
    size = wanted_bytes(stack, COMPONENT, stack.redis, 1, facts)
    notes = shrink_notes(stack.redis, size)
    config = config_map(stack, COMPONENT, {"redis.conf": redis_conf(stack.redis), "start.sh": START})
    around = [
        service_account(stack, COMPONENT),
        config,
        service(stack, COMPONENT, PORTS),
        disruption_budget(stack, COMPONENT),
        *network_policy(stack, COMPONENT),
    ]
    secret = child_name(stack, COMPONENT)
    if not have_secrets(facts, [secret]):
        return Built(around, notes, withheld=("StatefulSet",))
    template = pod_template(
        stack,
        COMPONENT,
        [_container(stack.redis)],
        [
            config_volume(stack, COMPONENT),
            secret_files({LOGIN: (secret, LOGIN)}),
            scratch("tmp", "1Mi", in_memory=True),
        ],
        grace_seconds=GRACE_SECONDS,
        annotations=config_annotation(config) | secrets_annotation(facts, [secret]),
    )
    workload = stateful_set(stack, COMPONENT, template, claim_template(stack, COMPONENT, stack.redis, size))
    return Built([*around, workload], notes)


def redis_conf(spec: StoreSpec) -> str:
    """The configuration without the password. People's own lines come before those that must stay: the last wins.

    Only keys with a time to live are ever evicted, the least recently used first: locks, tokens and limits are young.
    """
    tunable: Mapping[str, str] = {
        "maxmemory": str(int(spec.resources.memory_limit_bytes * DATA_SHARE)),
        "maxmemory-policy": "volatile-lru",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "16mb",
    }
    fixed = {
        "bind": "* -::*",
        "port": str(REDIS_PORT),
        "dir": REDIS.data_path or "",
        "appendonly": "yes",
        "save": '""',
        "daemonize": "no",
    }
    lines = [*tunable.items(), *spec.config.items(), *fixed.items()]
    return "".join(f"{key} {' '.join(value.splitlines())}\n" for key, value in lines)


def _container(spec: StoreSpec) -> Container:
    return Container(
        name="redis",
        image=REDIS,
        resources=spec.resources,
        probes=PROBES,
        ports=PORTS,
        mounts={"config": "/etc/auren", **SECRETS_MOUNT},
        writable={"data": REDIS.data_path or "", "tmp": "/tmp"},
    )


def client(stack: Stack) -> Wiring:
    """What a service needs to come in."""
    env = {names.ENV_REDIS_HOST: host(stack, COMPONENT), names.ENV_REDIS_PORT: str(REDIS_PORT)}
    return Wiring(env, {"auren_redis_password": (child_name(stack, COMPONENT), LOGIN)})
