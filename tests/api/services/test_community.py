"""The database on TimescaleDB's community edition: every revision, aggregates, compression, policies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import DictRow, dict_row
from pydantic import SecretStr

from auren.biometric.ingest import ledger
from auren.migrations import REVISION, aggregates, chain, policies
from auren.migrations.job import MigrationSettings, connect, run
from auren.migrations.roles import ROLES
from auren.settings import RetentionSettings
from tests.api.community import HOST, USER, Community, start_community
from tests.api.processes import Servers

Connection = psycopg.Connection[DictRow]

NOW = datetime.now(UTC)
COLUMNS = "user_id, metric, source, bucket, count, average, lowest, highest, total"
SETTINGS = RetentionSettings(retention_days=100, compress_after_days=5)
UNBOUNDED = "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"


def settings(port: int, **more: object) -> MigrationSettings:
    passwords = {f"role_password_{role}": SecretStr("pw") for role in ROLES}
    place = {"database_host": HOST, "database_port": port, "database_name": USER, "database_user": USER}
    return MigrationSettings.model_validate({**place, "database_password": SecretStr("pw"), **passwords, **more})


@pytest.fixture(scope="module")
def server() -> Iterator[Community]:
    with Servers("community") as servers:
        yield start_community(servers)


@pytest.fixture
def database(server: Community) -> Iterator[Connection]:
    """A connection to a database at the head of the chain, which is taken back to its base at the end."""
    migrations = settings(server.port)
    chain.upgrade(lambda: connect(migrations, autocommit=False))
    with server.connect() as connection:
        yield connection
    chain.downgrade(lambda: connect(migrations, autocommit=False), "base")


def store(database: Connection, since: datetime, hours: int, *, user: str = "anna", value: float = 50.0) -> None:
    """One reading of heart rate at each quarter of so many hours, in two sources; each fourth is implausible."""
    database.execute(
        "INSERT INTO readings (time, user_id, metric, source, value, flags, provider, document_id, version, event_id,"
        " received_at) SELECT %(since)s + n * interval '15 minutes', %(user)s, 'heart_rate', 'watch' || n %% 2,"
        " %(value)s + n %% 7, CASE WHEN n %% 4 = 0 THEN ARRAY['implausible'] WHEN n %% 4 = 1 THEN ARRAY['late'] END,"
        " 'terra', 'document', 1, gen_random_uuid(), now() FROM generate_series(0, %(count)s) n",
        {"since": since, "user": user, "value": value, "count": 4 * hours - 1},
    )


def expected(database: Connection, width: str) -> list[DictRow]:
    """What an aggregate should hold, from the readings themselves."""
    return database.execute(
        "SELECT user_id, metric, source, date_trunc(%s, time, 'UTC') AS bucket, count(*) AS count,"
        " avg(value) AS average, min(value) AS lowest, max(value) AS highest, sum(value) AS total FROM readings"
        " WHERE NOT coalesce(flags @> ARRAY['implausible'] OR flags @> ARRAY['future'], false)"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        (width,),
    ).fetchall()


def found(database: Connection, relation: str) -> list[DictRow]:
    return database.execute(f"SELECT {COLUMNS} FROM {relation} ORDER BY 1, 2, 3, 4").fetchall()


def both_right(database: Connection) -> bool:
    return found(database, "readings_hourly") == expected(database, "hour") and found(
        database, "readings_daily"
    ) == expected(database, "day")


def jobs(database: Connection) -> dict[tuple[str, str], DictRow]:
    rows = database.execute(
        "SELECT hypertable_name, proc_name, job_id, config - 'hypertable_id' - 'mat_hypertable_id' AS config,"
        " schedule_interval FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL"
    ).fetchall()
    return {(row["hypertable_name"], row["proc_name"]): row for row in rows}


def run_job(database: Connection, relation: str, procedure: str) -> None:
    """What TimescaleDB's scheduler would do."""
    database.execute(f"CALL run_job({jobs(database)[relation, procedure]['job_id']})")


def refresh(database: Connection) -> None:
    for relation in aggregates.BUCKETS:
        run_job(database, relation, "policy_refresh_continuous_aggregate")


def compress(database: Connection) -> None:
    database.execute("SELECT compress_chunk(chunk) FROM show_chunks('readings') AS chunk")


def kept(database: Connection, relation: str) -> int:
    """Rows that an aggregate holds itself."""
    row = database.execute(
        "SELECT format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name) AS name"
        " FROM timescaledb_information.continuous_aggregates WHERE view_name = %s",
        (relation,),
    ).fetchone()
    assert row is not None
    count = database.execute(f"SELECT count(*) FROM {row['name']}").fetchone()
    assert count is not None
    return int(count["count"])


def test_the_edition_is_the_community_one(database: Connection) -> None:
    assert database.execute(aggregates.LICENSE).fetchone() == {"license": "timescale"}


def test_each_revision_down_and_up_again(server: Community) -> None:
    migrations = settings(server.port)
    steps = [f"{number:04}" for number in range(1, int(REVISION) + 1)]
    with server.connect() as database:
        for revision in steps:
            chain.upgrade(lambda: connect(migrations, autocommit=False), revision)
        for revision in [*reversed(steps[:-1]), "base"]:
            chain.downgrade(lambda: connect(migrations, autocommit=False), revision)
        left = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert left == [{"tablename": "alembic_version"}]


def test_the_job_works_twice_and_grants_the_aggregates(
    server: Community, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [statement.replace("CONCURRENTLY", "") for statement in PostgresSaver.MIGRATIONS]
    monkeypatch.setattr(PostgresSaver, "MIGRATIONS", plain)  # this server makes no index concurrently
    try:
        run(settings(server.port))
        # The Job resets the path of its session, which is everybody's here, and this server's default is another.
        database.execute("SET search_path TO public")
        before = jobs(database)
        run(settings(server.port))
        database.execute("SET search_path TO public")
        assert jobs(database) == before
        for role, allowed in (("biometric_production", True), ("neuros_advanced", True), ("biometric_bridge", False)):
            for relation in aggregates.BUCKETS:
                row = database.execute(
                    "SELECT has_table_privilege(%s, %s, 'SELECT') AS got", (role, relation)
                ).fetchone()
                assert row == {"got": allowed}
    finally:
        database.execute("SET search_path TO public")
        database.execute("DROP SCHEMA langgraph CASCADE")


def test_policies_follow_the_settings_and_change_with_them(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    first = jobs(database)
    hour = {"start_offset": "100 days", "end_offset": "3 days"}
    assert {key: row["config"] for key, row in first.items()} == {
        ("readings", "policy_compression"): {"compress_after": "5 days"},
        ("readings", "policy_retention"): {"drop_after": "100 days"},
        ("readings_hourly", "policy_retention"): {"drop_after": "100 days"},
        ("readings_daily", "policy_retention"): {"drop_after": "100 days"},
        ("readings_hourly", "policy_refresh_continuous_aggregate"): hour,
        ("readings_daily", "policy_refresh_continuous_aggregate"): hour,
    }
    policies.ensure(database, RetentionSettings(retention_days=200, compress_after_days=9))
    second = jobs(database)
    assert {row["job_id"] for row in second.values()} == {row["job_id"] for row in first.values()}
    assert second["readings", "policy_compression"]["config"] == {"compress_after": "9 days"}
    for relation in ("readings", *aggregates.BUCKETS):
        assert second[relation, "policy_retention"]["config"] == {"drop_after": "200 days"}
    for relation in aggregates.BUCKETS:
        config = second[relation, "policy_refresh_continuous_aggregate"]["config"]
        assert config == {"start_offset": "200 days", "end_offset": "3 days"}


def test_aggregates_are_right_before_and_after_a_refresh(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    store(database, NOW - timedelta(days=10), 240)
    store(database, NOW - timedelta(hours=2), 2, user="bela")
    assert kept(database, "readings_hourly") == 0
    assert both_right(database)
    refresh(database)
    assert kept(database, "readings_hourly") > 300
    assert kept(database, "readings_daily") >= 2 * 7
    assert both_right(database)


def test_what_comes_late_or_goes_shows_after_the_next_refresh(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    store(database, NOW - timedelta(days=10), 240)
    refresh(database)
    store(database, NOW - timedelta(days=90), 30, user="bela")
    database.execute("DELETE FROM readings WHERE user_id = 'anna' AND time < now() - interval '8 days'")
    store(database, NOW - timedelta(days=1), 5, user="carl")
    assert not both_right(database)
    assert {row["user_id"] for row in found(database, "readings_hourly")} == {"anna", "carl"}
    refresh(database)
    assert both_right(database)


def test_a_person_can_be_taken_out_of_the_aggregates_at_once(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    store(database, NOW - timedelta(days=10), 240)
    store(database, NOW - timedelta(days=10), 240, user="bela")
    refresh(database)
    database.execute("DELETE FROM readings WHERE user_id = 'anna'")
    assert {row["user_id"] for row in found(database, "readings_daily")} == {"anna", "bela"}
    database.execute("SELECT forget_aggregates('anna')")
    assert both_right(database)
    refresh(database)
    assert both_right(database)


def test_old_chunks_are_compressed_by_the_policy_and_only_they(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    store(database, NOW - timedelta(days=20), 24 * 20)
    before = database.execute("SELECT * FROM readings ORDER BY user_id, metric, source, time").fetchall()
    run_job(database, "readings", "policy_compression")
    chunks = database.execute(
        "SELECT range_end, is_compressed FROM timescaledb_information.chunks WHERE hypertable_name = 'readings'"
    ).fetchall()
    limit = NOW - timedelta(days=5)
    assert {row["is_compressed"] for row in chunks if row["range_end"] <= limit} == {True}
    assert {row["is_compressed"] for row in chunks if row["range_end"] > limit + timedelta(minutes=5)} == {False}
    assert database.execute("SELECT * FROM readings ORDER BY user_id, metric, source, time").fetchall() == before
    batches = database.execute(
        "SELECT sum(numrows_pre_compression) AS before, sum(numrows_post_compression) AS after"
        " FROM _timescaledb_catalog.compression_chunk_size"
    ).fetchone()
    assert batches is not None
    assert batches["before"] > 20 * batches["after"]


def test_compressed_chunks_are_split_by_person_and_metric_and_ordered_by_the_rest_of_the_key(
    database: Connection,
) -> None:
    rows = database.execute(
        "SELECT attname, segmentby_column_index, orderby_column_index FROM timescaledb_information.compression_settings"
        " ORDER BY segmentby_column_index, orderby_column_index"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("user_id", 1, None),
        ("metric", 2, None),
        ("source", None, 1),
        ("time", None, 2),
    ]


def test_upserts_and_deletions_reach_compressed_chunks(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    start = (NOW - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    store(database, start, 48)
    store(database, start, 48, user="bela")
    compress(database)
    with database.transaction():
        database.execute(UNBOUNDED)
        database.execute(
            "INSERT INTO readings SELECT * FROM (SELECT r.* FROM readings r WHERE user_id = 'anna') again"
            " ON CONFLICT (user_id, metric, source, time) DO UPDATE SET value = 70, version = 2"
            " WHERE excluded.version >= readings.version"
        )
        database.execute("DELETE FROM readings WHERE user_id = 'bela' AND time < %s", (start + timedelta(hours=24),))
    counts = database.execute(
        "SELECT user_id, count(*) AS rows, min(value) AS low, max(version) AS version FROM readings"
        " GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert [tuple(row.values()) for row in counts] == [("anna", 192, 70.0, 2), ("bela", 96, 50.0, 1)]
    refresh(database)
    assert both_right(database)


def test_a_deletion_by_keys_unpacks_nobody_else_s_readings(database: Connection) -> None:
    start = (NOW - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    for user in ("anna", "bela", "carl"):
        store(database, start, 72, user=user)
    compress(database)
    gone = [start + timedelta(minutes=15 * n) for n in (0, 2, 4)]
    types = "text[], text[], text[], timestamptz[], timestamptz, timestamptz"
    database.execute(f"PREPARE gone({types}) AS {ledger._DELETE}")
    with database.transaction():
        database.execute(ledger._PLAN_WITH_CONSTANTS)
        cursor = psycopg.ClientCursor(database, row_factory=dict_row)  # EXPLAIN EXECUTE takes no parameters
        plan = cursor.execute(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE gone(%s, %s, %s, %s, %s, %s)",
            (["anna"] * 3, ["heart_rate"] * 3, ["watch0"] * 3, gone, min(gone), max(gone)),
        ).fetchall()
    unpacked = [line for row in plan if "Batches decompressed" in (line := str(row["QUERY PLAN"]))]
    assert [line.strip() for line in unpacked] == ["Batches decompressed: 1"]
    rows = database.execute("SELECT user_id, count(*) AS rows FROM readings GROUP BY 1 ORDER BY 1").fetchall()
    assert [tuple(row.values()) for row in rows] == [("anna", 285), ("bela", 288), ("carl", 288)]


def test_an_older_version_does_not_replace_what_is_compressed(database: Connection) -> None:
    start = NOW - timedelta(days=30)
    store(database, start, 1)
    database.execute("UPDATE readings SET version = 5")
    compress(database)
    database.execute(
        "INSERT INTO readings SELECT time, user_id, metric, source, 1 AS value, end_time, flags, provider, document_id,"
        " 4 AS version, event_id, received_at FROM readings"
        " ON CONFLICT (user_id, metric, source, time) DO UPDATE SET value = excluded.value, version = excluded.version"
        " WHERE excluded.version >= readings.version"
    )
    rows = database.execute("SELECT DISTINCT version, value > 1 AS old FROM readings").fetchall()
    assert rows == [{"version": 5, "old": True}]


def test_retention_drops_readings_and_what_the_aggregates_keep(database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    store(database, NOW - timedelta(days=150), 48)
    store(database, NOW - timedelta(days=20), 48)
    compress(database)
    for relation in aggregates.BUCKETS:
        database.execute(f"CALL refresh_continuous_aggregate('{relation}', NULL, now() - interval '3 days')")
    for relation in ("readings", *aggregates.BUCKETS):
        run_job(database, relation, "policy_retention")
    oldest = database.execute("SELECT min(time) AS oldest FROM readings").fetchone()
    assert oldest is not None
    assert oldest["oldest"] > NOW - timedelta(days=21)
    assert both_right(database)


def test_a_server_that_has_become_the_community_edition_gets_what_the_other_could_not(database: Connection) -> None:
    aggregates.drop(database.execute, community=True)
    aggregates.make(database.execute, community=False)
    store(database, NOW - timedelta(days=10), 48)
    policies.ensure(database, SETTINGS)
    assert set(jobs(database)) >= {("readings", "policy_compression"), ("readings_daily", "policy_retention")}
    refresh(database)
    assert kept(database, "readings_daily") > 0
    assert both_right(database)


def test_downgrade_keeps_compressed_readings(server: Community, database: Connection) -> None:
    policies.ensure(database, SETTINGS)
    store(database, NOW - timedelta(days=30), 48)
    compress(database)
    refresh(database)
    chain.downgrade(lambda: connect(settings(server.port), autocommit=False), "0005")
    assert database.execute("SELECT count(*) FROM readings").fetchone() == {"count": 192}
    assert jobs(database) == {}
