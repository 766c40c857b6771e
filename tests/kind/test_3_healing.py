"""What goes missing comes back: every workload, until its Service answers again, with its data."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import httpx
import pytest

from auren.auth import SCOPE_PUSH_HEALTHKIT
from tests.api.cluster import Ref
from tests.kind.platform import Platform, heart_rates

USER = "person-who-stays"
SERVICES = {"neuros-advanced": 8000, "biometric-production": 8888, "biometric-bridge": 8889}
STORES = ("kafka", "timescaledb", "redis", "chromadb")
CHAOS_SEED = 20261123
CHAOS_ROUNDS = 6


@pytest.mark.parametrize("component", SERVICES)
async def test_a_deleted_deployment_is_back_and_answers(platform: Platform, component: str) -> None:
    ref = platform.child("Deployment", component)
    before = (await platform.ready())["status"]["healed"]["count"]
    uid = (await platform.cluster.get(ref))["metadata"]["uid"]
    await platform.cluster.delete(ref)
    await platform.cluster.exists(ref, not_uid=uid)
    await _answers_anew(platform, component)
    stack = await platform.ready()
    assert stack["status"]["healed"]["count"] > before
    events = await platform.cluster.list("Event", platform.namespace)
    told = [e["message"] for e in events if e["reason"] == "Healed"]
    assert any(ref.name in message for message in told), told


async def _answers_anew(platform: Platform, component: str) -> None:
    """Not by a pod of the old Deployment that is still on its way out."""
    await platform.cluster.until(
        platform.child("Deployment", component),
        lambda d: d is not None and (d.get("status") or {}).get("readyReplicas", 0) >= d["spec"]["replicas"],
        "ready",
        120,
    )
    await platform.answers(component, SERVICES[component])


@pytest.mark.parametrize("component", STORES)
async def test_a_deleted_store_is_back_with_its_data(platform: Platform, component: str) -> None:
    token = await platform.token(USER)
    stamp = datetime.now(UTC).replace(microsecond=0)
    await _push_until_accepted(platform, [heart_rates(1, stamp, 58.0)])
    await _until_stored(platform, token, stamp)
    ref = platform.child("StatefulSet", component)
    uid = (await platform.cluster.get(ref))["metadata"]["uid"]
    claim = Ref("PersistentVolumeClaim", platform.namespace, f"data-{ref.name}-0")
    volume = (await platform.cluster.get(claim))["metadata"]["uid"]
    await platform.cluster.delete(ref)
    await platform.cluster.exists(ref, not_uid=uid)
    await platform.ready()
    assert (await platform.cluster.get(claim))["metadata"]["uid"] == volume, "the volume stayed"
    await _until_stored(platform, token, stamp)
    later = datetime.now(UTC).replace(microsecond=0)
    await _push_until_accepted(platform, [heart_rates(1, later, 59.0)])
    await _until_stored(platform, token, later)


async def test_edits_are_set_back(platform: Platform) -> None:
    ref = platform.child("Deployment", "biometric-production")
    await platform.ready()
    await platform.cluster.patch(ref, {"spec": {"replicas": 0}})
    await platform.cluster.until(ref, lambda d: d is not None and d["spec"]["replicas"] == 1, "scaled back")
    await platform.ready()


async def test_a_short_seeded_chaos_loses_no_accepted_measurement(platform: Platform) -> None:
    """Pods and objects are deleted at random while measurements flow; all that was accepted is stored, once."""
    print(f"chaos seed {CHAOS_SEED}")
    user = "person-in-the-storm"
    token, push = await platform.token(user), await platform.token(user, SCOPE_PUSH_HEALTHKIT)
    stop = asyncio.Event()
    flow = asyncio.create_task(platform.flow(push, stop))
    rng = random.Random(CHAOS_SEED)
    secrets = await _secret_data(platform)
    for _ in range(CHAOS_ROUNDS):
        await _strike(platform, rng)
        await platform.ready()
    stop.set()
    accepted, _ = await flow
    assert accepted > CHAOS_ROUNDS
    await platform.wait_for_readings(token, user, "heart_rate", accepted, seconds=120)
    found = await platform.readings(token, user, "heart_rate")
    assert len(found) == accepted
    assert await _secret_data(platform) == secrets, "no secret changed"


async def _strike(platform: Platform, rng: random.Random) -> None:
    component = rng.choice([*SERVICES, *STORES])
    pods = await platform.pods(component)
    services = sorted(
        ref for ref in await platform.cluster.children(platform.namespace, platform.name) if ref.kind != "Secret"
    )
    victims = [Ref("Pod", platform.namespace, pod["metadata"]["name"]) for pod in pods] + [rng.choice(services)]
    victim = rng.choice(victims)
    print(f"chaos: deleting {victim.kind} {victim.name}")
    await platform.cluster.delete(victim, missing_ok=True)
    await asyncio.sleep(1)


async def _secret_data(platform: Platform) -> dict[str, dict[str, str]]:
    found = await platform.cluster.list("Secret", platform.namespace, f"aupex.ai/stack={platform.name}")
    return {secret["metadata"]["name"]: secret["data"] for secret in found}


async def _push_until_accepted(platform: Platform, metrics: list[dict[str, object]]) -> None:
    token = await platform.token(USER, SCOPE_PUSH_HEALTHKIT)
    async with asyncio.timeout(90):
        while True:
            try:
                if (await platform.push(token, metrics)).status_code == 202:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.3)


async def _until_stored(platform: Platform, token: str, stamp: datetime) -> None:
    async with asyncio.timeout(90):
        while True:
            try:
                found = await platform.readings(token, USER, "heart_rate")
                if any(datetime.fromisoformat(reading["time"]) == stamp for reading in found):
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.3)
