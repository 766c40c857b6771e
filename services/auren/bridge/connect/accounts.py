"""The steps of connecting and disconnecting an account."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, Protocol

import httpx

from auren.bridge.connect.books import Begun, Ended, GoneError, Known
from auren.bridge.connect.logins import OAuth, logins, new_verifier
from auren.bridge.connect.widget import PROVIDER as TERRA
from auren.bridge.connect.widget import Widget
from auren.bridge.connections import InvalidIdError, TakenError
from auren.bridge.settings import ProviderSettings
from auren.bridge.tokens import Tokens
from auren.bridge.vendors import NotAllowedError, RetryLaterError, UpstreamFailedError, VendorError
from auren.bridge.vendors.breaker import Breakers
from auren.bridge.vendors.exchange import http_client
from auren.link import UnavailableError
from auren.telemetry import logger

PUBLIC_URL: Final = "AUREN_PUBLIC_URL"

LONGEST: Final = 4096
"""Characters of a state or a code; vendors' codes have some hundred."""

_log = logger(__name__)


class Outcome(Enum):
    """How it went for the person who comes back from the vendor."""

    CONNECTED = auto()
    AWAITED = auto()
    """Terra has let the person in; its webhook will say so."""
    DECLINED = auto()
    NOT_KNOWN = auto()
    """The state is not known, used, or too old."""
    REFUSED = auto()
    """The vendor does not take its own code: used, too old, made for somebody else."""
    SCOPE = auto()
    TAKEN = auto()
    GONE = auto()
    VENDOR_AWAY = auto()
    AWAY = auto()
    """We cannot just now."""


class UnknownProviderError(LookupError):
    """There is none of that name to connect with."""


class MissingError(Exception):
    """Settings or credentials are not there; `names` says which."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """`names` of variables and of keys in the provider's Secret."""
        super().__init__(", ".join(names))
        self.names = names


@dataclass(frozen=True, slots=True)
class Disconnected:
    """`ended` connections; `revoked` says whether the vendor has ended its side, None where there was nothing.

    `trouble` says why it has not.
    """

    ended: int
    revoked: bool | None
    trouble: tuple[str, ...] = ()


class Ledger(Protocol):
    """What is needed of books.Books."""

    async def begin(self, state: str, provider: str, user_id: str, verifier: str | None, at: datetime) -> None: ...

    async def take(self, state: str, provider: str, at: datetime) -> Begun | None: ...

    async def save(
        self, provider: str, provider_user_id: str, begun: Begun, tokens: Tokens, at: datetime
    ) -> Tokens | None: ...

    async def end(self, provider: str, user_id: str, at: datetime) -> Ended: ...

    async def held(self, provider: str, user_id: str) -> Ended: ...

    async def of(self, user_id: str) -> list[Known]: ...


class Accounts:
    """Connects people with every provider that has something to connect with. One for the process."""

    def __init__(
        self,
        settings: ProviderSettings,
        books: Ledger,
        breakers: Breakers,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`transport` is for tests. Nothing is connected before it is used."""
        self._client = http_client(transport)
        self._public_url = settings.public_url.rstrip("/")
        self._books = books
        self._now = now
        self._oauth: Mapping[str, OAuth] = {
            login.provider: OAuth(login, settings.credentials(login.provider), self._client, breakers, now)
            for login in logins(settings)
        }
        self._widget = Widget(settings, settings.credentials(TERRA), self._client, breakers)

    async def start(self) -> None:
        """There is nothing to begin: connections are made when they are used."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def begin(self, provider: str, user_id: str) -> str:
        """The address at which the person allows it.

        Raises UnknownProviderError, MissingError, VendorError and UnavailableError.
        """
        self._require(provider)
        if provider == TERRA:
            _complete(self._widget.missing())
            return await self._widget.address(user_id, self._back(TERRA) if self._public_url else None)
        oauth = self._oauth[provider]
        _complete((*(() if self._public_url else (PUBLIC_URL,)), *oauth.missing()))
        state, verifier = secrets.token_urlsafe(32), new_verifier() if oauth.login.pkce else None
        await self._books.begin(state, provider, user_id, verifier, self._now())
        return oauth.address(state, self._back(provider), verifier)

    async def finish(self, provider: str, state: str, code: str, error: str) -> Outcome:
        """The person comes back from the vendor, with a code or an error. Raises UnknownProviderError."""
        self._require(provider)
        if provider == TERRA:
            return Outcome.DECLINED if error else Outcome.AWAITED
        try:
            begun = None if len(state) > LONGEST else await self._books.take(state, provider, self._now())
            if begun is None:
                return Outcome.NOT_KNOWN
            if error or not code:
                return Outcome.DECLINED
            if len(code) > LONGEST:
                return Outcome.REFUSED
            return await self._connect(self._oauth[provider], begun, code)
        except UnavailableError as unavailable:
            _log.warning("nobody can connect", provider=provider, dependency=unavailable.dependency)
            return Outcome.AWAY

    async def end(self, provider: str, user_id: str) -> Disconnected:
        """Disconnect, here and at the vendor. Raises UnknownProviderError and UnavailableError."""
        self._require(provider)
        ended = await self._books.end(provider, user_id, self._now())
        at_vendor = bool(ended.provider_user_ids) if provider == TERRA else ended.had_tokens
        trouble = await self._trouble(provider, ended)
        return Disconnected(len(ended.provider_user_ids), not trouble if at_vendor else None, trouble)

    async def end_there(self, provider: str, user_id: str) -> tuple[str, ...]:
        """Disconnect at the vendor alone; why that has failed, empty once it has not. Raises as `end`."""
        self._require(provider)
        return await self._trouble(provider, await self._books.held(provider, user_id))

    async def end_here(self, provider: str, user_id: str) -> None:
        """Disconnect without a word to the vendor. Raises as `end`."""
        self._require(provider)
        await self._books.end(provider, user_id, self._now())

    async def of(self, user_id: str) -> list[Known]:
        """The connections of a person. Raises UnavailableError."""
        return await self._books.of(user_id)

    async def _connect(self, oauth: OAuth, begun: Begun, code: str) -> Outcome:
        try:
            tokens = await oauth.exchange(code, self._back(oauth.login.provider), begun.verifier)
        except NotAllowedError:
            return Outcome.REFUSED
        except RetryLaterError as error:
            return _failed(oauth, error)
        try:
            owner = await oauth.owner(tokens)
            former = await self._books.save(oauth.login.provider, owner, begun, tokens, self._now())
        except GoneError as gone:
            await (oauth.revoke(tokens) if gone.unused else self._drop(oauth, tokens))
            return Outcome.GONE
        except UnavailableError:
            raise  # it may be saved all the same: what is revoked now might be what is used later
        except (VendorError, TakenError, InvalidIdError) as error:
            await self._drop(oauth, tokens)
            return _failed(oauth, error)
        if former is not None:
            await oauth.revoke(former)
        return Outcome.CONNECTED

    async def _drop(self, oauth: OAuth, tokens: Tokens) -> None:
        """End a grant that is not used, unless that ended others of the same account with it: they may be in use."""
        if oauth.login.revokes == "token":
            await oauth.revoke(tokens)

    async def _trouble(self, provider: str, ended: Ended) -> tuple[str, ...]:
        """Why the vendor has not ended its side; empty once it has, and where it has nothing."""
        if provider == TERRA:
            found = [await self._widget.revoke(terras_id) for terras_id in ended.provider_user_ids]
        elif not ended.had_tokens:
            found = []
        elif ended.tokens is None:
            found = ["the stored tokens do not open"]
        else:
            found = [await self._oauth[provider].revoke(ended.tokens)]
        return tuple(dict.fromkeys(why for why in found if why is not None))

    def _require(self, provider: str) -> None:
        if provider != TERRA and provider not in self._oauth:
            raise UnknownProviderError

    def _back(self, provider: str) -> str:
        """The address to which a vendor sends the browser back: the same in both requests, and at the vendor's."""
        return f"{self._public_url}/connect/{provider}/callback"


def _complete(missing: tuple[str, ...]) -> None:
    if missing:
        raise MissingError(missing)


def _failed(oauth: OAuth, error: Exception) -> Outcome:
    match error:
        case TakenError():
            return Outcome.TAKEN
        case NotAllowedError():
            return Outcome.SCOPE
    reason = error.reason if isinstance(error, VendorError) else "the vendor's id of a person is none"
    _log.warning("a login failed", provider=oauth.login.provider, reason=reason)
    ours = isinstance(error, RetryLaterError) and not isinstance(error, UpstreamFailedError)
    return Outcome.AWAY if ours else Outcome.VENDOR_AWAY
