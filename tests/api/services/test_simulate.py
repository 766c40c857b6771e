"""The simulator against a running bridge: what it counts as accepted is in the log, and becomes events."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from auren import events
from auren.bridge.simulate import SECRETS
from auren.bridge.simulated_vendors import PROVIDERS
from auren.topics import EVENTS, WEBHOOKS
from tests.api.services.platform import AUDIENCE, ISSUER, Platform, Service, new_user
from tests.api.services.waiting import until

USER = "biometric-bridge"
REPOSITORY = Path(__file__).parents[3]


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


async def test_a_bad_night_after_three_weeks_is_reflex_from_a_trusted_baseline(
    platform: Platform, providers: Path
) -> None:
    bridge = platform.service("auren.bridge", "serve", user=USER, environment={"AUREN_PROVIDERS_DIR": str(providers)})
    collector = platform.service("auren.bridge", "collect", user=USER)
    biometric = platform.service("auren.biometric", user="biometric-production")
    for service in (bridge, biometric):
        service.wait_ready()
    person = new_user()
    arguments = ("--providers", "healthkit,terra", "--users", person, "--rate", "20", "--seconds", "0.5")

    code, table = await simulate(bridge, providers, *arguments, "--history-days", "21")
    assert code == 0, table
    assert re.search(r"^history +84 +84 +[\d.]+ +[\d.]+  -$", table, re.MULTILINE), table
    await until(lambda: _baselines(platform, biometric, person, 21), seconds=180)
    mode = await _mode(platform, biometric, person)
    assert (mode["mode"], mode["rule"]) == ("baseline", None)

    code, table = await simulate(bridge, providers, *arguments, "--history-days", "21", "--bad-night")
    assert code == 0, table

    page = providers / "build" / "page.html"
    code, said = await learnt(biometric, platform, person, page, "--mode", "reflex", "--patience", "180")
    assert code == 0, said
    assert re.search(r"^  hrv_rmssd +[\d.]+ ± [\d.]+ ms \(21 of 28 days, trusted\)$", said, re.MULTILINE), said
    assert re.search(r"^  reflex, since .* below the usual ", said, re.MULTILINE), said
    assert b"HRV" in page.read_bytes()
    code, said = await learnt(biometric, platform, person, page, "--mode", "guardian", "--patience", "0")
    assert (code, said.splitlines()[-1]) == (1, "learnt: after 0 s the mode is reflex, not guardian")
    mode = await _mode(platform, biometric, person)
    assert mode["rule"] == "hrv-fall", mode
    assert all(found["value"] < 0.7 * found["baseline"] for found in mode["evidence"]), mode
    collector.server.stop()


async def learnt(biometric: Service, platform: Platform, person: str, page: Path, *arguments: str) -> tuple[int, str]:
    """What hack/simulate.sh shows of a person: exit code and output."""
    header = page.parent.parent / "authorization"
    header.write_text(f"Authorization: {platform.bearer(person, 'read:biometrics')['Authorization']}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "hack/learnt", person, "--url", biometric.url(""), "--authorization", str(header),
        "--page", str(page), "--sources", "terra,healthkit", "--days", "21", *arguments,
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def _mode(platform: Platform, biometric: Service, person: str) -> dict[str, Any]:
    answer = await asyncio.to_thread(biometric.get, f"/mode/{person}", platform.bearer(person, "read:biometrics"))
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def _baselines(platform: Platform, biometric: Service, person: str, days: int) -> bool:
    """Whether what is usual of a month is trusted and made of so many days, for HRV of both kinds and the pulse."""
    bearer = platform.bearer(person, "read:biometrics")
    for metric in ("hrv_rmssd", "hrv_sdnn", "resting_heart_rate"):
        answer = await asyncio.to_thread(biometric.get, f"/baselines/{person}/{metric}", bearer)
        month = answer.raise_for_status().json()["baselines"][-1]
        if month["days"] != days:
            return False
        assert month["trusted"], month
        assert month["sd"] < 0.1 * month["mean"], month
    return True
