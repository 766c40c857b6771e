"""Terra's widget, in which a person chooses a wearable and logs in at its vendor.

Terra tells of the new connection by its webhook (`auth`), which names our user: nothing is to be exchanged here.
Sessions: docs.tryterra.co/unified-api/implementation-terra-widget; the older `/v2/auth/generateWidgetSession` takes the
same fields, and refuses accounts made after 3 September 2026. Disconnecting: tryterra/openapi, v5.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from auren.bridge.connect.logins import absent, ask
from auren.bridge.credentials import API_KEY, DEV_ID, Credentials
from auren.bridge.settings import ProviderSettings
from auren.bridge.vendors import UnusableError, VendorError
from auren.bridge.vendors.breaker import Breakers
from auren.telemetry import logger

PROVIDER: Final = "terra"

_log = logger(__name__)


class _Session(msgspec.Struct):
    url: str


class Widget:
    """Terra, for all people."""

    def __init__(
        self, settings: ProviderSettings, credentials: Credentials, client: httpx.AsyncClient, breakers: Breakers
    ) -> None:
        """`client` as exchange.http_client makes it."""
        self._session_url = settings.terra_widget_url
        self._api_url = settings.terra_api_url.rstrip("/")
        self._credentials = credentials
        self._client = client
        self._sessions = breakers.of("terra-widget")
        self._api = breakers.of(PROVIDER)

    def missing(self) -> tuple[str, ...]:
        """The credentials that are not there."""
        return absent(self._credentials, (DEV_ID, API_KEY))

    async def address(self, user_id: str, back: str | None) -> str:
        """Where the person's browser goes; afterwards to `back`, if that is given. Raises VendorError."""
        wanted = {"reference_id": user_id, "language": "en"}
        if back is not None:
            wanted |= {"auth_success_redirect_url": back, "auth_failure_redirect_url": f"{back}?error=failed"}
        request = self._client.build_request("POST", self._session_url, json=wanted, headers=self._headers())
        answer = await ask(self._client, self._sessions, request)
        if answer.status not in (200, 201):
            raise UnusableError(f"Terra's widget answered {answer.status}")
        try:
            url = msgspec.json.decode(answer.body, type=_Session).url
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UnusableError("Terra's widget answered without an address") from None
        if urlsplit(url).scheme != "https":
            raise UnusableError("Terra's widget answered with an address that is none")
        return url

    async def revoke(self, terras_id: str) -> str | None:
        """End one connection at Terra; why it is not ended, None once it is, and for an id that Terra does not know."""
        if self.missing():
            return _not_ended("no credentials")
        request = self._client.build_request(
            "DELETE",
            f"{self._api_url}/v2/auth/deauthenticateUser",
            params={"user_id": terras_id},
            headers=self._headers(),
        )
        try:
            status = (await ask(self._client, self._api, request)).status
        except VendorError as error:
            return _not_ended(error.reason)
        return None if status in (200, 201, 204, 404) else _not_ended(f"the vendor answered {status}")

    def _headers(self) -> dict[str, str]:
        dev_id, api_key = (self._credentials.get(name) or b"" for name in (DEV_ID, API_KEY))
        return {"dev-id": dev_id.decode(), "x-api-key": api_key.decode()}


def _not_ended(reason: str) -> str:
    _log.warning("a connection was not ended at Terra", reason=reason)
    return reason
