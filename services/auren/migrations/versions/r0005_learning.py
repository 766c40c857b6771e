"""What is learnt from readings: days, hours, sleep, workouts, a person's state, modes, patterns; the outbox; chats.

`readings.utc_offset_minutes` is the offset from UTC that the provider named. A stored time is an instant and has
forgotten it, and the person's own calendar day and hour of a reading need it. Earlier rows count in UTC.

`daily_values` and `hourly_values` hold count and sum per source of the readings that are trusted. A sum is a whole
number of millionths of the metric's unit: whole numbers add up to the same in whatever order readings come, are
corrected and are deleted, so the same rows always give the same baselines.

`ingested_events` is what makes an event count once; it may be forgotten when no log and no dead letter holds the event
any more. `people.state` is what the next decision about a person depends on, besides the days. An outbox row is
deleted once Kafka has its record; `attempted_at` says that it may have it.

There are no CHECK constraints: a violated one writes the whole row, and so a person's data, into the server's log.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


STATEMENTS = (
    "ALTER TABLE readings ADD COLUMN utc_offset_minutes smallint NOT NULL DEFAULT 0",
    """
    CREATE TABLE ingested_events (
        event_id uuid        PRIMARY KEY,
        user_id  text        NOT NULL,
        seen_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "INSERT INTO ingested_events (event_id, user_id) SELECT DISTINCT ON (event_id) event_id, user_id FROM readings",
    "CREATE INDEX ingested_events_seen_at ON ingested_events USING brin (seen_at)",
    """
    CREATE TABLE daily_values (
        user_id text    NOT NULL,
        metric  text    NOT NULL,
        day     date    NOT NULL,
        source  text    NOT NULL,
        count   integer NOT NULL,
        total   bigint  NOT NULL,
        PRIMARY KEY (user_id, metric, day, source)
    )
    """,
    """
    INSERT INTO daily_values
    SELECT user_id, metric, (coalesce(end_time - INTERVAL '1 microsecond', time) AT TIME ZONE 'UTC')::date, source,
           count(*), sum(round(value * 1000000))
    FROM readings WHERE value BETWEEN -1e6 AND 1e6 GROUP BY 1, 2, 3, 4
    """,
    """
    CREATE TABLE hourly_values (
        user_id text     NOT NULL,
        metric  text     NOT NULL,
        day     date     NOT NULL,
        hour    smallint NOT NULL,
        source  text     NOT NULL,
        count   integer  NOT NULL,
        total   bigint   NOT NULL,
        PRIMARY KEY (user_id, metric, day, hour, source)
    )
    """,
    """
    INSERT INTO hourly_values
    SELECT user_id, metric, last::date, extract(hour FROM last)::smallint, source, count(*), sum(round(value * 1000000))
    FROM (SELECT *, coalesce(end_time - INTERVAL '1 microsecond', time) AT TIME ZONE 'UTC' AS last FROM readings) r
    WHERE metric IN ('hrv_rmssd', 'hrv_sdnn') AND value BETWEEN -1e6 AND 1e6 GROUP BY 1, 2, 3, 4, 5
    """,
    """
    CREATE TABLE sleep_sessions (
        user_id            text             NOT NULL,
        provider           text             NOT NULL,
        document_id        text             NOT NULL,
        version            bigint           NOT NULL,
        source             text             NOT NULL,
        day                date             NOT NULL,
        start_time         timestamptz      NOT NULL,
        end_time           timestamptz      NOT NULL,
        utc_offset_minutes smallint         NOT NULL,
        in_bed_start       timestamptz,
        in_bed_end         timestamptz,
        total_minutes      double precision,
        light_minutes      double precision,
        deep_minutes       double precision,
        rem_minutes        double precision,
        awake_minutes      double precision,
        in_bed_minutes     double precision,
        stages             jsonb            NOT NULL DEFAULT '[]',
        event_id           uuid             NOT NULL,
        received_at        timestamptz      NOT NULL,
        PRIMARY KEY (user_id, provider, document_id)
    )
    """,
    "CREATE INDEX sleep_sessions_of_user ON sleep_sessions (user_id, day)",
    """
    CREATE TABLE workouts (
        user_id            text             NOT NULL,
        provider           text             NOT NULL,
        document_id        text             NOT NULL,
        version            bigint           NOT NULL,
        source             text             NOT NULL,
        activity           text             NOT NULL,
        start_time         timestamptz      NOT NULL,
        end_time           timestamptz      NOT NULL,
        energy_kcal        double precision,
        distance_m         double precision,
        average_heart_rate double precision,
        max_heart_rate     double precision,
        strain             double precision,
        event_id           uuid             NOT NULL,
        received_at        timestamptz      NOT NULL,
        PRIMARY KEY (user_id, provider, document_id)
    )
    """,
    "CREATE INDEX workouts_of_user ON workouts (user_id, start_time)",
    """
    CREATE TABLE people (
        user_id    text        PRIMARY KEY,
        revision   bigint      NOT NULL,
        clock      timestamptz NOT NULL,
        mode       text        NOT NULL,
        mode_since timestamptz NOT NULL,
        state      jsonb       NOT NULL
    )
    """,
    """
    CREATE TABLE mode_switches (
        id         uuid             PRIMARY KEY,
        user_id    text             NOT NULL,
        at         timestamptz      NOT NULL,
        mode       text             NOT NULL,
        previous   text             NOT NULL,
        rule       text,
        reason     text             NOT NULL,
        confidence double precision NOT NULL,
        evidence   jsonb            NOT NULL,
        off        jsonb            NOT NULL,
        event_id   uuid             NOT NULL
    )
    """,
    "CREATE INDEX mode_switches_of_user ON mode_switches (user_id, at DESC)",
    """
    CREATE TABLE patterns (
        user_id    text             NOT NULL,
        kind       text             NOT NULL,
        detail     text             NOT NULL,
        level      text             NOT NULL,
        confidence double precision NOT NULL,
        since      timestamptz      NOT NULL,
        last_seen  timestamptz      NOT NULL,
        ended_at   timestamptz,
        evidence   jsonb            NOT NULL,
        PRIMARY KEY (user_id, kind, detail)
    )
    """,
    """
    CREATE TABLE outbox (
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        topic        text        NOT NULL,
        user_id      text        NOT NULL,
        value        bytea       NOT NULL,
        headers      bytea       NOT NULL,
        attempted_at timestamptz
    )
    """,
    """
    CREATE TABLE chat_messages (
        id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id    text        NOT NULL,
        session_id text        NOT NULL,
        at         timestamptz NOT NULL DEFAULT now(),
        role       text        NOT NULL,
        content    text        NOT NULL,
        detail     jsonb       NOT NULL DEFAULT '{}'
    )
    """,
    "CREATE INDEX chat_messages_of_session ON chat_messages (user_id, session_id, id)",
)

TABLES = (
    "chat_messages",
    "outbox",
    "patterns",
    "mode_switches",
    "people",
    "workouts",
    "sleep_sessions",
    "hourly_values",
    "daily_values",
    "ingested_events",
)


def upgrade() -> None:
    """Make the tables and fill those that earlier readings speak for."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them. Readings stay; what was learnt, decided and said is lost, and events may count twice afterwards."""
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE readings DROP COLUMN utc_offset_minutes")
