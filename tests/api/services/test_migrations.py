"""The migrations Job on a server of its own: up, down, again, at once, with a new password, and never more rights."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import psycopg
import pytest
from pydantic import SecretStr

from auren.migrations import REVISION, chain
from auren.migrations.job import DatabaseAwayError, MigrationSettings, connect, run
from auren.migrations.roles import ROLES
from tests.api import stores
from tests.api.processes import Servers

CHORES = {"chores", "reconciliations", "oura_subscriptions"}
BRIDGE = {"connections", "oauth_tokens", "oauth_states", "parked_deliveries", *CHORES}
LEARNT = {
    "ingested_events",
    "daily_values",
    "hourly_values",
    "sleep_sessions",
    "workouts",
    "people",
    "mode_switches",
    "patterns",
    "outbox",
    "chat_messages",
}
INTERVENING = {"interventions", "intervention_outbox", "preferences"}
NEUROS = {"memories", *INTERVENING}
TABLES = {*LEARNT, *NEUROS, "readings", "deletion_tombstones", "revoked_tokens", "erased_users", "audit_log", *BRIDGE}
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@dataclass
class Bench:
    """A server, an empty database in it, and where the Job's secrets lie."""

    postgres: stores.Postgres
    database: str
    folder: Path

    def settings(self, *, wait_seconds: float = 60, suffix: str = "") -> MigrationSettings:
        """The Job's settings; `suffix` makes other passwords."""
        passwords = {f"role_password_{role}": SecretStr(f"pw-{role}{suffix}") for role in ROLES}
        return MigrationSettings.model_validate(
            {
                "database_host": self.postgres.host,
                "database_port": self.postgres.port,
                "database_name": self.database,
                "database_user": self.postgres.username,
                "database_password": SecretStr(self.postgres.password),
                "migrations_wait_seconds": wait_seconds,
                **passwords,
            }
        )

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """The administrator's connection."""
        return connect(self.settings(), autocommit=True)

    def as_role(self, role: str, suffix: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """A service's connection. Raises psycopg.OperationalError for a wrong password."""
        return psycopg.connect(
            host=self.postgres.host,
            port=self.postgres.port,
            dbname=self.database,
            user=role,
            password=f"pw-{role}{suffix}",
            autocommit=True,
        )

    def process(self, wait_seconds: int = 60) -> subprocess.Popen[str]:
        """The Job as a process, as the cluster runs it."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "auren_database_password").write_text(self.postgres.password)
        for role in ROLES:
            (self.folder / f"auren_role_password_{role}").write_text(f"pw-{role}")
        return subprocess.Popen(
            [sys.executable, "-m", "auren.migrations"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "AUREN_SECRETS_DIR": str(self.folder),
                "AUREN_DATABASE_HOST": self.postgres.host,
                "AUREN_DATABASE_PORT": str(self.postgres.port),
                "AUREN_DATABASE_NAME": self.database,
                "AUREN_DATABASE_USER": self.postgres.username,
                "AUREN_MIGRATIONS_WAIT_SECONDS": str(wait_seconds),
            },
        )


@pytest.fixture(scope="module")
def server() -> Iterator[stores.Postgres]:
    """A server of its own: roles belong to a server as a whole, and these tests change their passwords."""
    with Servers("migrations") as servers:
        yield stores.start_postgres(servers)


@pytest.fixture
async def bench(server: stores.Postgres, tmp_path: Path) -> Bench:
    """An empty database, as the store's image makes it."""
    if not server.server.running:
        server.server.start()
    return Bench(server, await server.create_database(), tmp_path / "secrets")


def tables(bench: Bench) -> set[str]:
    with bench.connect() as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {str(row[0]) for row in rows}


def revision(bench: Bench) -> object:
    with bench.connect() as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def test_the_services_expect_the_head_of_the_chain() -> None:
    assert chain.head() == REVISION


def test_up_down_and_up_again(bench: Bench) -> None:
    run(bench.settings())
    assert revision(bench) == REVISION
    assert tables(bench) == {*TABLES, "alembic_version"}
    chain.downgrade(lambda: connect(bench.settings(), autocommit=False), "0006")
    assert tables(bench) == {*TABLES - NEUROS, "alembic_version"}
    chain.downgrade(lambda: connect(bench.settings(), autocommit=False), "0003")
    assert tables(bench) == {*TABLES - NEUROS - LEARNT - CHORES, "alembic_version"}
    chain.downgrade(lambda: connect(bench.settings(), autocommit=False), "0002")
    assert tables(bench) == {*TABLES - NEUROS - LEARNT - BRIDGE, "alembic_version"}
    chain.downgrade(lambda: connect(bench.settings(), autocommit=False), "base")
    assert tables(bench) == {"alembic_version"}
    chain.upgrade(lambda: connect(bench.settings(), autocommit=False), "0001")
    assert revision(bench) == "0001"
    chain.upgrade(lambda: connect(bench.settings(), autocommit=False))
    assert tables(bench) == {*TABLES, "alembic_version"}


def test_again_changes_nothing_and_keeps_the_data(bench: Bench) -> None:
    run(bench.settings())
    with bench.connect() as connection:
        connection.execute("INSERT INTO erased_users (user_id) VALUES ('anna')")
        before = connection.execute("SELECT relname, relacl::text FROM pg_class ORDER BY oid").fetchall()
    run(bench.settings())
    with bench.connect() as connection:
        assert connection.execute("SELECT user_id FROM erased_users").fetchall() == [("anna",)]
        assert sorted(before) == sorted(
            connection.execute("SELECT relname, relacl::text FROM pg_class ORDER BY oid").fetchall()
        )


def test_what_was_stored_before_gets_days_and_counts_once(bench: Bench) -> None:
    chain.upgrade(lambda: connect(bench.settings(), autocommit=False), "0004")
    insert = """
        INSERT INTO readings (time, user_id, metric, source, value, end_time, provider, document_id, version, event_id,
                              received_at)
        VALUES (%s, 'anna', 'heart_rate', 'oura', %s, %s, 'oura', 'one', 1, %s, now())
    """
    with bench.connect() as connection:
        for time, value, end in (
            ("2026-03-01T23:00:00Z", 60.5, "2026-03-02T00:00:00Z"),
            ("2026-03-01T22:00:00Z", 61.25, None),
            ("2026-03-01T23:30:00Z", 70, "2026-03-02T07:00:00Z"),
        ):
            connection.execute(insert, (time, value, end, "00000000-0000-0000-0000-000000000001"))
    chain.upgrade(lambda: connect(bench.settings(), autocommit=False))
    with bench.connect() as connection:
        days = connection.execute("SELECT day::text, count, total FROM daily_values ORDER BY day").fetchall()
        events = connection.execute("SELECT event_id::text, user_id FROM ingested_events").fetchall()
    assert days == [("2026-03-01", 2, 121_750_000), ("2026-03-02", 1, 70_000_000)]
    assert events == [("00000000-0000-0000-0000-000000000001", "anna")]


def test_readings_are_a_hypertable_with_chunks_of_a_day(bench: Bench) -> None:
    run(bench.settings())
    with bench.connect() as connection:
        found = connection.execute(
            "SELECT column_name, time_interval::text FROM timescaledb_information.dimensions"
            " WHERE hypertable_name = 'readings'"
        ).fetchall()
    assert found == [("time", "1 day")]


def test_jobs_at_once_all_succeed(bench: Bench) -> None:
    jobs = [bench.process() for _ in range(3)]
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 3, outputs
    assert revision(bench) == REVISION


def test_a_new_password_takes_effect_and_the_old_one_ends(bench: Bench) -> None:
    run(bench.settings())
    for role in ROLES:
        bench.as_role(role).close()
    run(bench.settings(suffix="-new"))
    for role in ROLES:
        bench.as_role(role, "-new").close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            bench.as_role(role)


def test_the_server_never_sees_a_password(bench: Bench) -> None:
    with bench.connect() as connection:
        connection.execute(f"ALTER DATABASE \"{bench.database}\" SET log_statement = 'all'")
    job = bench.process()
    output, _ = job.communicate(timeout=120)
    log = bench.postgres.server.log.read_text()
    assert job.returncode == 0, output
    assert "ALTER ROLE" in log or "CREATE ROLE" in log
    for password in (*(f"pw-{role}" for role in ROLES), bench.postgres.password):
        assert password not in log
        assert password not in output


def test_each_role_has_the_rights_of_the_table_and_no_others(bench: Bench) -> None:
    run(bench.settings())
    with bench.connect() as connection:
        names = [
            str(row[0])
            for row in connection.execute(
                "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'langgraph')"
                " UNION ALL SELECT schemaname || '.' || viewname FROM pg_views WHERE schemaname = 'public'"
            )
        ]
        found = {
            (role, name): {
                privilege
                for privilege in PRIVILEGES
                if connection.execute("SELECT has_table_privilege(%s, %s, %s)", (role, name, privilege)).fetchone()
                == (True,)
            }
            for role in ROLES
            for name in names
        }
    wanted = {
        (role, name): set(grants.get(name, "").split(", ")) - {""} for role, grants in ROLES.items() for name in names
    }
    assert found == wanted
    assert {name for grants in ROLES.values() for name in grants} <= set(names)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("biometric_bridge", "SELECT * FROM readings"),
        ("biometric_bridge", "INSERT INTO revoked_tokens (jti) VALUES ('x')"),
        ("biometric_bridge", "SELECT * FROM langgraph.checkpoints"),
        ("biometric_bridge", "UPDATE oauth_states SET user_id = 'x'"),
        ("biometric_bridge", "TRUNCATE parked_deliveries"),
        ("biometric_bridge", "DELETE FROM erased_users"),
        ("biometric_bridge", "DELETE FROM chores"),
        ("biometric_production", "SELECT * FROM reconciliations"),
        ("biometric_production", "DELETE FROM connections"),
        ("biometric_production", "SELECT * FROM memories"),
        ("biometric_bridge", "SELECT * FROM memories"),
        ("neuros_advanced", "TRUNCATE memories"),
        ("biometric_production", "SELECT * FROM oauth_tokens"),
        ("biometric_production", "SELECT * FROM parked_deliveries"),
        ("neuros_advanced", "SELECT * FROM oauth_tokens"),
        ("neuros_advanced", "SELECT * FROM oauth_states"),
        ("biometric_production", "SELECT * FROM audit_log"),
        ("biometric_production", "SELECT * FROM langgraph.checkpoints"),
        ("biometric_production", "DELETE FROM erased_users"),
        ("biometric_production", "CREATE TABLE public.mine (x int)"),
        ("neuros_advanced", "DELETE FROM readings"),
        ("neuros_advanced", "SELECT * FROM audit_log"),
        ("neuros_advanced", "UPDATE audit_log SET action = ''"),
        ("neuros_advanced", "CREATE TABLE langgraph.mine (x int)"),
        ("neuros_advanced", "CREATE TEMPORARY TABLE mine (x int)"),
        ("neuros_advanced", "UPDATE alembic_version SET version_num = 'x'"),
        ("neuros_advanced", "SELECT rolpassword FROM pg_authid"),
    ],
)
def test_what_is_not_a_roles_own_is_refused(bench: Bench, role: str, statement: str) -> None:
    run(bench.settings())
    with bench.as_role(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_a_right_that_somebody_added_is_withdrawn(bench: Bench) -> None:
    run(bench.settings())
    with bench.connect() as connection:
        connection.execute("GRANT SELECT ON audit_log TO biometric_bridge")
        connection.execute("GRANT SELECT ON readings TO biometric_bridge")
        connection.execute("GRANT INSERT ON readings TO biometric_production")
    run(bench.settings())
    with bench.as_role("biometric_bridge") as bridge:
        for table in ("audit_log", "readings"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                bridge.execute(f"SELECT * FROM {table}")


async def test_it_waits_for_the_server_and_says_so(bench: Bench) -> None:
    bench.postgres.server.stop()
    job = bench.process()
    assert job.stdout is not None
    first = await asyncio.to_thread(job.stdout.readline)
    assert "waiting for the database" in first
    assert "Connection refused" in first
    bench.postgres.server.start()
    output, _ = await asyncio.to_thread(job.communicate, timeout=120)
    assert job.returncode == 0, output
    assert "database is ready" in output


def test_it_gives_up_with_one_line_that_names_the_reason(bench: Bench) -> None:
    bench.postgres.server.stop()
    with pytest.raises(DatabaseAwayError, match=r"gave up after 1 s: .*Connection refused"):
        run(bench.settings(wait_seconds=1))
    job = bench.process(wait_seconds=1)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 1
    assert "database is not ready" in output.splitlines()[-1]
    assert "Traceback" not in output


async def test_langgraphs_tables_are_usable_without_any_right_to_make_tables(bench: Bench) -> None:
    await asyncio.to_thread(run, bench.settings())
    connection = await asyncpg.connect(
        host=bench.postgres.host,
        port=bench.postgres.port,
        user="neuros_advanced",
        password="pw-neuros_advanced",
        database=bench.database,
    )
    try:
        assert await connection.fetchval("SELECT max(v) FROM langgraph.checkpoint_migrations") is not None
        assert not await connection.fetchval("SELECT has_schema_privilege('langgraph', 'CREATE')")
    finally:
        await connection.close()


async def test_the_administrator_of_an_external_server_need_not_be_a_superuser(tmp_path: Path) -> None:
    with Servers("external") as servers:
        postgres = stores.start_postgres(servers)
        superuser = Bench(postgres, "postgres", tmp_path)
        with superuser.connect() as connection:
            connection.execute("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'pw'")
            connection.execute("CREATE DATABASE theirs OWNER keeper")
        with Bench(postgres, "theirs", tmp_path).connect() as connection:
            connection.execute("CREATE VIEW foreign_to_us AS SELECT 1 AS one")
        keeper = Bench(replace(postgres, username="keeper", password="pw"), "theirs", tmp_path)
        run(keeper.settings())
        run(keeper.settings(suffix="-new"))
        with keeper.as_role("biometric_production", "-new") as connection:
            unbounded = connection.execute("SHOW timescaledb.max_tuples_decompressed_per_dml_transaction").fetchone()
            assert unbounded == ("0",)
            assert connection.execute("SELECT drop_old_readings(100)").fetchone() == (0,)
        chain.downgrade(lambda: connect(keeper.settings(), autocommit=False), "base")
        assert tables(keeper) == {"alembic_version"}
