"""Whether Chroma is there. NEUROS keeps no memories in it yet; the stack runs it for them, so its absence is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from auren.health import UnhealthyError
from auren.settings import ChromaSettings

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS: Final = 1.5


class Chroma:
    """The server's heartbeat."""

    def __init__(self, settings: ChromaSettings) -> None:
        """Nothing is connected before the first check."""
        self._url = f"http://{settings.chroma_host}:{settings.chroma_port}/api/v2/heartbeat"
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None:
        """Nothing to do: the first check connects."""

    async def stop(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()

    async def check(self) -> None:
        """For the health report: the server answers its heartbeat."""
        import httpx

        if self._client is None:
            # Plain HTTP inside the cluster: no certificates to load.
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, verify=False)
        try:
            answer = await self._client.get(self._url)
        except httpx.HTTPError as error:
            raise UnhealthyError(type(error).__name__) from error
        if answer.status_code != 200 or "nanosecond heartbeat" not in answer.json():
            raise UnhealthyError(f"the heartbeat answered {answer.status_code}")
