"""The bridge's tables: who is connected to whom, OAuth tokens and states, and deliveries that wait for another try.

There are no CHECK constraints: a violated one writes the whole row, and so a person's data, into the server's log.
What may stand in a column is checked by the code that writes it.

`connections`: one of our users per vendor's user id; a user may be known to one vendor by several ids. Rows stay when
somebody disconnects, so that what was received before still finds its user. `owned_from` is set when the id passes to
another user: what was received earlier is not that user's.

`parked_deliveries` keeps a record as it was: `headers` is MessagePack, a list of pairs (name, bytes).
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


STATEMENTS = (
    """
    CREATE TABLE connections (
        provider         text        NOT NULL,
        provider_user_id text        NOT NULL,
        user_id          text        NOT NULL,
        owned_from       timestamptz NOT NULL DEFAULT '-infinity',
        connected_at     timestamptz NOT NULL,
        disconnected_at  timestamptz,
        PRIMARY KEY (provider, provider_user_id)
    )
    """,
    "CREATE INDEX connections_of_user ON connections (user_id, provider)",
    """
    CREATE TABLE oauth_tokens (
        provider      text        NOT NULL,
        user_id       text        NOT NULL,
        access_token  bytea       NOT NULL,
        refresh_token bytea,
        expires_at    timestamptz,
        scopes        text[]      NOT NULL DEFAULT '{}',
        refreshed_at  timestamptz NOT NULL,
        PRIMARY KEY (user_id, provider)
    )
    """,
    """
    CREATE TABLE oauth_states (
        state_hash bytea       PRIMARY KEY,
        provider   text        NOT NULL,
        user_id    text        NOT NULL,
        verifier   bytea,
        expires_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE parked_deliveries (
        id         uuid        PRIMARY KEY,
        provider   text        NOT NULL,
        value      bytea       NOT NULL,
        headers    bytea       NOT NULL,
        reason     text        NOT NULL,
        attempts   integer     NOT NULL,
        first_seen timestamptz NOT NULL,
        due_at     timestamptz NOT NULL
    )
    """,
    "CREATE INDEX parked_deliveries_due ON parked_deliveries (due_at, id)",
)


def upgrade() -> None:
    """Make the four tables. Tokens and the PKCE verifier are ciphertext; of a state only its SHA-256 is kept."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the four tables. Everybody has to connect again, and parked deliveries are lost."""
    op.execute("DROP TABLE parked_deliveries")
    op.execute("DROP TABLE oauth_states")
    op.execute("DROP TABLE oauth_tokens")
    op.execute("DROP TABLE connections")
