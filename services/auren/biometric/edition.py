"""Which TimescaleDB the database is: what it can do depends on the edition."""

from __future__ import annotations

from auren.database import Database


class Edition:
    """Learnt from the server once, at the first health check that reaches it."""

    def __init__(self, database: Database) -> None:
        """The pool is the service's."""
        self._database = database
        self._license: str | None = None

    async def check(self) -> None:
        """For the health report: the database answers at the expected revision. Raises UnhealthyError."""
        await self._database.check()
        if self._license is None:
            async with self._database.connection() as connection:
                self._license = await connection.fetchval("SELECT current_setting('timescaledb.license', true)")

    def name(self) -> str | None:
        """The edition in words; None until it is known."""
        if self._license is None:
            return None
        return "community" if self._license == "timescale" else "apache (no compression, no continuous aggregates)"
