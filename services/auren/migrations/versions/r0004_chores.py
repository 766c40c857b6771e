"""The bridge's periodic jobs: when each last worked, how far each person's data is reconciled, which Oura
subscriptions are ours.

`reconciliations` goes with the tokens: without them nothing can be asked, and who connects again is read anew. No row
of it names more than its person, the kind of document and the time up to which the vendor was asked.

`oura_subscriptions` holds the ids of the subscriptions that this stack has made: one Oura application may serve
several stacks, and only by its id is a subscription at a former address of ours told from another stack's.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


STATEMENTS = (
    """
    CREATE TABLE chores (
        name         text        PRIMARY KEY,
        succeeded_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE reconciliations (
        user_id   text        NOT NULL,
        provider  text        NOT NULL,
        data_type text        NOT NULL,
        until     timestamptz NOT NULL,
        PRIMARY KEY (user_id, provider, data_type),
        FOREIGN KEY (user_id, provider) REFERENCES oauth_tokens ON DELETE CASCADE
    )
    """,
    "CREATE TABLE oura_subscriptions (id text PRIMARY KEY)",
)


def upgrade() -> None:
    """Make the three tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them. Everybody is read anew, and subscriptions at a former address are not known as ours any more."""
    op.execute("DROP TABLE oura_subscriptions")
    op.execute("DROP TABLE reconciliations")
    op.execute("DROP TABLE chores")
