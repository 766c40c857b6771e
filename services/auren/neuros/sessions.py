"""Checkpoints of sessions in PostgreSQL: LangGraph's saver on a psycopg pool of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from auren.migrations import CHECKPOINT_SCHEMA
from auren.neuros.settings import NeurosSettings

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import DictRow
    from psycopg_pool import AsyncConnectionPool

WAIT_SECONDS: Final = 1.0
"""How long a reply waits for a connection before it goes on without its session."""

DURABLE: Final = "SET LOCAL synchronous_commit = on"
"""Within a transaction: its end waits for the disk, and with it all that was written before."""


def open_pool(settings: NeurosSettings, application: str) -> AsyncConnectionPool[AsyncConnection[DictRow]]:
    """A pool for the saver, not opened yet: autocommit and rows as mappings, as the saver needs them.

    No turn waits for the server's disk: when the server crashes, the sessions' last half second may be lost. Who
    erases asks for DURABLE first. Imported late, like LangGraph itself: the listener opens before.
    """
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    return AsyncConnectionPool(
        connection_class=AsyncConnection[DictRow] if TYPE_CHECKING else AsyncConnection,
        kwargs={
            "host": settings.database_host,
            "port": settings.database_port,
            "dbname": settings.database_name,
            "user": settings.database_user,
            "password": settings.database_password.get_secret_value(),
            "application_name": application,
            "sslmode": settings.database_tls,
            "sslrootcert": settings.database_authority,
            "options": f"-c search_path={CHECKPOINT_SCHEMA} -c synchronous_commit=off",
            "connect_timeout": 5,
            "autocommit": True,
            "row_factory": dict_row,
        },
        min_size=1,
        max_size=settings.session_connections,
        timeout=WAIT_SECONDS,
        reconnect_timeout=60,
        check=AsyncConnectionPool.check_connection,
        open=False,
    )


def thread_id(user_id: str, session_id: str) -> str:
    """The saver's name of a user's session. Neither part may hold a slash, so no two pairs share one."""
    if "/" in user_id or "/" in session_id:
        raise ValueError("a slash would make two sessions one")
    return f"{user_id}/{session_id}"
