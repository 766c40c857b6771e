"""What the migrations Job does, in order: wait, tell the edition, upgrade, policies, LangGraph's tables, roles."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from pydantic import SecretStr

from auren.migrations import REVISION, aggregates, chain, checkpoints, policies, roles
from auren.settings import DatabaseSettings, LogSettings, RetentionSettings
from auren.telemetry import logger

log = logger(__name__)

LOCK = 4_158_201_744
"""Advisory lock of this Job (any number that nothing else of ours uses): two at once would meet halfway."""

LONGEST_PAUSE_SECONDS = 5.0
LOCK_PAUSE_SECONDS = 1.0


class MigrationSettings(DatabaseSettings, RetentionSettings, LogSettings):
    """An administrator's access to the server, how long it keeps readings, and the passwords of the services' roles."""

    role_password_biometric_bridge: SecretStr
    role_password_biometric_production: SecretStr
    role_password_neuros_advanced: SecretStr
    migrations_wait_seconds: float = 300.0

    def role_passwords(self) -> dict[str, str]:
        """Password by role."""
        return {role: getattr(self, f"role_password_{role}").get_secret_value() for role in roles.ROLES}


class DatabaseAwayError(Exception):
    """The server did not accept a connection in time."""


def run(settings: MigrationSettings) -> None:
    """Bring the database to `REVISION` with its roles and rights; safe to run again at any time.

    Raises DatabaseAwayError when the server stays away, psycopg.Error when it refuses a statement.
    """
    with await_server(settings) as connection, _alone(connection):
        _tell_server(connection)
        chain.upgrade(lambda: connect(settings, autocommit=False))
        policies.ensure(connection, settings)
        checkpoints.ensure(connection)
        roles.ensure(connection, settings.role_passwords())
        log.info("database is ready", revision=REVISION, roles=sorted(roles.ROLES))


def connect(settings: DatabaseSettings, *, autocommit: bool) -> psycopg.Connection[Any]:
    """An administrator's connection. It prepares no statement: each runs once. Raises psycopg.OperationalError."""
    return psycopg.connect(
        host=settings.database_host,
        port=settings.database_port,
        dbname=settings.database_name,
        user=settings.database_user,
        password=settings.database_password.get_secret_value(),
        application_name="auren-migrations",
        sslmode=settings.database_tls,
        sslrootcert=settings.database_authority,
        connect_timeout=5,
        autocommit=autocommit,
        prepare_threshold=None,
    )


def await_server(settings: MigrationSettings) -> psycopg.Connection[DictRow]:
    """A connection, as soon as the server gives one. Raises DatabaseAwayError after `migrations_wait_seconds`.

    A refused password is waited for as well: after a rotation the server takes a moment to learn the new one.
    """
    deadline = time.monotonic() + settings.migrations_wait_seconds
    for pause in pauses():
        try:
            connection = connect(settings, autocommit=True)
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            if time.monotonic() + pause > deadline:
                raise DatabaseAwayError(f"gave up after {settings.migrations_wait_seconds:.0f} s: {reason}") from error
            log.info("waiting for the database", reason=reason, again_in_seconds=pause)
            time.sleep(pause)
        else:
            connection.row_factory = dict_row
            return connection
    raise AssertionError("pauses() has no end")


def pauses() -> Iterator[float]:
    """Seconds to wait between attempts: doubling from a half up to `LONGEST_PAUSE_SECONDS`, without end."""
    pause = 0.5
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@contextmanager
def _alone(connection: psycopg.Connection[DictRow]) -> Iterator[None]:
    """Hold the Job's lock; the session's end would release it too.

    It is asked for again and again instead of being waited for in the server: a waiting statement is a transaction,
    and the index that LangGraph makes concurrently waits for every transaction, so that the two would deadlock.
    """
    while not _locked(connection):
        log.info("another Job is at work", again_in_seconds=LOCK_PAUSE_SECONDS)
        time.sleep(LOCK_PAUSE_SECONDS)
    yield
    connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def _locked(connection: psycopg.Connection[DictRow]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s) AS locked", (LOCK,)).fetchone()
    return row is not None and bool(row["locked"])


def _tell_server(connection: psycopg.Connection[DictRow]) -> None:
    """Make the extension where it is missing, and log which server this is.

    The setting exists once the extension's library is loaded, which a database that has the extension does.
    """
    connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    row = connection.execute(
        "SELECT current_setting('server_version') AS postgres, current_setting('timescaledb.license', true) AS license,"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb') AS timescaledb"
    ).fetchone()
    if row is None or row["license"] is None:
        raise psycopg.errors.FeatureNotSupported(
            "the server has not loaded TimescaleDB: shared_preload_libraries must name it"
        )
    edition = "community" if row["license"] == aggregates.COMMUNITY_LICENSE else "apache"
    log.info("server", postgres=row["postgres"], timescaledb=row["timescaledb"], edition=edition)
