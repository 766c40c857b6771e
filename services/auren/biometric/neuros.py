"""NEUROS as the biometric service asks it about a person's memory, with the caller's own token."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import httpx

from auren.http import ProblemError
from auren.link import UnavailableError, describe

TIMEOUT_SECONDS: Final = 10.0


class Neuros:
    """A client of NEUROS' HTTP API. Connections are made when they are used."""

    def __init__(self, url: str) -> None:
        """`url` is its address, without a path."""
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, follow_redirects=False)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def forget(self, user_id: str, authorization: str) -> int:
        """Have a person's sessions erased; how many there were. Raises UnavailableError, also when NEUROS refuses."""
        answer = await self._ask("DELETE", user_id, authorization)
        return int(answer.json()["sessions"])

    async def sessions(self, user_id: str, authorization: str) -> bytes:
        """What NEUROS has kept of a person, as its JSON. Raises UnavailableError, also when NEUROS refuses."""
        return (await self._ask("GET", user_id, authorization)).content

    async def analyze(self, question: Mapping[str, Any], authorization: str) -> dict[str, Any]:
        """NEUROS' answer to a message. Raises UnavailableError, and ProblemError for what NEUROS refuses."""
        answer = await self._request("POST", "/api/agents/neuros/analyze", authorization, question)
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnavailableError("neuros", f"it answered {answer.status_code}")
        if answer.status_code != HTTPStatus.OK:
            told = answer.json()
            detail = str(told.get("detail", ""))
            raise ProblemError(answer.status_code, "neuros-refuses", str(told.get("title", "NEUROS refuses")), detail)
        found: dict[str, Any] = answer.json()
        return found

    async def _request(
        self, method: str, path: str, authorization: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        try:
            return await self._client.request(method, path, headers={"Authorization": authorization}, json=body)
        except httpx.TransportError as error:
            raise UnavailableError("neuros", describe(error)) from error

    async def _ask(self, method: str, user_id: str, authorization: str) -> httpx.Response:
        answer = await self._request(method, f"/users/{user_id}/memory", authorization)
        if answer.status_code != HTTPStatus.OK:
            raise UnavailableError("neuros", f"it answered {answer.status_code}")
        return answer
