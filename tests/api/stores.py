"""Kafka, PostgreSQL with TimescaleDB, Redis and Chroma as plain processes on loopback, for tests of the services.

In a test, ask for the fixtures ``kafka``, ``postgres``, ``redis_store`` and ``chroma`` of ``tests/api/conftest.py``:
each starts its server at first use and keeps it for the session. They ask for the same authentication as in a stack:

* ``kafka``: SASL/PLAIN for ``kafka-admin`` alone, SCRAM-SHA-512 for users that the admin makes, deny by default;
* ``postgres``: password of ``postgres``; `Postgres.create_database` gives a test an empty database of its own;
* ``redis_store``: a password; `Redis.flush` empties it;
* ``chroma``: none, as in a stack.

Each has ``server.stop()``, ``server.kill()`` and ``server.start()`` (call them from the test itself: they block, and a
server started from another thread dies with that thread). Port and data stay the same.

By hand: ``python -m tests.api.stores`` starts all four, prints their addresses as shell assignments, and ends them on
Ctrl-C.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.api.places import on_path, part, root_file_system
from tests.api.processes import Server, ServerFailedError, Servers, free_port, listens

HOST = "127.0.0.1"
DATABASE = "auren_production"

KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=CLIENT://{host}:{port},RELAYED://{host}:{relayed_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port},RELAYED://{host}:{relay_port}
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,RELAYED:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.client.scram-sha-512.sasl.jaas.config={scram} required;
listener.name.client.plain.sasl.jaas.config={plain} required username="{user}" password="{password}" \
user_{user}="{password}";
listener.name.relayed.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.relayed.scram-sha-512.sasl.jaas.config={scram} required;
listener.name.relayed.plain.sasl.jaas.config={plain} required username="{user}" password="{password}" \
user_{user}="{password}";
listener.name.controller.plain.sasl.jaas.config={plain} required username="{user}" password="{password}" \
user_{user}="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{user}
allow.everyone.if.no.acl.found=false
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes=18874368
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""

QUICK_SESSION = """\
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
"""The tests' own: a killed broker comes back once its old session is over, by default after 9 s. Without processor time
for 2 s it is taken for dead, so benchmarks keep the default."""


@dataclass(frozen=True)
class Kafka:
    """A broker; ``bootstrap`` is ``host:port`` of its client listener.

    A second listener, ``relayed_port``, sends its clients to ``relay_port``, where a test may put a relay (relay.py).
    """

    server: Server
    bootstrap: str
    admin_username: str
    admin_password: str
    relayed_port: int = 0
    relay_port: int = 0


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL 17 with TimescaleDB (Apache edition); ``username`` is the superuser."""

    server: Server
    host: str
    port: int
    username: str
    password: str
    database: str

    def dsn(self, database: str | None = None) -> str:
        """``postgresql://`` address of a database for the superuser."""
        return f"postgresql://{self.username}:{self.password}@{self.host}:{self.port}/{database or self.database}"

    async def create_database(self, name: str | None = None) -> str:
        """Make an empty database with the extension, as the store's image does; returns its name."""
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        admin = await asyncpg.connect(self.dsn("postgres"))
        try:
            await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        finally:
            await admin.close()
        connection = await asyncpg.connect(self.dsn(name))
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        finally:
            await connection.close()
        return name

    async def drop_database(self, name: str) -> None:
        """Remove a database, closing what is still connected to it."""
        admin = await asyncpg.connect(self.dsn("postgres"))
        try:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await admin.close()


@dataclass(frozen=True)
class Redis:
    """A Redis 8 with a password for the default user."""

    server: Server
    host: str
    port: int
    password: str

    def flush(self) -> None:
        """Remove every key."""
        _redis_answer(self.port, self.password, b"FLUSHALL\r\n")


@dataclass(frozen=True)
class Chroma:
    """Chroma's Rust server; it knows no authentication."""

    server: Server
    host: str
    port: int


def _log(servers: Servers, name: str) -> Path:
    return servers.folder / f"{name}.log"


def _run(server: Server, what: str) -> None:
    """Run a command that ends by itself. Raises ServerFailedError unless it succeeds."""
    server.launch()
    if server.wait_ended(server.ready_seconds) != 0:
        raise ServerFailedError(f"{what} failed:\n{server.tail()}")


def start_kafka(servers: Servers, session: str = QUICK_SESSION) -> Kafka:
    """Format and start one broker that is its own controller, with SASL and ACLs as in a stack."""
    port, controller_port, relayed_port, relay_port = (free_port() for _ in range(4))
    user, password = "kafka-admin", secrets.token_urlsafe(24)
    folder = servers.folder / "kafka"
    folder.mkdir()
    properties = folder / "server.properties"
    properties.touch(mode=0o600)
    login = "org.apache.kafka.common.security"
    properties.write_text(
        (KAFKA_PROPERTIES + session).format(
            host=HOST,
            port=port,
            controller_port=controller_port,
            relayed_port=relayed_port,
            relay_port=relay_port,
            user=user,
            password=password,
            data=folder / "data",
            scram=f"{login}.scram.ScramLoginModule",
            plain=f"{login}.plain.PlainLoginModule",
        )
    )
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "a", 1)
    format_storage = _java(servers, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties)
    _run(format_storage, "formatting Kafka's storage")
    server = servers.add(_java(servers, "kafka.Kafka", properties))
    server.ready = lambda: listens(port) and server.said("Kafka Server started")
    server.start()
    return Kafka(server, f"{HOST}:{port}", user, password, relayed_port, relay_port)


def _java(servers: Servers, main: str, *arguments: str | Path) -> Server:
    java: list[str | Path] = [on_path("java"), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    started = "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"
    classes = ["-cp", f"{part('kafka', 'libs')}/*", main]
    return Server(
        name="Kafka",
        command=[*java, log_level, started, *classes, *arguments],
        log=_log(servers, "kafka"),
        ready=lambda: True,
        environment={"LOG_DIR": str(servers.folder)},
        cwd=servers.folder,
    )


def _chroot_data(servers: Servers, name: str, user: str) -> tuple[Path, Path]:
    """(root, data folder inside it as the chrooted process sees it), owned by the user of that root file system."""
    root = root_file_system(name)
    parent = root / "srv" / "auren-tests"
    parent.mkdir(parents=True, exist_ok=True)
    for stale in parent.iterdir():
        if not Path(f"/proc/{stale.name.split('-')[0]}").exists():
            shutil.rmtree(stale, ignore_errors=True)
    folder = servers.owns(parent / f"{os.getpid()}-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o700)
    entries = (line.split(":") for line in (root / "etc" / "passwd").read_text().splitlines())
    uid, gid = next((int(entry[2]), int(entry[3])) for entry in entries if entry[0] == user)
    os.chown(folder, uid, gid)
    return root, Path("/") / folder.relative_to(root)


def start_postgres(
    servers: Servers, *, durable: bool = False, certificate: tuple[Path, Path] | None = None
) -> Postgres:
    """Start PostgreSQL 17 with TimescaleDB. Without ``durable`` it does not wait for the disk (fsync off).

    With a ``certificate`` (its file and its key's) it refuses connections that are not encrypted.
    """
    port, password = free_port(), secrets.token_urlsafe(24)
    root, data = _chroot_data(servers, "postgres", "postgres")
    programs = Path("/usr/lib/postgresql/17/bin")
    inside = root / data.relative_to("/")
    password_file = inside / "password"
    password_file.touch(mode=0o600)
    shutil.chown(password_file, inside.stat().st_uid, inside.stat().st_gid)
    password_file.write_text(password)
    make_cluster: list[str | Path] = [programs / "initdb", "--pgdata", data / "pgdata", "--username=postgres"]
    make_cluster += [f"--pwfile={data / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
    make_cluster += ["--no-sync", "--no-instructions"]
    log = _log(servers, "postgres")
    _run(Server("initdb", make_cluster, log, lambda: True, user="postgres", root=root), "initdb")
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "dynamic_shared_memory_type": "mmap",
        "max_connections": "50",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        **(_only_encrypted(inside, certificate) if certificate else {}),
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command: list[str | Path] = [programs / "postgres", "-D", data / "pgdata", *options]
    server = servers.add(Server("PostgreSQL", command, log, lambda: True, user="postgres", root=root))
    server.stop_signal = signal.SIGINT
    ready = "database system is ready to accept connections"
    server.ready = lambda: server.said(ready) if certificate else _postgres_accepts(port)
    server.start()
    return Postgres(server, HOST, port, "postgres", password, DATABASE)


def _only_encrypted(folder: Path, certificate: tuple[Path, Path]) -> dict[str, str]:
    """Settings of a server in this folder, as seen from outside its root, that speaks TLS alone."""
    for name, source in zip(("tls.crt", "tls.key"), certificate, strict=True):
        file = folder / "pgdata" / name
        file.touch(mode=0o600)
        file.write_bytes(source.read_bytes())
        os.chown(file, folder.stat().st_uid, folder.stat().st_gid)
    (folder / "pgdata" / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    return {"ssl": "on", "ssl_cert_file": "tls.crt", "ssl_key_file": "tls.key"}


def _postgres_accepts(port: int) -> bool:
    """Whether the server goes as far as asking for a password: its answer then begins with R, an error with E."""
    parameters = b"user\0postgres\0database\0postgres\0\0"
    startup = (len(parameters) + 8).to_bytes(4, "big") + (196608).to_bytes(4, "big") + parameters
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(startup)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def start_redis(servers: Servers) -> Redis:
    """Start Redis with a password and an append-only file."""
    port, password = free_port(), secrets.token_urlsafe(24)
    root, data = _chroot_data(servers, "redis", "redis")
    configuration = root / data.relative_to("/") / "redis.conf"
    configuration.write_text(
        f'bind {HOST}\nport {port}\ndir {data}\nappendonly yes\nappendfsync no\nsave ""\nrequirepass {password}\n'
        "maxmemory 128mb\nmaxmemory-policy noeviction\n"
    )
    configuration.chmod(0o640)
    shutil.chown(configuration, configuration.parent.stat().st_uid, configuration.parent.stat().st_gid)
    server = servers.add(
        Server(
            name="Redis",
            command=["/usr/bin/redis-server", data / "redis.conf"],
            log=_log(servers, "redis"),
            ready=lambda: _redis_answer(port, password, b"PING\r\n").endswith(b"+PONG\r\n"),
            user="redis",
            root=root,
        )
    )
    server.start()
    return Redis(server, HOST, port, password)


def _redis_answer(port: int, password: str, command: bytes) -> bytes:
    """What Redis says to AUTH and one command; empty where it does not answer."""
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            connection.sendall(b"AUTH " + password.encode() + b"\r\n" + command + b"QUIT\r\n")
            return b"".join(iter(lambda: connection.recv(4096), b"")).removesuffix(b"+OK\r\n")
    except OSError:
        return b""


def start_chroma(servers: Servers) -> Chroma:
    """Start Chroma's server from the native library of its wheel, without the wheel's dependencies."""
    port = free_port()
    data = servers.folder / "chroma"
    data.mkdir()
    run = "import sys, chromadb_rust_bindings as chroma; chroma.cli(['chroma', *sys.argv[1:]])"
    arguments: list[str | Path] = ["run", "--host", HOST, "--port", str(port), "--path", data]
    server = servers.add(
        Server(
            name="Chroma",
            command=[sys.executable, "-c", run, *arguments],
            log=_log(servers, "chroma"),
            ready=lambda: listens(port),
            environment={"PYTHONPATH": str(part("chroma", "site"))},
            cwd=data,
        )
    )
    server.start()
    return Chroma(server, HOST, port)


def main() -> None:
    """Start all four, print how to reach them, and wait for Ctrl-C."""
    with Servers("stores") as servers:
        kafka, postgres = start_kafka(servers), start_postgres(servers)
        redis, chroma = start_redis(servers), start_chroma(servers)
        print(f"AUREN_KAFKA_BOOTSTRAP={kafka.bootstrap}")
        print(f"KAFKA_ADMIN_USERNAME={kafka.admin_username}\nKAFKA_ADMIN_PASSWORD={kafka.admin_password}")
        print(f"AUREN_DATABASE_HOST={postgres.host}\nAUREN_DATABASE_PORT={postgres.port}")
        print(f"POSTGRES_DSN={postgres.dsn('postgres')}")
        print(f"AUREN_REDIS_HOST={redis.host}\nAUREN_REDIS_PORT={redis.port}\nREDIS_PASSWORD={redis.password}")
        print(f"AUREN_CHROMA_HOST={chroma.host}\nAUREN_CHROMA_PORT={chroma.port}", flush=True)
        signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        main()
