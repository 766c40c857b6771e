"""Oura's and WHOOP's APIs on the loopback interface, people who are connected there, and webhooks as they sign them.

    with VendorApis(folder) as vendors:
        collector = platform.service("auren.bridge", "collect", user=USER, environment=vendors.environment)
        await vendors.connect(platform, "whoop", "456", user)
        vendors.whoop.double.documents[user, "/v2/activity/sleep/5f1c"] = {"id": "5f1c", …}
        bridge.post("/webhooks/whoop", *whoop_signed({"user_id": 456, "id": "5f1c", "type": "sleep.updated"}))

The doubles are those of the unit tests, served by a thread of the test's own process: a test changes their documents,
faults and limits, and reads what they were asked, directly.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import uvicorn
from pydantic import SecretStr

from auren.bridge.connections import Connections
from auren.bridge.credentials import CLIENT_ID as CLIENT_ID_FILE
from auren.bridge.credentials import CLIENT_SECRET as CLIENT_SECRET_FILE
from auren.bridge.simulated_vendors import milliseconds, sign_oura, sign_whoop
from auren.bridge.tokens import TokenBox, Tokens, TokenStore
from auren.database import Database
from auren.settings import DatabaseSettings
from tests.api.processes import free_port
from tests.api.services.platform import Platform
from tests.unit.services.vendor_double import ALL_SCOPES, CLIENT_ID, CLIENT_SECRET, VendorDouble

ROLE = "biometric-bridge"
PUBLIC_URL = "https://bridge.example.org"


@dataclass
class VendorApi:
    """One vendor's double behind HTTP. It can be stopped and started again on its port: away, and back."""

    double: VendorDouble = field(default_factory=VendorDouble)
    port: int = field(default_factory=free_port)
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where its documents are; the token endpoint is `/oauth/token` below it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Connections are taken when it returns."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        config = uvicorn.Config(
            self.double.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name=f"vendor-{self.port}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Connections are refused when it returns."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = None


@dataclass
class VendorApis:
    """Both vendors, and what a stack's bridge is given for them; `folder` gets the credentials."""

    folder: Path
    oura: VendorApi = field(default_factory=VendorApi)
    whoop: VendorApi = field(default_factory=VendorApi)

    def __enter__(self) -> Self:
        for provider in ("oura", "whoop"):
            secret = self.folder / provider
            secret.mkdir(parents=True, exist_ok=True)
            (secret / CLIENT_ID_FILE).write_text(CLIENT_ID)
            (secret / CLIENT_SECRET_FILE).write_text(CLIENT_SECRET)
            self.of(provider).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.oura.stop()
        self.whoop.stop()

    def of(self, provider: str) -> VendorApi:
        """The vendor of that name."""
        return {"oura": self.oura, "whoop": self.whoop}[provider]

    @property
    def environment(self) -> dict[str, str]:
        """For both of the bridge's processes."""
        return {
            "AUREN_PROVIDERS_DIR": str(self.folder),
            "AUREN_PUBLIC_URL": PUBLIC_URL,
            "AUREN_OURA_API_URL": self.oura.url,
            "AUREN_OURA_TOKEN_URL": f"{self.oura.url}/oauth/token",
            "AUREN_WHOOP_API_URL": self.whoop.url,
            "AUREN_WHOOP_TOKEN_URL": f"{self.whoop.url}/oauth/token",
        }

    async def connect(
        self,
        platform: Platform,
        provider: str,
        provider_user_id: str,
        user: str,
        *,
        scopes: Iterable[str] = ALL_SCOPES,
        lasts: timedelta = timedelta(hours=1),
    ) -> None:
        """What a finished OAuth flow leaves behind: the grant at the vendor, our tokens, and the connection.

        The double knows the person by our user id. The access token is said to last for `lasts`.
        """
        async with bridge_database(platform) as database:
            await self.connect_in(
                database, platform, provider, provider_user_id, user, frozenset(scopes), datetime.now(UTC) + lasts
            )

    async def connect_in(
        self,
        database: Database,
        platform: Platform,
        provider: str,
        provider_user_id: str,
        user: str,
        scopes: frozenset[str],
        until: datetime,
    ) -> None:
        """As `connect`, for many people with one connection to the database."""
        access, refresh = self.of(provider).double.connect(user, scopes)
        now = datetime.now(UTC)
        tokens = Tokens(access, refresh, until, tuple(sorted(scopes)), now)
        assert await TokenStore(database, TokenBox(platform.oauth_keyring)).save(provider, user, tokens)
        assert await Connections(database).connect(provider, provider_user_id, user, now)


@asynccontextmanager
async def bridge_database(platform: Platform) -> AsyncIterator[Database]:
    """The database as the bridge's role sees it."""
    settings = DatabaseSettings(
        database_host=platform.postgres.host,
        database_port=platform.postgres.port,
        database_name=platform.database,
        database_user=ROLE.replace("-", "_"),
        database_password=SecretStr(platform.passwords[ROLE]),
    )
    database = Database(settings, application="tests")
    await database.start()
    try:
        await database.link.wait()
        yield database
    finally:
        await database.stop()


def oura_signed(document: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a webhook of Oura's, signed now."""
    body = json.dumps(document).encode()
    return body, sign_oura(CLIENT_SECRET.encode(), body, milliseconds(datetime.now(UTC)))


def whoop_signed(document: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a webhook of WHOOP's, signed now."""
    body = json.dumps(document).encode()
    return body, sign_whoop(CLIENT_SECRET.encode(), body, milliseconds(datetime.now(UTC)))
