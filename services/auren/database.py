"""PostgreSQL behind the listener: one asyncpg pool per process, made in the background, its absence a 503."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import asyncpg

from auren.health import UnhealthyError
from auren.link import Link, UnavailableError, describe
from auren.settings import DatabaseSettings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

CONNECT_TIMEOUT_SECONDS: Final = 5.0
ACQUIRE_TIMEOUT_SECONDS: Final = 3.0
COMMAND_TIMEOUT_SECONDS: Final = 30.0

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    # Before the migrations Job has run there is no role and perhaps no database; after a rotation, an old password.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""What asyncpg raises when the server is away, starting, full or not prepared yet: worth another attempt."""


UNPREPARED: Final = (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)
"""What the server says of statements before the migrations Job has run."""

REVOKED: Final = "SELECT jti FROM revoked_tokens WHERE expires_at IS NULL OR expires_at > now() - interval '1 minute'"
"""An expired token still passes for the leeway of clocks (30 s), so its revocation holds longer than that."""


def tls(settings: DatabaseSettings) -> ssl.SSLContext | Literal[False]:
    """The encryption of connections, for asyncpg. Raises OSError for an authority's file that holds no certificate."""
    if settings.database_tls == "disable":
        return False
    context = ssl.create_default_context(cafile=settings.database_ca_file)
    if settings.database_tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Database:
    """The pool of one process. `connection()` is the way to a connection; everything else is asyncpg's."""

    def __init__(self, settings: DatabaseSettings, *, application: str, revision: str | None = None) -> None:
        """`application` is the name on the server; `revision` the migration that the service expects there."""
        self._settings = settings
        self._application = application
        self._revision = revision
        self.link: Link[asyncpg.Pool] = Link("database", self._connect, self._close, AWAY)

    async def start(self) -> None:
        """Begin to connect in the background."""
        await self.link.start()

    async def stop(self) -> None:
        """Close the pool within a bound."""
        await self.link.stop()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection of the pool for the block.

        Raises UnavailableError, also when the server goes away meanwhile or the migrations have not run yet.
        """
        pool = self.link.client
        try:
            async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                with _open(connection):
                    yield connection
        except asyncpg.InterfaceError as error:
            if not pool.is_closing():
                raise
            raise UnavailableError("database", "the connections are being closed") from error
        except AWAY as error:
            raise UnavailableError("database", describe(error)) from error
        except UNPREPARED as error:
            raise UnavailableError("database", "the migrations have not run") from error

    async def check(self) -> None:
        """For the health report: the server answers and its schema is the expected one."""
        try:
            async with self.connection() as connection:
                found = await connection.fetchval("SELECT version_num FROM alembic_version")
        except UnavailableError as error:
            raise UnhealthyError(error.reason) from error
        if self._revision is not None and found != self._revision:
            raise UnhealthyError(f"migrations at {found}, expected {self._revision}")

    async def revoked_tokens(self) -> frozenset[str]:
        """Ids of revoked tokens that may still be shown. Raises UnavailableError."""
        async with self.connection() as connection:
            rows = await connection.fetch(REVOKED)
        return frozenset(row["jti"] for row in rows)

    async def erased_users(self, users: Sequence[str]) -> dict[str, datetime]:
        """When users were erased, for those of `users` who were; what came before must not come back.

        Raises UnavailableError.
        """
        query = "SELECT user_id, erased_at FROM erased_users WHERE user_id = ANY($1)"
        async with self.connection() as connection:
            rows = await connection.fetch(query, list(users))
        return {row["user_id"]: row["erased_at"] for row in rows}

    async def _connect(self) -> asyncpg.Pool:
        settings = self._settings
        return await asyncpg.create_pool(
            host=settings.database_host,
            port=settings.database_port,
            database=settings.database_name,
            user=settings.database_user,
            password=settings.database_password.get_secret_value(),
            min_size=1,
            max_size=settings.database_pool_size,
            ssl=tls(settings),
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            # Compiling a plan over a month's chunks takes half a second, running it a few milliseconds.
            server_settings={"application_name": self._application, "jit": "off"},
        )

    async def _close(self, pool: asyncpg.Pool) -> None:
        try:
            await pool.close()
        finally:
            pool.terminate()


@contextmanager
def _open(connection: PoolConnectionProxy) -> Iterator[None]:
    """Raises UnavailableError for a connection that was closed before the block was done with it.

    asyncpg raises the same class when it is used wrongly, which is a defect.
    """
    try:
        yield
    except asyncpg.InterfaceError as error:
        if not connection.is_closed():
            raise
        raise UnavailableError("database", "the connection is closed") from error
