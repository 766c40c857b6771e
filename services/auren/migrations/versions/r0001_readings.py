"""Readings, and the tombstones that keep a deleted document deleted.

A reading is one value of one metric of one person at one time from one source. `version` orders the documents that
a value came from: an upsert writes only when its version is not older. A tombstone keeps the version at which a
document was deleted, so that a late delivery of an older one does not bring it back.

The default index of a hypertable, on time alone, is left out: every query names the person, and the primary key
serves it; one index less is written per row.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the hypertable (chunks of one day) and the tombstones."""
    op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    op.execute(
        """
        CREATE TABLE readings (
            time        timestamptz      NOT NULL,
            user_id     text             NOT NULL,
            metric      text             NOT NULL,
            source      text             NOT NULL,
            value       double precision NOT NULL,
            end_time    timestamptz,
            flags       text[],
            provider    text             NOT NULL,
            document_id text             NOT NULL,
            version     bigint           NOT NULL,
            event_id    uuid             NOT NULL,
            received_at timestamptz      NOT NULL,
            PRIMARY KEY (user_id, metric, source, time)
        )
        """
    )
    op.execute(
        "SELECT create_hypertable('readings', by_range('time', INTERVAL '1 day'), create_default_indexes => false)"
    )
    op.execute(
        """
        CREATE TABLE deletion_tombstones (
            user_id     text        NOT NULL,
            provider    text        NOT NULL,
            document_id text        NOT NULL,
            version     bigint      NOT NULL,
            deleted_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (user_id, provider, document_id)
        )
        """
    )


def downgrade() -> None:
    """Drop both; the extension stays, other databases of the server may need it."""
    op.execute("DROP TABLE deletion_tombstones")
    op.execute("DROP TABLE readings")
