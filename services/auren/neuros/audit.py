"""Rows of `audit_log`: what must be known later. The role may add and nothing else.

Nobody may change a row, also when its person is erased, so it names them by the keyed hash alone.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

import asyncpg

from auren.database import Database
from auren.link import UnavailableError
from auren.telemetry import Metrics, logger, person

_ADD: Final = "INSERT INTO audit_log (service, user_id, action, detail) VALUES ($1, $2, $3, $4)"

WRITE_SECONDS: Final = 10.0
MOST_WAITING: Final = 200
"""Rows that wait for the database at once; more are lost, and counted."""

_log = logger(__name__)


class Audit:
    """Writes rows in the name of one service."""

    def __init__(self, database: Database, service: str, metrics: Metrics) -> None:
        """`metrics` gets a count of rows that could not be written."""
        self._database = database
        self._service = service
        self._lost = metrics.counter("audit_rows_lost", "Audit rows that the database did not take")

        self._writing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing to do: rows are written when they come."""

    async def stop(self) -> None:
        """Wait for the rows that are being written, which is bounded."""
        if self._writing:
            await asyncio.wait(set(self._writing))

    def record(self, user_id: str, action: str, session_id: str) -> None:
        """Add a row in the background: a reply in an emergency waits for no database. A lost one leaves a log line."""
        if len(self._writing) >= MOST_WAITING:
            self._lose(user_id, action, "too many wait")
            return
        task = asyncio.create_task(self._write(user_id, action, session_id), name="audit-row")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, user_id: str, action: str, session_id: str) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS), self._database.connection() as connection:
                detail = json.dumps({"session_id": session_id})
                await connection.execute(_ADD, self._service, person(user_id), action, detail)
        except (UnavailableError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            self._lose(user_id, action, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, the row is lost and must be counted
            self._lose(user_id, action, type(error).__name__)
            _log.exception("an audit row met a defect", action=action)

    def _lose(self, user_id: str, action: str, reason: str) -> None:
        self._lost.inc()
        _log.error("audit row lost", action=action, person=person(user_id), reason=reason)
