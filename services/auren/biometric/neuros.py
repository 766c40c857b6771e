"""NEUROS as the biometric service asks it, with the caller's own token: about a message, and a person's memory."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import httpx

from auren.auth import ForbiddenError, TooManyError, UnauthorizedError
from auren.http import ProblemError
from auren.link import RETRY_AFTER_SECONDS, UnavailableError, describe

TIMEOUT_SECONDS: Final = 10.0
REPLY_SECONDS: Final = 330.0
"""As long as NEUROS may give its language model (spec.neuros.llm.timeoutSeconds, at most 300), and a little."""

STORES_SECONDS: Final = 120.0
"""To look into each store of NEUROS, or to empty them."""


class Neuros:
    """A client of NEUROS' HTTP API. Connections are made when they are used."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`url` is its address, without a path; `transport` None is the network."""
        self._client = httpx.AsyncClient(
            base_url=url, timeout=TIMEOUT_SECONDS, follow_redirects=False, transport=transport
        )

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
        """NEUROS' answer to a message.

        Raises UnauthorizedError, ForbiddenError and TooManyError as NEUROS found the token, ProblemError for a question
        that is not valid, UnavailableError for all else that is no answer.
        """
        answer = await self._request("POST", "/api/agents/neuros/analyze", authorization, REPLY_SECONDS, question)
        if answer.status_code != HTTPStatus.OK:
            raise _refusal(answer)
        found = _object(answer)
        if not isinstance(found.get("response"), str):
            raise UnavailableError("neuros", "its answer holds no response")
        return found

    async def _request(
        self, method: str, path: str, authorization: str, seconds: float, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Within `seconds` for the answer; TIMEOUT_SECONDS to connect and to send."""
        headers, patience = {"Authorization": authorization}, httpx.Timeout(TIMEOUT_SECONDS, read=seconds)
        try:
            return await self._client.request(method, path, headers=headers, json=body, timeout=patience)
        except httpx.RequestError as error:
            raise UnavailableError("neuros", describe(error)) from error

    async def _ask(self, method: str, user_id: str, authorization: str) -> httpx.Response:
        answer = await self._request(method, f"/users/{user_id}/memory", authorization, STORES_SECONDS)
        if answer.status_code != HTTPStatus.OK:
            raise UnavailableError("neuros", f"it answered {answer.status_code}")
        return answer


def _refusal(answer: httpx.Response) -> Exception:
    """The error that an answer other than 200 stands for."""
    match answer.status_code:
        case HTTPStatus.UNAUTHORIZED:
            return UnauthorizedError("NEUROS does not take the token")
        case HTTPStatus.FORBIDDEN:
            return ForbiddenError("NEUROS does not allow this with the token")
        case HTTPStatus.TOO_MANY_REQUESTS:
            wait = answer.headers.get("retry-after", "")
            return TooManyError(max(1, int(wait)) if wait.isdecimal() else RETRY_AFTER_SECONDS)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            told = _object(answer)
            detail = str(told.get("detail", ""))
            return ProblemError(422, "neuros-refuses", str(told.get("title", "NEUROS refuses")), detail)
        case status:
            return UnavailableError("neuros", f"it answered {status}")


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The body. Raises UnavailableError for one that is no JSON object: then it is not NEUROS that answers."""
    try:
        found = answer.json()
    except ValueError as error:
        raise UnavailableError("neuros", "its answer is no JSON") from error
    if not isinstance(found, dict):
        raise UnavailableError("neuros", "its answer is no JSON object")
    return found
