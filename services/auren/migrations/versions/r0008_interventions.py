"""Interventions: what NEUROS offered to whom and what came of it, its outbox, and what people want of it.

An intervention's id follows from the mode switch that led to it, so one switch leads to one row however often it is
read. `at` is the time of the decision, `switched_at` that of the switch by the person's clock. `outcome` holds, by
metric that the protocol measures, the value before and the newest one within its window. The outbox is as the biometric
service's: an outbox row is deleted once Kafka has its record.

There are no CHECK constraints: a violated one writes the whole row, and so a person's data, into the server's log.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE interventions (
        id              uuid        PRIMARY KEY,
        user_id         text        NOT NULL,
        at              timestamptz NOT NULL,
        switched_at     timestamptz NOT NULL,
        expires_at      timestamptz NOT NULL,
        mode            text        NOT NULL,
        level           text        NOT NULL,
        protocol        text        NOT NULL,
        title           text        NOT NULL,
        reason          text        NOT NULL,
        evidence        jsonb       NOT NULL,
        outcome         jsonb       NOT NULL DEFAULT '{}',
        delivered_at    timestamptz,
        withdrawn_at    timestamptz,
        acknowledged_at timestamptz,
        acknowledged_as text
    )
    """,
    "CREATE INDEX interventions_of_person ON interventions (user_id, at DESC, id DESC)",
    """
    CREATE TABLE intervention_outbox (
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        topic        text        NOT NULL,
        user_id      text        NOT NULL,
        value        bytea       NOT NULL,
        headers      bytea       NOT NULL,
        attempted_at timestamptz
    )
    """,
    """
    CREATE TABLE preferences (
        user_id       text        PRIMARY KEY,
        interventions jsonb       NOT NULL,
        updated_at    timestamptz NOT NULL DEFAULT now()
    )
    """,
)

TABLES = ("preferences", "intervention_outbox", "interventions")


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them. Who had opted in must do so again."""
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
