"""Rows in the format of COPY: the server reads what was written, whatever the values are."""

from __future__ import annotations

import io
import uuid
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auren.biometric.ingest import copying
from auren.biometric.ingest.batch import Row
from tests.api.services.platform import Platform

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)
TIMES = st.datetimes(
    datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from((UTC, timezone(timedelta(hours=-7))))
)
ROWS = st.builds(
    Row,
    time=TIMES,
    user_id=TEXTS,
    metric=TEXTS,
    source=TEXTS,
    value=st.floats(allow_nan=False),
    end_time=st.none() | TIMES,
    flags=st.none() | st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
    provider=TEXTS,
    document_id=TEXTS,
    version=st.integers(-(2**63), 2**63 - 1),
    event_id=st.uuids(),
    received_at=TIMES,
    utc_offset_minutes=st.integers(-(2**15), 2**15 - 1),
)


async def copied(platform: Platform, rows: list[Row]) -> list[Row]:
    """The rows as the server has them."""
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    try:
        await connection.execute("CREATE TEMPORARY TABLE copied (LIKE readings)")
        source = io.BytesIO(b"".join(copying.encode(rows)))
        await connection.copy_to_table("copied", source=source, columns=copying.COLUMNS, format="binary")
        found = await connection.fetch(f"SELECT {', '.join(Row._fields)} FROM copied ORDER BY ctid")
    finally:
        await connection.close()
    return [Row(*row)._replace(flags=tuple(row["flags"]) if row["flags"] else None) for row in found]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=8))
async def test_the_server_reads_what_was_written(platform: Platform, rows: list[Row]) -> None:
    """Some of the rows are of one event, whose columns are written once."""
    together = [row._replace(value=value) for row in rows for value in (1.5, -0.25)]
    assert await copied(platform, [*rows, *together]) == [*rows, *together]


def test_what_no_column_can_hold_is_told() -> None:
    now = datetime.now(UTC)
    row = Row(now, "anna", "steps", "ring", 1.0, None, None, "oura", "d", 2**63, uuid.uuid4(), now, 0)
    with pytest.raises(ValueError, match="no column can hold"):
        list(copying.encode([row]))
    with pytest.raises(ValueError, match="surrogates"):
        list(copying.encode([row._replace(version=1, document_id="\ud800")]))
