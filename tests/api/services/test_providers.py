"""Signed webhooks of the vendors end to end: verified, in the log, and then events, or parked with a reason."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from auren import events
from auren.topics import EVENTS
from tests.api.processes import Servers
from tests.api.services.platform import Platform, Service, new_user

USER = "biometric-bridge"
SECRET = secrets.token_hex(16)


@pytest.fixture(scope="session")
def vendors(prepared_platform: Platform, store_servers: Servers) -> dict[str, Service]:
    """A bridge and a collector of a stack with the credentials of Terra; those of WHOOP come later, Oura's never."""
    prepared_platform.servers = store_servers
    folder = store_servers.folder / "providers"
    write_secret(folder / "terra" / "signing-secret")
    environment = {"AUREN_PROVIDERS_DIR": str(folder), "AUREN_PUBLIC_URL": "https://bridge.example.org"}
    return {
        name: prepared_platform.service("auren.bridge", name, user=USER, environment=environment)
        for name in ("serve", "collect")
    }


@pytest.fixture
def bridge(vendors: dict[str, Service], platform: Platform) -> Service:
    """Both processes, with all that they need; the one that takes webhooks."""
    for service in vendors.values():
        if not service.server.running:
            service.server.start()
        service.wait_ready()
    return vendors["serve"]


def write_secret(file: Path) -> None:
    """As the kubelet does when a Secret is mounted."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SECRET)


def signed(document: object, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """Body and headers as Terra sends them."""
    body, now = json.dumps(document).encode(), str(int(time.time()))
    digest = hmac.new(secret.encode(), now.encode() + b"." + body, hashlib.sha256).hexdigest()
    return body, {"terra-signature": f"t={now},v1={digest}", "x-terra-ordering-timestamp": f"{now}000"}


def daily(user_id: str, reference: str | None, steps: int) -> dict[str, Any]:
    metadata = {"start_time": "2026-02-28T00:00:00+01:00", "end_time": "2026-03-01T00:00:00+01:00"}
    person = {"user_id": user_id, "reference_id": reference, "provider": "GARMIN"}
    return {"type": "daily", "user": person, "data": [{"metadata": metadata, "distance_data": {"steps": steps}}]}


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait until a condition holds that other processes bring about."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.1)


async def parked(platform: Platform, provider: str) -> list[str]:
    """Reasons of a provider's deliveries that wait."""
    connection = await asyncpg.connect(
        host=platform.postgres.host,
        port=platform.postgres.port,
        user=platform.postgres.username,
        password=platform.postgres.password,
        database=platform.database,
    )
    try:
        rows = await connection.fetch("SELECT reason FROM parked_deliveries WHERE provider = $1", provider)
    finally:
        await connection.close()
    return [row["reason"] for row in rows]


async def test_what_terra_signed_becomes_events(platform: Platform, bridge: Service) -> None:
    user = new_user()
    body, headers = signed(daily(f"terra-{user}", user, 4321))
    assert bridge.post("/webhooks/terra", body, headers).status_code == 200
    (found,) = await platform.records(EVENTS, user, 1)
    event = events.decode(found.value or b"")
    assert [(r.metric, r.value) for r in event.readings] == [("steps", 4321)]
    assert event.source == "terra/garmin"


async def test_what_terra_did_not_sign_is_refused(bridge: Service) -> None:
    body, headers = signed(daily("terra-x", new_user(), 1), "another secret")
    assert bridge.post("/webhooks/terra", body, headers).status_code == 401
    assert bridge.post("/webhooks/terra", body).status_code == 401
    body, headers = signed(daily("terra-x", new_user(), 1))
    assert bridge.post("/webhooks/terra", body + b" ", headers).status_code == 401


async def test_a_person_who_connects_later_gets_what_came_before(platform: Platform, bridge: Service) -> None:
    user = new_user()
    body, headers = signed(daily(f"terra-{user}", None, 99))
    bridge.post("/webhooks/terra", body, headers).raise_for_status()

    async def waits() -> bool:
        return "unknown-user" in await parked(platform, "terra")

    await until(waits)
    auth = {"type": "auth", "status": "success", "user": daily(f"terra-{user}", user, 0)["user"]}
    bridge.post("/webhooks/terra", *signed(auth)).raise_for_status()
    (found,) = await platform.records(EVENTS, user, 1, seconds=90)
    assert events.decode(found.value or b"").readings[0].value == 99


async def test_a_provider_without_credentials_is_refused_until_they_come(
    vendors: dict[str, Service], bridge: Service, store_servers: Servers, platform: Platform
) -> None:
    assert bridge.get("/webhooks/oura?verification_token=x&challenge=y").status_code == 503
    body, path = b'{"user_id": 7, "id": "a1", "type": "sleep.updated"}', "/webhooks/whoop"

    def headers() -> dict[str, str]:
        now = str(int(time.time() * 1000))
        digest = hmac.digest(SECRET.encode(), now.encode() + body, "sha256")
        return {"x-whoop-signature-timestamp": now, "x-whoop-signature": base64.b64encode(digest).decode()}

    refused = bridge.post(path, body, headers())
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    write_secret(store_servers.folder / "providers" / "whoop" / "client-secret")

    async def taken() -> bool:
        return bridge.post(path, body, headers()).status_code == 200

    await until(taken)

    async def waits() -> bool:
        return "unknown-user" in await parked(platform, "whoop")

    await until(waits)
    assert 'auren_bridge_provider_configured{provider="whoop"} 1.0' in bridge.metrics()
    assert 'auren_bridge_provider_configured{provider="oura"} 0.0' in bridge.metrics()
