"""Connections to a database server that only speaks TLS: of the Job, of the services' pools and of NEUROS' sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from auren.database import Database
from auren.health import UnhealthyError
from auren.link import UnavailableError
from auren.migrations import REVISION
from auren.migrations.job import DatabaseAwayError, MigrationSettings, connect, run
from auren.migrations.roles import ROLES
from auren.neuros.sessions import open_pool
from auren.neuros.settings import NeurosSettings
from auren.settings import DatabaseSettings
from tests.api import stores
from tests.api.pki import Authority
from tests.api.processes import Servers

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
NAME = "127.0.0.1"
OTHER_NAME = "localhost"
"""Not in the certificate, and the same server."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authorities")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Path:
    """The file of the authority that signed the server's certificate; `server` makes both."""
    return folder / "ca.crt"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[stores.Postgres]:
    certificate = Authority(folder).server("postgres", ["db.example.com"])
    with Servers("tls") as servers:
        yield stores.start_postgres(servers, certificate=certificate)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an authority that has signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger")).certificate_file


def settings(server: stores.Postgres, mode: str, ca: Path | None = None, host: str = NAME) -> MigrationSettings:
    """The Job's settings."""
    return MigrationSettings.model_validate(
        {
            "database_host": host,
            "database_port": server.port,
            "database_name": "postgres",
            "database_user": server.username,
            "database_password": SecretStr(server.password),
            "database_tls": mode,
            "database_ca_file": ca,
            "migrations_wait_seconds": 1,
            **{f"role_password_{role}": SecretStr(f"pw-{role}") for role in ROLES},
        }
    )


def of_service(server: stores.Postgres, kind: type[DatabaseSettings], role: str, **more: object) -> dict[str, object]:
    return {
        "database_host": NAME,
        "database_port": server.port,
        "database_name": "postgres",
        "database_user": role,
        "database_password": SecretStr(f"pw-{role}"),
        **more,
    }


async def connected(database: Database) -> bool:
    """Whether the pool's connections are encrypted, once it is connected."""
    while True:
        try:
            async with database.connection() as connection:
                return bool(await connection.fetchval(ENCRYPTED))
        except UnavailableError as error:
            if "not connected yet" not in error.reason:
                raise
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("mode", "vouched"), [("verify-full", True), ("require", False)])
def test_the_job_comes_in_encrypted(server: stores.Postgres, authority: Path, mode: str, vouched: bool) -> None:
    asked = settings(server, mode, authority if vouched else None)
    run(asked)
    with connect(asked, autocommit=True) as connection:
        assert connection.execute(ENCRYPTED).fetchone() == (True,)


@pytest.mark.parametrize(("mode", "reason"), [("disable", "no encryption"), ("verify-full", "SSL error")])
def test_the_job_gives_up_where_it_must_not_go_on(
    server: stores.Postgres, stranger: Path, mode: str, reason: str
) -> None:
    with pytest.raises(DatabaseAwayError, match=reason):
        run(settings(server, mode, stranger if mode == "verify-full" else None))


def test_a_certificate_for_another_host_is_refused(server: stores.Postgres, authority: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(settings(server, "verify-full", authority, host=OTHER_NAME), autocommit=True)


@pytest.mark.parametrize(("mode", "vouched"), [("verify-full", True), ("require", False)])
async def test_a_pool_comes_in_encrypted(server: stores.Postgres, authority: Path, mode: str, vouched: bool) -> None:
    await asyncio.to_thread(run, settings(server, "require"))
    values = of_service(server, DatabaseSettings, "biometric_production", database_tls=mode)
    asked = DatabaseSettings.model_validate({**values, "database_ca_file": authority if vouched else None})
    database = Database(asked, application="tls-test", revision=REVISION)
    await database.start()
    try:
        assert await connected(database)
        await database.check()
    finally:
        await database.stop()


@pytest.mark.parametrize(("mode", "host"), [("verify-full", NAME), ("verify-full", OTHER_NAME), ("disable", NAME)])
async def test_a_pool_stays_away_and_says_so(
    server: stores.Postgres, authority: Path, stranger: Path, mode: str, host: str
) -> None:
    ca = {NAME: stranger}.get(host, authority) if mode == "verify-full" else None
    values = of_service(server, DatabaseSettings, "biometric_production", database_tls=mode, database_ca_file=ca)
    database = Database(DatabaseSettings.model_validate({**values, "database_host": host}), application="tls-test")
    await database.start()
    try:
        with pytest.raises(UnavailableError, match=r"SSLCertVerificationError|InvalidAuthorizationSpecification"):
            await connected(database)
        with pytest.raises(UnhealthyError):
            await database.check()
    finally:
        await database.stop()


async def test_sessions_come_in_encrypted(server: stores.Postgres, authority: Path) -> None:
    await asyncio.to_thread(run, settings(server, "require"))
    stores_needed = {"kafka_bootstrap": "k:1", "kafka_security": "PLAINTEXT", "redis_host": "r", "chroma_host": "c"}
    values = of_service(server, NeurosSettings, "neuros_advanced", database_tls="verify-full", **stores_needed)
    asked = NeurosSettings.model_validate({**values, "database_ca_file": authority, "redis_password": SecretStr("p")})
    async with open_pool(asked, "tls-test") as pool, pool.connection() as connection:
        row = await (await connection.execute(ENCRYPTED)).fetchone()
    assert row == {"ssl": True}
