"""What TimescaleDB does by itself on its community edition, from the settings: compress, refresh aggregates, drop.

On the Apache edition there are no policies; `auren.biometric.retention` drops old readings there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from auren.migrations import aggregates
from auren.settings import RetentionSettings

REFRESH_END_DAYS: Final = 3
"""What is newer is always read from `readings`. A night arrives in the morning, and a watch that was offline over the
weekend on Monday: both are in the aggregates at once. What is older and comes late shows after the next refresh."""

COMPRESS_EVERY: Final = timedelta(hours=12)
REFRESH_EVERY: Final = timedelta(hours=1)
DROP_EVERY: Final = timedelta(days=1)

_COMPRESS = """
SELECT add_compression_policy(%(relation)s, compress_after => make_interval(days => %(compress_after)s),
    schedule_interval => %(every)s)
"""
_REFRESH = """
SELECT add_continuous_aggregate_policy(%(relation)s, start_offset => make_interval(days => %(start_offset)s),
    end_offset => make_interval(days => %(end_offset)s), schedule_interval => %(every)s)
"""
_DROP = """
SELECT add_retention_policy(%(relation)s, drop_after => make_interval(days => %(drop_after)s),
    schedule_interval => %(every)s)
"""
_JOB = """
SELECT job_id FROM timescaledb_information.jobs
WHERE proc_name = %(procedure)s AND coalesce(config ->> 'hypertable_id', config ->> 'mat_hypertable_id')::integer IN (
    SELECT id FROM _timescaledb_catalog.hypertable WHERE schema_name = 'public' AND table_name = %(relation)s
    UNION ALL
    SELECT mat_hypertable_id FROM _timescaledb_catalog.continuous_agg
    WHERE user_view_schema = 'public' AND user_view_name = %(relation)s
)
"""
_ALTER = """
SELECT alter_job(job_id, schedule_interval => %(every)s, config => config || %(config)s)
FROM timescaledb_information.jobs WHERE job_id = %(job)s
"""
_CONTINUOUS = (
    "SELECT FROM timescaledb_information.continuous_aggregates WHERE view_schema = 'public' AND view_name = %s"
)


@dataclass(frozen=True)
class Policy:
    """A job of TimescaleDB on one relation: what makes it, how often it works, and its limits in days by name."""

    relation: str
    procedure: str
    add: LiteralString
    every: timedelta
    days: Mapping[str, int]


def ensure(connection: Connection[DictRow], settings: RetentionSettings) -> None:
    """Have exactly the policies that follow from the settings, in one transaction; nothing on the Apache edition.

    `connection` is an administrator's, in autocommit, at revision 0006 or later. A policy that exists keeps its
    history, and what somebody paused stays paused. Where the aggregates are still plain views, because the server was
    of the Apache edition when they were made, they are made anew first.
    """
    row = connection.execute(aggregates.LICENSE).fetchone()
    if row is None or row["license"] != aggregates.COMMUNITY_LICENSE:
        return
    with connection.transaction():
        _adopt(connection)
        for policy in wanted(settings):
            _apply(connection, policy)


def wanted(settings: RetentionSettings) -> list[Policy]:
    """The policies that follow from the settings.

    A refresh reaches as far back as there are readings: it works only on what has changed since the one before, and
    who joins brings days of long ago.
    """
    kept = settings.retention_days
    packing = {"compress_after": settings.compress_after_days}
    refreshing = {"start_offset": kept, "end_offset": REFRESH_END_DAYS}
    dropping = {"drop_after": kept}
    policies = [Policy("readings", "policy_compression", _COMPRESS, COMPRESS_EVERY, packing)]
    for relation in aggregates.BUCKETS:
        policies.append(Policy(relation, "policy_refresh_continuous_aggregate", _REFRESH, REFRESH_EVERY, refreshing))
    for relation in ("readings", *aggregates.BUCKETS):
        policies.append(Policy(relation, "policy_retention", _DROP, DROP_EVERY, dropping))
    return policies


def _adopt(connection: Connection[DictRow]) -> None:
    relation = next(iter(aggregates.BUCKETS))
    if connection.execute(_CONTINUOUS, (relation,)).fetchone() is None:
        aggregates.drop(connection.execute, community=False)
        aggregates.make(connection.execute, community=True)


def _apply(connection: Connection[DictRow], policy: Policy) -> None:
    job = connection.execute(_JOB, {"procedure": policy.procedure, "relation": policy.relation}).fetchone()
    if job is None:
        connection.execute(policy.add, {"relation": policy.relation, "every": policy.every, **policy.days})
        return
    config = Jsonb({name: f"{days} days" for name, days in policy.days.items()})
    connection.execute(_ALTER, {"job": job["job_id"], "every": policy.every, "config": config})
