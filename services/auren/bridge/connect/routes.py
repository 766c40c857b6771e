"""`/connect`: what apps and browsers ask."""

from datetime import datetime
from math import ceil
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, Response

from auren.auth import SCOPE_CONNECT_PROVIDERS, Principal, Verifier
from auren.bridge.connect.accounts import Accounts, MissingError, UnknownProviderError
from auren.bridge.connect.books import Known
from auren.bridge.connect.pages import HEADERS, NO_PROVIDER, PAGES, Page, html
from auren.bridge.decoders import healthkit
from auren.bridge.vendors import RetryLaterError, VendorError
from auren.http import ProblemError, authenticated
from auren.link import RETRY_AFTER_SECONDS
from auren.openapi import RETRY_AFTER, Answers, problem

Provider = Annotated[str, Path(description="oura, whoop or terra", examples=["whoop"])]


class ConnectOut(BaseModel):
    """Where the person's browser goes next. The address works once, for ten minutes."""

    url: str = Field(examples=["https://api.prod.whoop.com/oauth/oauth2/auth?response_type=code&client_id=…&state=…"])


class ConnectionOut(BaseModel):
    """One connected account. `scopes` are what the person allowed; Terra keeps tokens itself, so there are none."""

    provider: str = Field(examples=["whoop"])
    connected_at: datetime = Field(examples=["2026-03-01T12:00:00Z"])
    tokens: bool = Field(description="whether there are tokens to fetch data with", examples=[True])
    scopes: list[str] = Field(examples=[["offline", "read:profile", "read:sleep"]])


class ConnectionsOut(BaseModel):
    """The connected accounts of a person."""

    connections: list[ConnectionOut]


class DisconnectedOut(BaseModel):
    """What was ended. `revoked` tells whether the vendor has confirmed the end on its side; null: nothing was there."""

    provider: str = Field(examples=["whoop"])
    ended: int = Field(description="connections that this ended", examples=[1])
    revoked: bool | None = Field(examples=[True])
    trouble: list[str] = Field(description="why the vendor has not confirmed it", examples=[[]])


UNKNOWN: Final = problem(404, "there is no such provider to connect with", "unknown-provider")
NOT_NOW: Final[Answers] = {
    **problem(502, "the vendor does not answer as it should", "vendor"),
    **problem(
        503,
        "the database or the vendor is away, or settings are missing",
        "unavailable",
        "not-configured",
        headers=RETRY_AFTER,
    ),
}


def _shown() -> Answers:
    """The callback's answers: pages, by status."""
    found: dict[int, list[str]] = {}
    for page in (*PAGES.values(), NO_PROVIDER):
        found.setdefault(page.status, []).append(page.text)
    return {
        status: {"description": " Or: ".join(texts), "content": {"text/html": {"schema": {"type": "string"}}}}
        for status, texts in sorted(found.items())
    }


def router(verifier: Verifier, accounts: Accounts) -> APIRouter:
    """The routes. All but the callback take a bearer token with `connect:providers`, and are about its user."""
    routes = APIRouter(tags=["connect"])
    person = authenticated(verifier, SCOPE_CONNECT_PROVIDERS)

    @routes.get("/connect")
    async def get_connections(caller: Annotated[Principal, Depends(person)]) -> ConnectionsOut:
        """The accounts that the person has connected."""
        return ConnectionsOut(connections=[_connection(known) for known in await accounts.of(caller.user_id)])

    @routes.get("/connect/{provider}", responses={**UNKNOWN, **NOT_NOW})
    async def connect(
        provider: Provider, response: Response, caller: Annotated[Principal, Depends(person)]
    ) -> ConnectOut:
        """Begin to connect an account: where to send the person's browser.

        Open the address in the browser of the person who asks for it; whoever logs in there is connected with them.
        What was begun before with the same provider ends.
        """
        response.headers["Cache-Control"] = "no-store"  # the address works once
        try:
            return ConnectOut(url=await accounts.begin(provider, caller.user_id))
        except UnknownProviderError:
            raise _unknown(provider) from None
        except MissingError as error:
            raise _missing(error) from None
        except VendorError as error:
            raise _vendor(error) from None

    @routes.get("/connect/{provider}/callback", response_class=HTMLResponse, responses=_shown())
    async def callback(
        provider: Provider,
        state: Annotated[str, Query(description="as it was given to the vendor")] = "",
        code: Annotated[str, Query(description="the vendor's, to be exchanged for tokens")] = "",
        error: Annotated[str, Query(description="the vendor's, instead of a code", examples=["access_denied"])] = "",
    ) -> HTMLResponse:
        """The vendor sends the person's browser here. No token is needed: the state names the person, once."""
        try:
            return _page(PAGES[await accounts.finish(provider, state, code, error)])
        except UnknownProviderError:
            return _page(NO_PROVIDER)

    @routes.delete("/connect/{provider}", responses=UNKNOWN)
    async def disconnect(provider: Provider, caller: Annotated[Principal, Depends(person)]) -> DisconnectedOut:
        """Disconnect the person's accounts of a provider, here and at the provider. May be repeated.

        Here they are ended when this answers, whether or not the provider could be told.
        """
        try:
            done = await accounts.end(provider, caller.user_id)
        except UnknownProviderError:
            raise _unknown(provider) from None
        return DisconnectedOut(provider=provider, ended=done.ended, revoked=done.revoked, trouble=list(done.trouble))

    return routes


def _connection(known: Known) -> ConnectionOut:
    return ConnectionOut(
        provider=known.provider, connected_at=known.connected_at, tokens=known.tokens, scopes=list(known.scopes)
    )


def _page(page: Page) -> HTMLResponse:
    return HTMLResponse(html(page), page.status, headers=dict(HEADERS))


def _unknown(provider: str) -> ProblemError:
    hint = (
        "phones push Apple Health's data with a token: there is nothing to connect"
        if provider == healthkit.PROVIDER
        else "oura, whoop or terra"
    )
    return ProblemError(404, "unknown-provider", "there is no such provider to connect with", hint)


def _missing(error: MissingError) -> ProblemError:
    names, retry = ", ".join(error.names), {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return ProblemError(503, "not-configured", "the provider is not configured", f"missing: {names}", retry)


def _vendor(error: VendorError) -> ProblemError:
    if isinstance(error, RetryLaterError):
        retry = {"Retry-After": str(ceil(error.seconds))}
        return ProblemError(503, "unavailable", "the provider cannot be asked now", error.reason, retry)
    return ProblemError(502, "vendor", "the provider does not answer as it should", error.reason)
