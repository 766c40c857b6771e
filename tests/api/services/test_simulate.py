"""The simulator against a running bridge: what it counts as accepted is in the log, and becomes events."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from auren import events
from auren.bridge.simulate import SECRETS
from auren.bridge.simulated_vendors import PROVIDERS
from auren.topics import EVENTS, WEBHOOKS
from tests.api.services.platform import AUDIENCE, ISSUER, Platform, Service, new_user

USER = "biometric-bridge"


@pytest.fixture
def providers(tmp_path: Path, platform: Platform) -> Path:
    """The providers' secrets as the bridge mounts them, and the stack's private key."""
    for provider, name in SECRETS.items():
        (tmp_path / provider).mkdir()
        (tmp_path / provider / name).write_text(f"the secret of {provider}")
    pem = platform.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    return tmp_path


async def simulate(bridge: Service, providers: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auren.bridge", "simulate", "--url", bridge.url(""), "--secrets-dir", str(providers),
        "--token-key", str(providers / "key.pem"), "--issuer", ISSUER, "--audience", AUDIENCE, *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def kinds_of(platform: Platform, person: str) -> dict[str, list[str]]:
    """Kinds of a person's events by provider, as many as there are by now."""
    found = [events.decode(r.value or b"") for r in await platform.records(EVENTS, person, 1, seconds=60)]
    return {name: sorted(e.kind for e in found if e.provider == name) for name in ("healthkit", "terra")}


async def test_the_bridge_takes_what_is_simulated_of_every_provider(platform: Platform, providers: Path) -> None:
    environment = {"AUREN_PROVIDERS_DIR": str(providers)}
    bridge = platform.service("auren.bridge", "serve", user=USER, environment=environment)
    bridge.wait_ready()
    people = [new_user(), new_user()]
    code, table = await simulate(bridge, providers, "--users", ",".join(people), "--rate", "40", "--seconds", "1")
    assert code == 0, table
    for provider in PROVIDERS:
        assert re.search(rf"^{provider} +10 +10 +[\d.]+ +[\d.]+  -$", table, re.MULTILINE), table
    for person in people:
        assert len(await platform.records(WEBHOOKS, person, 5)) == 5
    collector = platform.service("auren.bridge", "collect", user=USER)
    async with asyncio.timeout(60):  # how many events Terra's days make depends on the hours that they touch
        while True:
            kinds = await kinds_of(platform, people[0])
            if kinds["healthkit"] == ["readings"] * 5 + ["sleep"] and {"readings", "sleep"} <= set(kinds["terra"]):
                break
            await asyncio.sleep(0.5)
    collector.server.stop()


async def test_a_secret_that_the_bridge_does_not_have_is_told(platform: Platform, providers: Path) -> None:
    bridge = platform.service("auren.bridge", "serve", user=USER)
    bridge.wait_ready()
    code, table = await simulate(bridge, providers, "--providers", "whoop", "--rate", "40", "--seconds", "0.1")
    assert code == 1
    assert "503: 4" in table
