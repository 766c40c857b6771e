"""Readings per hour and day, compression where the server has it, and two functions that need the owner's rights.

`drop_old_readings(days)` drops the chunks of `readings` that are older than so many days, and returns how many: on the
Apache edition no policy does it, and only a table's owner may drop its chunks.

`forget_aggregates(person)` takes a person out of what continuous aggregates keep, which a refresh would do only later;
where the aggregates are plain views there is nothing to take out. The person's readings must have been deleted before.

Both run with the rights of who made them, so their search path is fixed and nobody else may call them but the role
that `roles` names.
"""

from alembic import op

from auren.migrations import aggregates

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FUNCTIONS = (
    """
    CREATE FUNCTION drop_old_readings(days integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF days IS NULL OR days < 1 THEN
            RAISE EXCEPTION 'days must be at least 1' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        RETURN (SELECT count(*) FROM drop_chunks('readings', older_than => make_interval(days => days)));
    END
    $$
    """,
    """
    CREATE FUNCTION forget_aggregates(person text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        kept record;
    BEGIN
        FOR kept IN
            SELECT materialization_hypertable_schema AS in_schema, materialization_hypertable_name AS name
            FROM timescaledb_information.continuous_aggregates
            WHERE hypertable_schema = 'public' AND hypertable_name = 'readings'
        LOOP
            EXECUTE format('DELETE FROM %I.%I WHERE user_id = $1', kept.in_schema, kept.name) USING person;
        END LOOP;
    END
    $$
    """,
    "REVOKE ALL ON FUNCTION drop_old_readings(integer), forget_aggregates(text) FROM PUBLIC",
)


def _community() -> bool:
    return op.get_bind().exec_driver_sql(aggregates.LICENSE).scalar() == aggregates.COMMUNITY_LICENSE


def upgrade() -> None:
    """Make relations and functions."""
    aggregates.make(op.execute, community=_community())
    for statement in FUNCTIONS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them. Chunks are unpacked, which takes the space that compression had saved; no reading is lost."""
    op.execute("DROP FUNCTION forget_aggregates(text)")
    op.execute("DROP FUNCTION drop_old_readings(integer)")
    aggregates.drop(op.execute, community=_community())
