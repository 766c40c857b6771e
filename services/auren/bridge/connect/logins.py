"""OAuth at Oura and WHOOP: what differs is data, the steps are the same (RFC 6749, section 4.1; PKCE: RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode

import httpx
import msgspec

from auren.bridge.credentials import CLIENT_ID, CLIENT_SECRET, Credentials
from auren.bridge.settings import ProviderSettings
from auren.bridge.tokens import Tokens
from auren.bridge.vendors import NotAllowedError, RetryLaterError, UnusableError, VendorError
from auren.bridge.vendors.breaker import Breaker, Breakers
from auren.bridge.vendors.exchange import RETRY_SECONDS, Answer, exchange, wait_seconds
from auren.bridge.vendors.token_endpoint import TokenEndpoint
from auren.telemetry import logger

ASK_SECONDS: Final = 10.0
"""For who somebody is, and for a revocation: a person waits for both."""

MOST_BYTES: Final = 64 * 1024
"""Of an answer about one person."""

OURA_SCOPES: Final = (
    "personal",
    "daily",
    "heartrate",
    "workout",
    "tag",
    "session",
    "spo2",
    "stress",
    "heart_health",
    "ring_configuration",
)
"""`personal` for who it is, `heart_health` for the maximal oxygen uptake, the rest for the other types that have
webhooks. The vendor's OpenAPI still calls one of them `spo2Daily` and lacks the newer ones; its 401 names them so."""

WHOOP_SCOPES: Final = ("offline", "read:profile", "read:recovery", "read:cycles", "read:sleep", "read:workout")
"""`offline` for a refresh token, `read:profile` for who it is (the vendor's OpenAPI, securitySchemes)."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """How one vendor does it.

    `pkce`: whether the vendor checks a challenge (S256). Neither documents it; WHOOP's endpoints are Ory Hydra's,
    which checks what it is sent. `whose` is the address that says who the token's owner is, in the member `id_member`.
    `revoke_by`: where the token stands. `revokes`: whether that ends this token or all that the person has allowed.
    """

    provider: str
    authorize_url: str
    token_url: str
    scopes: tuple[str, ...]
    pkce: bool
    whose: str
    id_member: str
    revoke_method: str
    revoke_url: str
    revoke_by: Literal["query", "bearer"]
    revokes: Literal["token", "account"]


def logins(settings: ProviderSettings) -> tuple[Login, ...]:
    """Oura's as in cloud.ouraring.com/docs/authentication; WHOOP's as in developer.whoop.com/docs/developing/oauth."""
    oura_api, whoop_api = settings.oura_api_url.rstrip("/"), settings.whoop_api_url.rstrip("/")
    return (
        Login(
            provider="oura",
            authorize_url=settings.oura_authorize_url,
            token_url=settings.oura_token_url,
            scopes=OURA_SCOPES,
            pkce=False,
            whose=f"{oura_api}/v2/usercollection/personal_info",
            id_member="id",
            revoke_method="POST",
            revoke_url=settings.oura_revoke_url,
            revoke_by="query",
            revokes="token",
        ),
        Login(
            provider="whoop",
            authorize_url=settings.whoop_authorize_url,
            token_url=settings.whoop_token_url,
            scopes=WHOOP_SCOPES,
            pkce=True,
            whose=f"{whoop_api}/v2/user/profile/basic",
            id_member="user_id",
            revoke_method="DELETE",
            revoke_url=f"{whoop_api}/v2/user/access",
            revoke_by="bearer",
            revokes="account",
        ),
    )


def new_verifier() -> str:
    """A code verifier: 43 characters of 256 random bits, as RFC 7636, section 4.1 recommends."""
    return secrets.token_urlsafe(32)


def challenge(verifier: str) -> str:
    """S256 of RFC 7636, section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class OAuth:
    """One vendor, asked for one person at a time."""

    def __init__(
        self,
        login: Login,
        credentials: Credentials,
        client: httpx.AsyncClient,
        breakers: Breakers,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`client` as exchange.http_client makes it."""
        self.login = login
        self._credentials = credentials
        self._client = client
        self._api: Breaker = breakers.of(login.provider)
        self._endpoint = TokenEndpoint(
            login.token_url, credentials, client, breakers.of(f"{login.provider}-token"), now
        )

    def missing(self) -> tuple[str, ...]:
        """The credentials that are not there."""
        return absent(self._credentials, (CLIENT_ID, CLIENT_SECRET))

    def address(self, state: str, redirect_uri: str, verifier: str | None) -> str:
        """Where the person's browser goes. The client's id is there (`missing`)."""
        query = {
            "response_type": "code",
            "client_id": (self._credentials.get(CLIENT_ID) or b"").decode(),
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.login.scopes),
            "state": state,
        }
        if verifier is not None:
            query |= {"code_challenge": challenge(verifier), "code_challenge_method": "S256"}
        return f"{self.login.authorize_url}{'&' if '?' in self.login.authorize_url else '?'}{urlencode(query)}"

    async def exchange(self, code: str, redirect_uri: str, verifier: str | None) -> Tokens:
        """The tokens for a code. Raises NotAllowedError for one that the vendor does not accept, RetryLaterError."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        if verifier is not None:
            form["code_verifier"] = verifier
        return await self._endpoint.ask(form, scopes=self.login.scopes)

    async def owner(self, tokens: Tokens) -> str:
        """The vendor's id of the person. Raises NotAllowedError without the scope for it, and other VendorErrors."""
        headers = {"Authorization": f"Bearer {tokens.access}", "Accept": "application/json"}
        answer = await self._ask(self._client.build_request("GET", self.login.whose, headers=headers))
        if answer.status in (401, 403):
            raise NotAllowedError("a scope is missing to ask who the person is")
        if answer.status != 200:
            raise UnusableError(f"the vendor answered {answer.status} to who the person is")
        return _id(answer.body, self.login.id_member)

    async def revoke(self, tokens: Tokens) -> str | None:
        """End a grant at the vendor, with a fresh access token if need be; why it is not ended, None once it is."""
        try:
            status = await self._revoke(tokens.access)
            if status == 401 and tokens.refresh is not None:
                form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
                fresh = await self._endpoint.ask(form, scopes=tokens.scopes)
                status = await self._revoke(fresh.access)
        except VendorError as error:
            return self._not_revoked(error.reason)
        return None if 200 <= status < 300 else self._not_revoked(f"the vendor answered {status}")

    def _not_revoked(self, reason: str) -> str:
        _log.warning("a grant was not revoked at the vendor", provider=self.login.provider, reason=reason)
        return reason

    async def _revoke(self, access: str) -> int:
        login = self.login
        by_query = login.revoke_by == "query"
        request = self._client.build_request(
            login.revoke_method,
            login.revoke_url,
            params={"access_token": access} if by_query else None,
            headers=None if by_query else {"Authorization": f"Bearer {access}"},
        )
        return (await self._ask(request)).status

    async def _ask(self, request: httpx.Request) -> Answer:
        return await ask(self._client, self._api, request)


def absent(credentials: Credentials, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` that are not there."""
    return tuple(name for name in names if credentials.get(name) is None)


async def ask(client: httpx.AsyncClient, breaker: Breaker, request: httpx.Request) -> Answer:
    """Any answer but a 429. Raises RetryLaterError, and UnusableError for one that is too large."""
    with breaker.attempt():
        answer = await exchange(client, request, MOST_BYTES, ASK_SECONDS)
    if answer.status == 429:
        raise RetryLaterError(wait_seconds(answer.headers, RETRY_SECONDS, datetime.now(UTC)), "the vendor's rate limit")
    return answer


def _id(body: bytes, member: str) -> str:
    """WHOOP's is a number, Oura's a text."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    value = found.get(member) if isinstance(found, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise UnusableError("the vendor does not say who the person is")
    return str(value)
