"""The services' database roles: one each, with the least it needs, and the password of its file.

Passwords leave this process only as SCRAM-SHA-256 verifiers that libpq computes here, so neither the server's log nor
`pg_stat_activity` ever sees one. Rights are set as a whole in one transaction: what the table does not grant is taken
away, and nobody sees a moment without rights.
"""

from collections.abc import Mapping
from typing import LiteralString

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier, Literal

from auren.migrations import CHECKPOINT_SCHEMA

Grants = Mapping[str, Mapping[str, LiteralString]]

ROLES: Grants = {
    "biometric_bridge": {
        "public.alembic_version": "SELECT",
        "public.revoked_tokens": "SELECT",
        "public.erased_users": "SELECT",
        "public.connections": "SELECT, INSERT, UPDATE, DELETE",
        "public.oauth_tokens": "SELECT, INSERT, UPDATE, DELETE",
        "public.oauth_states": "SELECT, INSERT, DELETE",
        "public.parked_deliveries": "SELECT, INSERT, UPDATE, DELETE",
        "public.chores": "SELECT, INSERT, UPDATE",
        "public.reconciliations": "SELECT, INSERT, UPDATE",
        "public.oura_subscriptions": "SELECT, INSERT, DELETE",
    },
    "biometric_production": {
        "public.alembic_version": "SELECT",
        "public.revoked_tokens": "SELECT",
        "public.erased_users": "SELECT, INSERT",
        "public.connections": "SELECT",
        "public.audit_log": "INSERT",
        "public.readings": "SELECT, INSERT, UPDATE, DELETE",
        "public.deletion_tombstones": "SELECT, INSERT, UPDATE, DELETE",
        "public.ingested_events": "SELECT, INSERT, DELETE",
        "public.daily_values": "SELECT, INSERT, UPDATE, DELETE",
        "public.hourly_values": "SELECT, INSERT, UPDATE, DELETE",
        "public.sleep_sessions": "SELECT, INSERT, UPDATE, DELETE",
        "public.workouts": "SELECT, INSERT, UPDATE, DELETE",
        "public.people": "SELECT, INSERT, UPDATE, DELETE",
        "public.mode_switches": "SELECT, INSERT, DELETE",
        "public.patterns": "SELECT, INSERT, UPDATE, DELETE",
        "public.outbox": "SELECT, INSERT, UPDATE, DELETE",
        "public.chat_messages": "SELECT, INSERT, DELETE",
        "public.readings_hourly": "SELECT",
        "public.readings_daily": "SELECT",
    },
    "neuros_advanced": {
        "public.alembic_version": "SELECT",
        "public.revoked_tokens": "SELECT",
        "public.erased_users": "SELECT",
        "public.readings": "SELECT",
        "public.readings_hourly": "SELECT",
        "public.readings_daily": "SELECT",
        "public.daily_values": "SELECT",
        "public.sleep_sessions": "SELECT",
        "public.people": "SELECT",
        "public.mode_switches": "SELECT",
        "public.patterns": "SELECT",
        "public.audit_log": "INSERT",
        "public.memories": "SELECT, INSERT, UPDATE, DELETE",
        "public.interventions": "SELECT, INSERT, UPDATE, DELETE",
        "public.intervention_outbox": "SELECT, INSERT, UPDATE, DELETE",
        "public.preferences": "SELECT, INSERT, UPDATE, DELETE",
        f"{CHECKPOINT_SCHEMA}.checkpoint_migrations": "SELECT",
        f"{CHECKPOINT_SCHEMA}.checkpoints": "SELECT, INSERT, UPDATE, DELETE",
        f"{CHECKPOINT_SCHEMA}.checkpoint_blobs": "SELECT, INSERT, UPDATE, DELETE",
        f"{CHECKPOINT_SCHEMA}.checkpoint_writes": "SELECT, INSERT, UPDATE, DELETE",
    },
}
"""Role → table or view → privileges. The audit log can be added to and neither read nor changed by the services; an
OAuth state is made and used up, never changed."""

FUNCTIONS: Mapping[str, tuple[LiteralString, ...]] = {
    "biometric_production": ("public.drop_old_readings(integer)", "public.forget_aggregates(text)"),
}
"""Role → functions of ours that it may call. They run with the rights of the administrator."""

SETTINGS: Mapping[str, Mapping[LiteralString, LiteralString]] = {
    "biometric_production": {"timescaledb.max_tuples_decompressed_per_dml_transaction": "0"},
}
"""Role → settings of its sessions. Corrections, deletions and erasures reach far into what is compressed: no limit to
the rows that one transaction may unpack for it."""

TEMPORARY = frozenset({"biometric_production"})
"""Roles that may make temporary tables: the ingest copies each batch into one before it merges it."""


def ensure(connection: Connection[DictRow], passwords: Mapping[str, str]) -> None:
    """Make every role of `ROLES` with its password and exactly its rights.

    `connection` is an administrator's; `passwords` has one entry per role. Safe to run again: a changed password takes
    effect for new connections, a right that the table no longer grants is withdrawn.
    """
    with connection.transaction():
        database = SQL("DATABASE {}").format(Identifier(connection.info.dbname))
        connection.execute(SQL("REVOKE ALL ON {} FROM PUBLIC").format(database))
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        tables = _tables(connection)
        for role, grants in ROLES.items():
            _login(connection, role, passwords[role])
            _rights(connection, role, grants, database, tables)
            _calls(connection, role)
            for setting, value in SETTINGS.get(role, {}).items():
                connection.execute(SQL("ALTER ROLE {} SET {} = {}").format(Identifier(role), SQL(setting), SQL(value)))


def _login(connection: Connection[DictRow], role: str, password: str) -> None:
    exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = "ALTER ROLE {} LOGIN PASSWORD {}" if exists else "CREATE ROLE {} LOGIN PASSWORD {}"
    connection.execute(SQL(statement).format(Identifier(role), Literal(verifier)))


def _rights(
    connection: Connection[DictRow],
    role: str,
    grants: Mapping[str, LiteralString],
    database: Composed,
    tables: list[str],
) -> None:
    name = Identifier(role)
    connection.execute(SQL("REVOKE ALL ON {} FROM {}").format(database, name))
    connection.execute(
        SQL("GRANT {} ON {} TO {}").format(
            SQL("CONNECT, TEMPORARY") if role in TEMPORARY else SQL("CONNECT"), database, name
        )
    )
    for table in tables:
        connection.execute(SQL("REVOKE ALL ON {} FROM {}").format(_qualified(table), name))
    for schema in sorted({table.split(".")[0] for table in grants}):
        connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(Identifier(schema), name))
    for table, privileges in grants.items():
        connection.execute(SQL("GRANT {} ON {} TO {}").format(SQL(privileges), _qualified(table), name))


def _calls(connection: Connection[DictRow], role: str) -> None:
    for function in sorted({function for functions in FUNCTIONS.values() for function in functions}):
        granted = function in FUNCTIONS.get(role, ())
        change = SQL("GRANT EXECUTE ON FUNCTION {} TO {}" if granted else "REVOKE ALL ON FUNCTION {} FROM {}")
        connection.execute(change.format(SQL(function), Identifier(role)))


def _tables(connection: Connection[DictRow]) -> list[str]:
    """Every table and view of ours, as schema.name: what others own, on a server that is not ours, is not."""
    rows = connection.execute(
        "SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('public', %s) AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(c.relowner, 'USAGE')"
        " ORDER BY 1",
        (CHECKPOINT_SCHEMA,),
    ).fetchall()
    return [row["name"] for row in rows]


def _qualified(table: str) -> Identifier:
    return Identifier(*table.split("."))
