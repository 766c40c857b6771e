"""A vendor in this process: Oura's and WHOOP's documents by id, their token endpoint and limits, faults on demand.

It is an ASGI app, so a test may call it through httpx.ASGITransport or let uvicorn serve it:

    double = VendorDouble(rotate=True)
    access, refresh = double.connect("anna", scopes={"read:sleep"})
    double.documents["anna", "/v2/activity/sleep/5f1c"] = {"id": "5f1c", "cycle_id": 7}
    double.faults.append(Fault(503))

It holds callers to the vendors' rules: bearer tokens that end, a scope for each route, refresh tokens that work once
when `rotate` is set, and a limit on requests in a row.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.unit.services.vendor_lists import Lists, Subscriptions
from tests.unit.services.vendor_logins import Logins

CLIENT_ID: Final = "client-of-the-tests"
CLIENT_SECRET: Final = "secret-of-the-tests"

SCOPES: Final = {
    "/v2/activity/sleep/": "read:sleep",
    "/v2/activity/workout/": "read:workout",
    "/v2/cycle/": "read:recovery",
    "/v2/user/profile/": "read:profile",
    "/v2/usercollection/personal_info/": "personal",
    "/v2/usercollection/workout/": "workout",
    "/v2/usercollection/session/": "session",
    "/v2/usercollection/tag/": "tag",
    "/v2/usercollection/enhanced_tag/": "tag",
    "/v2/usercollection/daily_spo2/": "spo2Daily",
    "/v2/usercollection/heartrate/": "heartrate",
    "/v2/usercollection/": "daily",
}
"""The scope that a route wants, by the longest beginning of its path."""

ALL_SCOPES: Final = frozenset(SCOPES.values())


@dataclass(frozen=True)
class Fault:
    """An answer instead of the right one. `path`: only for paths that begin with it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    path: str = "/"


@dataclass
class Grant:
    """What one person has allowed."""

    person: str
    scopes: frozenset[str]
    access: str
    refresh: str


@dataclass
class VendorDouble:
    """`rotate`: a refresh token works once. `remaining`: requests until 429; None for no limit."""

    rotate: bool = True
    expires_in: int | None = 3600
    remaining: int | None = None
    retry_after: int | None = 7
    documents: dict[tuple[str, str], Any] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    requests: list[tuple[str, str]] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    logins: Logins = field(default_factory=Logins)
    lists: Lists = field(default_factory=Lists)
    subscriptions: Subscriptions = field(default_factory=lambda: Subscriptions(CLIENT_ID, CLIENT_SECRET))

    def connect(self, person: str, scopes: frozenset[str] | set[str] = ALL_SCOPES) -> tuple[str, str]:
        """(access token, refresh token) of a person who has allowed `scopes`."""
        grant = Grant(person, frozenset(scopes), f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}")
        self.grants.append(grant)
        return grant.access, grant.refresh

    def end_access(self, person: str) -> None:
        """The access token of `person` has ended; the refresh token still works."""
        for grant in self.grants:
            if grant.person == person:
                grant.access = "ended"

    def revoke(self, person: str) -> None:
        """The person has disconnected at the vendor."""
        self.grants = [grant for grant in self.grants if grant.person != person]

    def asked(self) -> Counter[str]:
        """How often each path was asked."""
        return Counter(path for _, path in self.requests)

    @property
    def app(self) -> Starlette:
        """The ASGI app."""
        return Starlette(
            routes=[
                Route("/oauth/token", self._token, methods=["POST"]),
                Route(
                    f"{Subscriptions.PATH}{{rest:path}}", self._subscription, methods=["GET", "POST", "PUT", "DELETE"]
                ),
                *self.logins.routes(self),
                Route("/{path:path}", self._document, methods=["GET"]),
            ]
        )

    def fault(self, path: str) -> Response | None:
        """The next of `faults`, if it is meant for `path`."""
        if not self.faults or not path.startswith(self.faults[0].path):
            return None
        fault = self.faults.popleft()
        headers = {"content-type": "application/json", **fault.headers}
        return Response(fault.body, status_code=fault.status, headers=headers)

    def _limited(self) -> Response | None:
        if self.remaining is None:
            return None
        self.remaining -= 1
        if self.remaining >= 0:
            return None
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse({"detail": "Rate limit exceeded"}, 429, headers=headers)

    async def _document(self, request: Request) -> Response:
        path = request.url.path
        self.requests.append(("GET", path))
        self.headers.append(dict(request.headers))
        found = self.fault(path) or self._limited()
        return found or self._found(path, request.headers.get("authorization", ""), dict(request.query_params))

    async def _subscription(self, request: Request) -> Response:
        self.requests.append((request.method, request.url.path))
        return self.fault(request.url.path) or self._limited() or await self.subscriptions.answer(request)

    def _found(self, path: str, authorization: str, query: Mapping[str, str]) -> Response:
        grant = next((grant for grant in self.grants if authorization == f"Bearer {grant.access}"), None)
        if grant is None:
            return JSONResponse({"detail": "Unauthorized"}, 401)
        wanted = next((scope for beginning, scope in SCOPES.items() if f"{path}/".startswith(beginning)), None)
        if wanted is not None and wanted not in grant.scopes:
            return JSONResponse({"detail": "Forbidden"}, 403)
        if path in Lists.PATHS:
            return self.lists.answer(grant.person, path, query)
        document = self.documents.get((grant.person, path))
        return JSONResponse({"detail": "Not Found"}, 404) if document is None else JSONResponse(document)

    async def _token(self, request: Request) -> Response:
        self.requests.append(("POST", request.url.path))
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.forms.append(form)
        return self.fault(request.url.path) or self._limited() or self._refreshed(form)

    def _refreshed(self, form: Mapping[str, str]) -> Response:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") == "authorization_code":
            return self.logins.redeem(self, form)
        if form.get("grant_type") != "refresh_token":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        grant = next((grant for grant in self.grants if grant.refresh == form.get("refresh_token")), None)
        if grant is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        grant.access = f"access-{secrets.token_hex(8)}"
        answer: dict[str, Any] = {"access_token": grant.access, "token_type": "bearer"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if self.rotate:
            grant.refresh = answer["refresh_token"] = f"refresh-{secrets.token_hex(8)}"
        return JSONResponse(answer | {"scope": " ".join(sorted(grant.scopes))})
