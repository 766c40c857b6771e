"""A vendor's token endpoint (RFC 6749, section 3.2): tokens for a code or for a refresh token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import msgspec

from auren.bridge.credentials import CLIENT_ID, CLIENT_SECRET, Credentials
from auren.bridge.tokens import Tokens
from auren.bridge.vendors import NotAllowedError, RetryLaterError, UpstreamFailedError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.exchange import RETRY_SECONDS, Answer, exchange, wait_seconds

MOST_BYTES: Final = 64 * 1024
"""Of an answer; tokens are a few KiB at most."""

OURS_SECONDS: Final = 300.0
"""To wait when our own credentials are missing or refused: somebody has to change a Secret."""

ANSWER_SECONDS: Final = 15.0
"""For the vendor's answer; other replicas wait for the lock of a refresh for 20 s (tokens.LOCK_TIMEOUT_SECONDS)."""

_KNOWN_ERRORS: Final = frozenset(
    {"invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""RFC 6749, section 5.2, without invalid_grant: what is wrong with us, not with the person's grant."""


class _Grant(msgspec.Struct):
    access_token: str
    refresh_token: str | None = None
    expires_in: float | None = None
    scope: str | None = None


class _Fault(msgspec.Struct):
    error: str = ""


class TokenEndpoint:
    """The endpoint of one vendor; client id and secret go in the form, which Oura and WHOOP both document."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        client: httpx.AsyncClient,
        breaker: Breaker,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`client` as exchange.http_client makes it; `breaker` of this address."""
        self._url = url
        self._credentials = credentials
        self._client = client
        self._breaker = breaker
        self._now = now

    async def ask(self, form: Mapping[str, str], *, scopes: tuple[str, ...], refresh: str | None = None) -> Tokens:
        """Tokens for `form`, which holds all but our credentials.

        `scopes` and `refresh` stand where the answer says nothing of them. Raises NotAllowedError when the vendor
        does not accept the code or the refresh token (any more), and RetryLaterError.
        """
        request = self._client.build_request("POST", self._url, data={**form, **self._ours()})
        with self._breaker.attempt():
            asked_at = self._now()
            answer = await exchange(self._client, request, MOST_BYTES, ANSWER_SECONDS)
            if answer.status == 200:
                return _tokens(_grant(answer), asked_at, scopes, refresh)
        raise self._refusal(answer, form["grant_type"].replace("_", " "))

    def _ours(self) -> dict[str, str]:
        client_id, secret = self._credentials.get(CLIENT_ID), self._credentials.get(CLIENT_SECRET)
        if client_id is None or secret is None:
            raise RetryLaterError(OURS_SECONDS, "no client credentials")
        return {"client_id": client_id.decode(), "client_secret": secret.decode()}

    def _refusal(self, answer: Answer, shown: str) -> NotAllowedError | RetryLaterError:
        if answer.status == 429:
            return RetryLaterError(wait_seconds(answer.headers, RETRY_SECONDS, self._now()), "the vendor's rate limit")
        fault = _fault(answer)
        if fault == "invalid_grant":
            return NotAllowedError(f"the vendor does not accept the {shown}", connection_broken=True)
        known = f" ({fault})" if fault in _KNOWN_ERRORS else ""
        return RetryLaterError(OURS_SECONDS, f"the token endpoint answered {answer.status}{known}")


def _grant(answer: Answer) -> _Grant:
    try:
        grant = msgspec.json.decode(answer.body, type=_Grant)
    except (msgspec.DecodeError, UnicodeDecodeError):
        grant = None
    if grant is None or not grant.access_token:
        raise UpstreamFailedError(RETRY_SECONDS, "the token endpoint answered without a token")
    return grant


def _fault(answer: Answer) -> str:
    try:
        return msgspec.json.decode(answer.body, type=_Fault).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _tokens(grant: _Grant, asked_at: datetime, scopes: tuple[str, ...], refresh: str | None) -> Tokens:
    return Tokens(
        access=grant.access_token,
        refresh=grant.refresh_token or refresh,
        expires_at=None if grant.expires_in is None else asked_at + timedelta(seconds=grant.expires_in),
        scopes=scopes if grant.scope is None else tuple(grant.scope.split()),
        refreshed_at=asked_at,
    )
