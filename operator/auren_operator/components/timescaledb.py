"""TimescaleDB: every measurement, and what follows from them. One StatefulSet, database `auren_production`; or a
server of the person's own, of which nothing is made here.

The administrator's password is set at every start from its Secret, before anyone can come in over the network; the
services' roles, passwords and rights are made by the migrations Job.
"""

from __future__ import annotations

from typing import Final

from auren_operator.api import names
from auren_operator.api.external import AUTHORITY, DATABASE, PASSWORD, USERNAME
from auren_operator.api.spec import Stack
from auren_operator.components.timescaledb_files import CLIENTS, START, postgresql_conf
from auren_operator.manifests.availability import disruption_budget
from auren_operator.manifests.config import config_annotation, config_map, config_volume
from auren_operator.manifests.images import TIMESCALEDB
from auren_operator.manifests.meta import child_name, host
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec, UserObject
from auren_operator.manifests.network import TIMESCALEDB_PORT, network_policy, service
from auren_operator.manifests.pods import Container, Plain, Probes, ask_command, ask_tcp, pod_template, scratch
from auren_operator.manifests.secrets import have_secrets, secret_files, secrets_annotation
from auren_operator.manifests.services import DATABASE_LOGIN, role
from auren_operator.manifests.storage import claim_names, claim_template, quantity, shrink_notes, wanted_bytes
from auren_operator.manifests.wiring import SECRETS_MOUNT, Wiring
from auren_operator.manifests.workloads import service_account, stateful_set

COMPONENT = Component(name="timescaledb", workload="StatefulSet", port=TIMESCALEDB_PORT)

ADMIN: Final = "postgres"
LOGIN: Final = "password"
PORTS: Final = {"postgres": TIMESCALEDB_PORT}

AUTHORITY_FILE: Final = "database-ca.crt"
"""Beside the services' Secrets: who may have signed an external server's certificate."""

ACCEPTS: Final = ask_command("pg_isready", "-q", "-h", "127.0.0.1", "-U", ADMIN, "-d", DATABASE)
"""Over TCP: while the first start makes the database, a server runs that listens on a local socket only."""

PROBES: Final = Probes(
    alive=ask_tcp("postgres"), ready=ACCEPTS, start=ACCEPTS, start_seconds=600, ready_period_seconds=2
)
"""The long start is for recovery after a crash, which reads the write-ahead log."""

GRACE_SECONDS: Final = 120
"""The image stops on SIGINT: clients are sent away, a checkpoint is written."""

SHARED_MEMORY_SHARE: Final = 8
"""One part in so many of the memory limit for /dev/shm, through which parallel workers exchange rows."""


def secrets(stack: Stack) -> list[SecretSpec]:
    """The administrator's password, without which nobody can make the roles for data that exists."""
    if stack.timescaledb.external:
        return []
    name, claims = child_name(stack, COMPONENT), volumes(stack)
    return [SecretSpec(name, COMPONENT.name, {LOGIN: "password"}, guards_data=True, guarded_volumes=claims)]


def user_objects(stack: Stack) -> list[UserObject]:
    """The administrator's login at an external server, and the authorities that vouch for it."""
    external = stack.timescaledb.external
    if external is None:
        return []
    purpose = "the database"
    login = UserObject(external.credentials, COMPONENT.name, purpose, (USERNAME, PASSWORD), is_login=True)
    if external.authority is None:
        return [login]
    return [login, UserObject(external.authority, COMPONENT.name, purpose, (AUTHORITY,), is_login=True)]


def volumes(stack: Stack) -> tuple[str, ...]:
    """The claims with all that is in the operator's own database, also while it is not used."""
    return claim_names(stack, COMPONENT, 1)


def claims(stack: Stack, facts: Facts) -> dict[str, int]:
    """Claim → bytes that it should request."""
    if stack.timescaledb.external:
        return {}
    size = wanted_bytes(stack, COMPONENT, stack.timescaledb, 1, facts)
    return dict.fromkeys(volumes(stack), size)


def build(stack: Stack, facts: Facts) -> Built:
    """The server, its address and its configuration; nothing where it is external."""
    if stack.timescaledb.external:
        return Built([], external=True)
    size = wanted_bytes(stack, COMPONENT, stack.timescaledb, 1, facts)
    notes = shrink_notes(stack.timescaledb, size)
    files = {"postgresql.conf": postgresql_conf(stack.timescaledb, size), "pg_hba.conf": CLIENTS, "start.sh": START}
    config = config_map(stack, COMPONENT, files)
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
        [_container(stack)],
        [config_volume(stack, COMPONENT), secret_files({LOGIN: (secret, LOGIN)}), *_scratch(stack)],
        grace_seconds=GRACE_SECONDS,
        annotations=config_annotation(config) | secrets_annotation(facts, [secret]),
    )
    workload = stateful_set(stack, COMPONENT, template, claim_template(stack, COMPONENT, stack.timescaledb, size))
    return Built([*around, workload], notes)


def _scratch(stack: Stack) -> list[Plain]:
    shared = stack.timescaledb.resources.memory_limit_bytes // SHARED_MEMORY_SHARE >> 20 << 20
    return [
        scratch("run", "16Mi"),
        scratch("tmp", "64Mi"),
        scratch("shm", quantity(shared), in_memory=True),
    ]


def _container(stack: Stack) -> Container:
    return Container(
        name="timescaledb",
        image=TIMESCALEDB,
        resources=stack.timescaledb.resources,
        probes=PROBES,
        ports=PORTS,
        env={
            "PGDATA": f"{TIMESCALEDB.data_path}/pgdata",  # the mount point itself belongs to root on some volumes
            "POSTGRES_USER": ADMIN,
            "POSTGRES_DB": DATABASE,
            "POSTGRES_PASSWORD_FILE": f"{names.SECRETS_DIR}/{LOGIN}",
            "NO_TS_TUNE": "true",  # the official image would guess a configuration from the node's memory
        },
        mounts={"config": "/etc/auren", **SECRETS_MOUNT},
        writable={
            "data": TIMESCALEDB.data_path or "",
            "run": "/var/run/postgresql",
            "tmp": "/tmp",
            "shm": "/dev/shm",
        },
    )


def client(stack: Stack, component: Component) -> Wiring:
    """What a service needs to come in under its own role; each container adds its pool's size."""
    login = {"auren_database_password": (child_name(stack, component), DATABASE_LOGIN)}
    return _address(stack) | Wiring({names.ENV_DATABASE_USER: role(component)}, login)


def admin(stack: Stack) -> Wiring:
    """What the migrations Job needs to come in as the administrator."""
    if external := stack.timescaledb.external:
        keys = {"auren_database_user": USERNAME, "auren_database_password": PASSWORD}
        return _address(stack) | Wiring(files={file: (external.credentials, key) for file, key in keys.items()})
    login = {"auren_database_password": (child_name(stack, COMPONENT), LOGIN)}
    return _address(stack) | Wiring({names.ENV_DATABASE_USER: ADMIN}, login)


def retention(stack: Stack) -> Wiring:
    """How long measurements are kept, for those who drop and compress them."""
    return Wiring(
        {
            names.ENV_RETENTION_DAYS: str(stack.timescaledb.retention_days),
            names.ENV_COMPRESS_AFTER_DAYS: str(stack.timescaledb.compress_after_days),
        }
    )


def _address(stack: Stack) -> Wiring:
    external = stack.timescaledb.external
    env = {
        names.ENV_DATABASE_HOST: external.host if external else host(stack, COMPONENT),
        names.ENV_DATABASE_PORT: str(external.port if external else TIMESCALEDB_PORT),
        names.ENV_DATABASE_NAME: external.database if external else DATABASE,
    }
    if external is None:
        return Wiring(env)
    env[names.ENV_DATABASE_TLS] = external.tls_mode
    if external.authority is None:
        return Wiring(env)
    env[names.ENV_DATABASE_CA_FILE] = f"{names.SECRETS_DIR}/{AUTHORITY_FILE}"
    return Wiring(env, {AUTHORITY_FILE: (external.authority, AUTHORITY)})
