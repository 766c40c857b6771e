"""What NEUROS remembers of people for up to a year: facts, preferences, outcomes of exercises.

A row's id is made of its person and its text, so the same memory has the same id wherever it lies: here, in Chroma, or
for a moment in both. `said_at` is when the message came that it stems from, `kept_at` since when it lies here,
`touched_at` when it was last said or used. `session` is a hash. `embedding` holds half floats, little endian, of the
model that `embedder` names; both are NULL while the model could not be reached.

There are no CHECK constraints: a violated one writes the whole row, and so a person's data, into the server's log.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


STATEMENTS = (
    """
    CREATE TABLE memories (
        user_id      text             NOT NULL,
        id           uuid             NOT NULL,
        kind         text             NOT NULL,
        text         text             NOT NULL,
        source       text             NOT NULL,
        confidence   double precision NOT NULL,
        session      text,
        protocol     text,
        said_at      timestamptz      NOT NULL,
        kept_at      timestamptz      NOT NULL,
        used         integer          NOT NULL DEFAULT 0,
        last_used_at timestamptz,
        touched_at   timestamptz      NOT NULL GENERATED ALWAYS AS (greatest(said_at, last_used_at)) STORED,
        embedder     text,
        embedding    bytea,
        PRIMARY KEY (user_id, id)
    )
    """,
    "CREATE INDEX memories_of_user ON memories (user_id, touched_at, kept_at)",
)


def upgrade() -> None:
    """Make the table."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop it. What lies in Chroma stays; what was remembered only here is lost."""
    op.execute("DROP TABLE memories")
