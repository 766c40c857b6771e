"""What concerns people rather than their measurements: revoked tokens, erased users, the audit log."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables. A revocation may be forgotten once the token has expired by itself."""
    op.execute(
        """
        CREATE TABLE revoked_tokens (
            jti        text        PRIMARY KEY,
            revoked_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz
        )
        """
    )
    op.execute(
        """
        CREATE TABLE erased_users (
            user_id   text        PRIMARY KEY,
            erased_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        """
        CREATE TABLE audit_log (
            id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at      timestamptz NOT NULL DEFAULT now(),
            service text        NOT NULL,
            user_id text        NOT NULL,
            action  text        NOT NULL,
            detail  jsonb       NOT NULL DEFAULT '{}'
        )
        """
    )


def downgrade() -> None:
    """Drop the three tables."""
    op.execute("DROP TABLE audit_log")
    op.execute("DROP TABLE erased_users")
    op.execute("DROP TABLE revoked_tokens")
