"""The doubles' part in connecting people: where they log in, codes for tokens, the end of a grant, Terra's widget.

    double.logins.person = "anna"                      # who sits at the browser
    back = browser.get(authorize_url).headers["location"]
    double.logins.revoked                              # whose grants were ended

A code works once, for the redirect address and the challenge that it was asked with (RFC 6749, 4.1.3; RFC 7636, 4.6).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from tests.unit.services.vendor_double import VendorDouble

DEV_ID: Final = "dev-of-the-tests"
API_KEY: Final = "api-key-of-the-tests"
WIDGET_PATH: Final = "/api/widget/session"
WIDGET_URL: Final = "https://widget.example.org/session/of-the-tests"


@dataclass(frozen=True)
class Code:
    """What the person has allowed, until it is exchanged."""

    person: str
    scopes: frozenset[str]
    redirect_uri: str
    challenge: str | None


@dataclass
class Logins:
    """`person`: who logs in next; None declines. `sessions`: what Terra's widget was asked for.

    `meanwhile` happens while a code is exchanged, in the thread that serves.
    """

    person: str | None = None
    codes: dict[str, Code] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    terras: set[str] = field(default_factory=set)
    meanwhile: Callable[[], None] = lambda: None

    def routes(self, double: VendorDouble) -> list[Route]:
        """Of the double's app, before its documents."""

        async def authorize(request: Request) -> Response:
            return self._authorize(request.query_params)

        async def revoke(request: Request) -> Response:
            double.requests.append((request.method, request.url.path))
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            return double.fault(request.url.path) or self._revoke(
                double, request.query_params.get("access_token", bearer)
            )

        async def session(request: Request) -> Response:
            double.requests.append((request.method, request.url.path))
            return double.fault(request.url.path) or self._session(request.headers, await request.json())

        async def deauthenticate(request: Request) -> Response:
            double.requests.append((request.method, request.url.path))
            return double.fault(request.url.path) or self._deauthenticate(
                request.headers, request.query_params["user_id"]
            )

        return [
            Route("/oauth/authorize", authorize),
            Route("/oauth/revoke", revoke, methods=["POST"]),
            Route("/v2/user/access", revoke, methods=["DELETE"]),
            Route(WIDGET_PATH, session, methods=["POST"]),
            Route("/v2/auth/deauthenticateUser", deauthenticate, methods=["DELETE"]),
        ]

    def redeem(self, double: VendorDouble, form: Mapping[str, str]) -> Response:
        """The token endpoint's answer to a code."""
        self.meanwhile()
        code = self.codes.pop(form.get("code", ""), None)
        if code is None or code.redirect_uri != form.get("redirect_uri") or not _verified(code, form):
            return JSONResponse({"error": "invalid_grant"}, 400)
        access, refresh = double.connect(code.person, code.scopes)
        answer: dict[str, Any] = {"access_token": access, "refresh_token": refresh, "token_type": "bearer"}
        if double.expires_in is not None:
            answer["expires_in"] = double.expires_in
        return JSONResponse(answer | {"scope": " ".join(sorted(code.scopes))})

    def _authorize(self, query: Mapping[str, str]) -> Response:
        challenge = query.get("code_challenge")
        assert query["response_type"] == "code"
        assert challenge is None or query["code_challenge_method"] == "S256"
        back = {"state": query["state"]}
        if self.person is None:
            back |= {"error": "access_denied", "error_description": "The person has declined"}
        else:
            code = back["code"] = f"code-{secrets.token_hex(8)}"
            self.codes[code] = Code(self.person, frozenset(query["scope"].split()), query["redirect_uri"], challenge)
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(back)}", 302)

    def _revoke(self, double: VendorDouble, access: str) -> Response:
        grant = next((grant for grant in double.grants if grant.access == access), None)
        if grant is None:
            return JSONResponse({"detail": "Unauthorized"}, 401)
        self.revoked.append(grant.person)
        double.grants.remove(grant)
        return Response(status_code=204)

    def _session(self, headers: Mapping[str, str], wanted: dict[str, Any]) -> Response:
        if not _ours(headers):
            return JSONResponse({"status": "error"}, 401)
        self.sessions.append(wanted)
        return JSONResponse({"url": WIDGET_URL, "session_id": "of-the-tests"}, 201)

    def _deauthenticate(self, headers: Mapping[str, str], terras_id: str) -> Response:
        if not _ours(headers):
            return JSONResponse({"status": "error"}, 401)
        if terras_id not in self.terras:
            return JSONResponse({"status": "error"}, 404)
        self.terras.remove(terras_id)
        self.revoked.append(terras_id)
        return JSONResponse({"status": "success"})


def _ours(headers: Mapping[str, str]) -> bool:
    return (headers.get("dev-id"), headers.get("x-api-key")) == (DEV_ID, API_KEY)


def _verified(code: Code, form: Mapping[str, str]) -> bool:
    verifier = form.get("code_verifier")
    if code.challenge is None or verifier is None:
        return code.challenge is None and verifier is None
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode() == code.challenge
