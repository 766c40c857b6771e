"""Readings per hour and per UTC day, and what TimescaleDB's community edition adds to them.

`readings_hourly` and `readings_daily` have the same columns on both editions: (user_id, metric, source, bucket, count,
average, lowest, highest, total), over readings without the flags `implausible` and `future`. On the community edition
they are continuous aggregates: what is older than the refresh policies' end is read from their own tables, the rest
from `readings`, in the same query. The Apache edition has neither them nor compression; there they are plain views.

Revision 0006 makes them, and the Job makes them anew where the server has become the community edition since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, LiteralString

Execute = Callable[[LiteralString], object]
"""Runs one statement in the caller's transaction."""

BUCKETS: Final[dict[LiteralString, LiteralString]] = {"readings_hourly": "1 hour", "readings_daily": "1 day"}
"""Relation → width of its buckets, which begin at whole hours and days of UTC."""

LICENSE: Final = "SELECT current_setting('timescaledb.license', true) AS license"
COMMUNITY_LICENSE: Final = "timescale"
"""What `LICENSE` gives on the community edition; it is "apache" on the other."""

_SELECT: Final = """
SELECT user_id, metric, source, time_bucket(INTERVAL '{width}', time) AS bucket, count(*) AS count,
    avg(value) AS average, min(value) AS lowest, max(value) AS highest, sum(value) AS total
FROM readings
WHERE flags IS NULL OR NOT flags && ARRAY['implausible', 'future']
GROUP BY 1, 2, 3, 4
"""

# Batches of compressed rows know the least and greatest source and time in them: with the segments' columns that is
# the whole primary key, so an upsert unpacks only the batches that may hold its row.
_COMPRESSION: Final = """
ALTER TABLE readings SET (timescaledb.compress, timescaledb.compress_segmentby = 'user_id, metric',
    timescaledb.compress_orderby = 'source, time')
"""


def make(execute: Execute, *, community: bool) -> None:
    """Make both relations, and on the community edition let chunks of `readings` be compressed.

    Continuous aggregates begin empty: until their policies have run, everything is read from `readings`.
    """
    if community:
        execute(_COMPRESSION)
    for relation, width in BUCKETS.items():
        if community:
            options = "timescaledb.continuous, timescaledb.materialized_only = false"
            kind = f"MATERIALIZED VIEW {relation} WITH ({options}, timescaledb.create_group_indexes = false)"
            execute(f"CREATE {kind} AS {_SELECT.format(width=width)} WITH NO DATA")
            execute(f"CREATE INDEX ON {relation} (user_id, metric, bucket)")
        else:
            execute(f"CREATE VIEW {relation} AS {_SELECT.format(width=width)}")


def drop(execute: Execute, *, community: bool) -> None:
    """Drop both with their policies, and unpack what was compressed. `readings` is whole and plain afterwards."""
    kind = "MATERIALIZED VIEW" if community else "VIEW"
    for relation in BUCKETS:
        execute(f"DROP {kind} {relation}")
    if community:
        execute("SELECT remove_compression_policy('readings', if_exists => true)")
        execute("SELECT remove_retention_policy('readings', if_exists => true)")
        execute("SELECT decompress_chunk(chunk, true) FROM show_chunks('readings') AS chunk")
        execute("ALTER TABLE readings SET (timescaledb.compress = false)")
