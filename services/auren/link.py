"""One client of one dependency, connected in the background: the service starts, listens and stops without it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from auren.background import Background, backoff_seconds
from auren.health import UnhealthyError
from auren.telemetry import logger

Client = TypeVar("Client")

CLOSE_TIMEOUT_SECONDS: Final = 5.0
RETRY_AFTER_SECONDS: Final = 5
"""What a caller is told to wait while a dependency is away."""

CLOSED: Final = 0
HALF_OPEN: Final = 1
OPEN: Final = 2
"""States of what stands between us and a dependency, as gauges show them."""

_log = logger(__name__)


class UnavailableError(Exception):
    """A dependency is away for now; the same call may work later. HTTP answers it with 503 and Retry-After."""

    def __init__(self, dependency: str, reason: str) -> None:
        """`dependency` as the health report names it; `reason` for people, without data of people."""
        super().__init__(f"{dependency}: {reason}")
        self.dependency = dependency
        self.reason = reason


def describe(error: BaseException) -> str:
    """A short reason of a failed connection: the type, and what the operating system says."""
    detail = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__


class Link(Generic[Client]):
    """Keeps one connected client. `start` returns at once; without a client, `client` raises UnavailableError."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[Client]],
        close: Callable[[Client], Awaitable[None]],
        errors: tuple[type[Exception], ...] = (),
    ) -> None:
        """`connect` makes a client or raises one of `errors`, OSError or TimeoutError; then it is tried again.

        Any other error is a defect: it is logged with its frames, and tried again as well.
        """
        self.name = name
        self._connect = connect
        self._close = close
        self._errors: tuple[type[Exception], ...] = (OSError, TimeoutError, *errors)
        self._client: Client | None = None
        self._reason = "not connected yet"
        self._connected = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task = Background(f"link-{name}", self._keep)
        self._closing: set[asyncio.Task[None]] = set()
        self._trying = False

    async def start(self) -> None:
        """Begin to connect in the background."""
        self._wanted.set()
        self._task.start()

    async def stop(self) -> None:
        """Close the client, within a bound also when its peer is gone."""
        await self._task.stop()
        if self._client is not None:
            self._retire(self._client)
            self._client = None
        self._connected.clear()
        self._reason = "stopped"
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=CLOSE_TIMEOUT_SECONDS)

    @property
    def client(self) -> Client:
        """The connected client. Raises UnavailableError."""
        if self._client is None:
            raise UnavailableError(self.name, self._reason)
        return self._client

    @property
    def connected(self) -> bool:
        """Whether there is a client."""
        return self._client is not None

    @property
    def state(self) -> int:
        """CLOSED while there is a client, HALF_OPEN while the one attempt to connect is under way, else OPEN."""
        if self._client is not None:
            return CLOSED
        return HALF_OPEN if self._trying else OPEN

    async def wait(self) -> Client:
        """The client, as soon as there is one."""
        while self._client is None:
            await self._connected.wait()
        return self._client

    def lost(self, client: Client, reason: str) -> None:
        """Drop `client`, which does not work any more, and connect anew. Does nothing for one dropped before."""
        if client is not self._client:
            return
        self._client = None
        self._reason = reason
        self._connected.clear()
        _log.warning("connection lost", dependency=self.name, reason=reason)
        self._retire(client)
        self._wanted.set()

    async def check(self) -> None:
        """For the health report: raises UnhealthyError while there is no client."""
        if self._client is None:
            raise UnhealthyError(self._reason)

    def _retire(self, client: Client) -> None:
        task = asyncio.create_task(self._close_within_bound(client), name=f"close-{self.name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_within_bound(self, client: Client) -> None:
        with contextlib.suppress(*self._errors):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._close(client)

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            client = await self._connect_with_patience()
            self._wanted.clear()  # not before: after a defect the next attempt finds it set
            self._client = client
            self._connected.set()
            _log.info("connected", dependency=self.name)

    async def _connect_with_patience(self) -> Client:
        attempt = 0
        while True:
            attempt += 1
            self._trying = True
            try:
                return await self._connect()
            except self._errors as error:
                reason = describe(error)
                if reason != self._reason:
                    _log.warning("cannot connect, trying on", dependency=self.name, reason=reason)
                self._reason = reason
            except Exception as error:
                self._reason = type(error).__name__
                raise
            finally:
                self._trying = False
            await asyncio.sleep(backoff_seconds(attempt))
