"""Stores prepared by the two Jobs, and the services as processes with the environment that a stack gives them.

A test asks for the fixture `platform` and starts what it needs:

    bridge = platform.service("auren.bridge", "serve", user="biometric-bridge")
    answer = bridge.post("/webhooks/healthkit", document, platform.bearer("anna", "push:healthkit"))
"""

from __future__ import annotations

import json
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from auren import kafka_admin
from auren.auth import jwks, mint
from auren.kafka import Record
from auren.migrations import job as migrations
from auren.topics import ACCESS, Topic
from tests.api.processes import Server, Servers, free_port
from tests.api.stores import Kafka, Postgres, Redis

ISSUER, AUDIENCE = "auren-tests", "auren"

NO_VENDORS = {
    f"AUREN_{vendor}_{what}_URL": "http://127.0.0.1:9" for vendor in ("OURA", "WHOOP") for what in ("API", "TOKEN")
}
"""The port `discard`, where nobody listens: a test that wants vendors starts some (vendor_api.py)."""


def new_user() -> str:
    """A person of one test only, whose records can be told from everybody else's."""
    return f"user-{uuid.uuid4().hex[:12]}"


@dataclass
class Service:
    """One process of a service and its three ports."""

    server: Server
    port: int
    health_port: int
    metrics_port: int

    def url(self, path: str) -> str:
        """Address of a path of the API."""
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """GET a path of the API."""
        return httpx.get(self.url(path), headers=headers, timeout=60)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """POST to a path of the API: bytes as they are (JSON by their header), anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        merged = {"Content-Type": "application/json", **(headers or {})}
        return httpx.post(self.url(path), content=content, headers=merged, timeout=60)

    def health(self, path: str = "/health/ready") -> httpx.Response:
        """The answer of a health route."""
        return httpx.get(f"http://127.0.0.1:{self.health_port}{path}", timeout=10)

    def metrics(self) -> str:
        """The metrics as text."""
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text

    def listening(self) -> bool:
        """Whether the listener is open and the event loop turns."""
        try:
            return self.health("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def ready(self) -> bool:
        """Whether the service has all it needs."""
        try:
            return self.health().status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self) -> None:
        """Block until the service has all it needs."""
        self.server.wait_until(self.ready, "ready")


@dataclass
class Platform:
    """Stores with topics, users, rights and tables, and what is needed to start services on them."""

    kafka: Kafka
    postgres: Postgres
    redis: Redis
    servers: Servers
    database: str
    passwords: dict[str, str] = field(default_factory=lambda: {a.user: secrets.token_urlsafe(16) for a in ACCESS})
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    log_key: str = field(default_factory=lambda: secrets.token_hex(32))
    oauth_keyring: str = field(default_factory=lambda: f"k1:{secrets.token_hex(32)}")
    services: list[Service] = field(default_factory=list)
    """All that were started, whether they still run or not."""

    def prepare(self) -> None:
        """Run both Jobs."""
        by_role = {user.replace("-", "_"): SecretStr(password) for user, password in self.passwords.items()}
        migrations.run(
            migrations.MigrationSettings(
                database_host=self.postgres.host,
                database_port=self.postgres.port,
                database_name=self.database,
                database_user=self.postgres.username,
                database_password=SecretStr(self.postgres.password),
                role_password_biometric_bridge=by_role["biometric_bridge"],
                role_password_biometric_production=by_role["biometric_production"],
                role_password_neuros_advanced=by_role["neuros_advanced"],
            )
        )
        kafka_admin.run(
            kafka_admin.TopicSettings(
                kafka_bootstrap=self.kafka.bootstrap,
                kafka_mechanism="PLAIN",
                kafka_username=self.kafka.admin_username,
                kafka_password=SecretStr(self.kafka.admin_password),
                kafka_user_password_biometric_bridge=by_role["biometric_bridge"],
                kafka_user_password_biometric_production=by_role["biometric_production"],
                kafka_user_password_neuros_advanced=by_role["neuros_advanced"],
            )
        )

    def bearer(
        self, user: str, scope: str = "push:healthkit", *, audience: str = AUDIENCE, ttl_seconds: int = 600
    ) -> dict[str, str]:
        """The Authorization header of a user."""
        return {"Authorization": f"Bearer {self.token(user, scope, audience=audience, ttl_seconds=ttl_seconds)}"}

    def token(self, user: str, scope: str, *, audience: str = AUDIENCE, ttl_seconds: int = 600) -> str:
        """A token of the stack's own key."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return mint(pem, issuer=ISSUER, audience=audience, subject=user, scope=scope, ttl_seconds=ttl_seconds)

    def service(
        self,
        module: str,
        *arguments: str,
        user: str,
        environment: dict[str, str] | None = None,
        jwks_file: bool = True,
        secret_files: Mapping[str, str] | None = None,
    ) -> Service:
        """Start a service and wait until it listens; `user` is its Kafka user and, with underscores, its role.

        `secret_files`: more files of its folder of secrets, by name.
        """
        port, metrics_port = free_port(), free_port()
        health_port = free_port() if "collect" in arguments else port
        name = f"{module}-{'-'.join(arguments)}-{port}"
        folder = self.secrets_of(name, user, jwks_file)
        for file, content in (secret_files or {}).items():
            (folder / file).write_text(content)
        server = self.servers.add(
            Server(
                name=name,
                command=[sys.executable, "-m", module, *arguments],
                log=self.servers.folder / f"{name}.log",
                ready=lambda: True,
                environment={
                    "AUREN_STACK": "tests",
                    "AUREN_HOST": "127.0.0.1",
                    "AUREN_PORT": str(port),
                    "AUREN_HEALTH_PORT": str(health_port),
                    "AUREN_METRICS_PORT": str(metrics_port),
                    "AUREN_AUTH_ISSUER": ISSUER,
                    "AUREN_AUTH_AUDIENCE": AUDIENCE,
                    "AUREN_SECRETS_DIR": str(folder),
                    "AUREN_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
                    "AUREN_KAFKA_USERNAME": user,
                    "AUREN_DATABASE_HOST": self.postgres.host,
                    "AUREN_DATABASE_PORT": str(self.postgres.port),
                    "AUREN_DATABASE_NAME": self.database,
                    "AUREN_DATABASE_USER": user.replace("-", "_"),
                    "AUREN_REDIS_HOST": self.redis.host,
                    "AUREN_REDIS_PORT": str(self.redis.port),
                    "AUREN_PUSHES_PER_SECOND": "10000",  # one person of a test pushes as much as hundreds
                    "AUREN_RATE_LIMIT_PER_MINUTE": "100000",  # and asks until something has happened
                    **NO_VENDORS,
                    **(environment or {}),
                },
            )
        )
        service = Service(server, port, health_port, metrics_port)
        self.services.append(service)
        server.ready = service.listening
        server.start()
        return service

    def stop_collectors(self) -> None:
        """Stop those that other tests have left running: whoever runs takes what is parked, and asks vendors for it."""
        for service in self.services:
            if "collect" in service.server.command:
                service.server.stop()

    def secrets_of(self, name: str, user: str, jwks_file: bool = True) -> Path:
        """A new folder with the files that a service of this user mounts."""
        folder = self.servers.folder / f"{name}-secrets"
        folder.mkdir(mode=0o700)
        files = {
            "auren_log_key": self.log_key,
            "auren_kafka_password": self.passwords[user],
            "auren_database_password": self.passwords[user],
            "auren_redis_password": self.redis.password,
            "auren_oauth_keyring": self.oauth_keyring,
        }
        if jwks_file:
            files["auren_auth_jwks"] = json.dumps(jwks(self.key.public_key()))
        for file, content in files.items():
            (folder / file).write_text(content)
        return folder

    async def records(self, topic: Topic, subject: str, count: int, *, seconds: float = 30) -> list[Record]:
        """The records of a topic whose key, or whose delivery's user, is `subject`: all there are, at least `count`.

        Reads from the beginning to the end as it is once `count` have been seen. Raises TimeoutError.
        """
        found: list[Record] = []
        deadline = time.monotonic() + seconds
        async with self.reader(topic) as (consumer, partitions):
            while True:
                batches = await consumer.getmany(*partitions, timeout_ms=200)
                found += [r for records in batches.values() for r in records if subject in _subjects(r)]
                if not batches and len(found) >= count:
                    return found
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(found)} of {count} records in {topic.name} after {seconds:.0f} s")

    @asynccontextmanager
    async def reader(
        self, topic: Topic, group: str | None = None
    ) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        """The admin's consumer with all partitions of a topic, which reads from the beginning.

        With `group` it sees what that group has committed, and would read on from there.
        """
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=self.kafka.admin_username,
            sasl_plain_password=self.kafka.admin_password,
            group_id=group,
            # Not seek_to_beginning: the first look for a position, which asks for the end, may come back after it.
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        ) as consumer:
            # Metadata of a topic nobody subscribed to comes on demand.
            await consumer._client.fetch_all_metadata()
            await consumer._client._wait_on_metadata(topic.name)
            partitions = [
                TopicPartition(topic.name, p) for p in sorted(consumer.partitions_for_topic(topic.name) or ())
            ]
            consumer.assign(partitions)
            yield consumer, partitions


def _subjects(record: Record) -> Sequence[str]:
    headers = dict(record.headers)
    return ((record.key or b"").decode("utf-8", "replace"), headers.get("ce_subject", b"").decode("utf-8", "replace"))
