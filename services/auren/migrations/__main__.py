"""`python -m auren.migrations`: the migrations Job. Exit code 0: the database is ready; 1: it is not, and why."""

import sys

import psycopg

from auren.migrations.job import DatabaseAwayError, MigrationSettings, run
from auren.settings import load
from auren.telemetry import configure_logging, logger


def main() -> int:
    """Run the Job once; Kubernetes runs it again when it fails."""
    settings = load(MigrationSettings)
    configure_logging(settings, "migrations")
    try:
        run(settings)
    except (DatabaseAwayError, psycopg.Error) as error:
        logger("auren.migrations").error("database is not ready", reason=" ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
