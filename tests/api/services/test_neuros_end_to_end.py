"""From a wearable's signed delivery to what NEUROS says: bridge, biometric service and NEUROS on real stores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from auren.bridge.simulate import SECRETS
from auren.bridge.simulated_vendors import milliseconds, sign_terra
from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import event, query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.talking import CHAT, ask, frame, said, scripted, socket, start
from tests.api.services.test_interventions import opted_in, prefer
from tests.api.services.test_neuros import measured
from tests.api.services.waiting import until
from tests.unit.services.model_double import MODEL, ModelDouble

SECRET = "terra's secret of the tests"
ASKED = "how am I doing?"
NIGHTS_MS = (60, 58, 62, 57, 63, 59, 61, 60, 56, 64, 60, 59, 61, 60)
"""HRV (RMSSD) of fourteen nights, whose mean is 60 ms."""

DAY = timedelta(days=1)


@dataclass
class Stack:
    """The services that a delivery goes through."""

    bridge: Service
    collector: Service
    biometric: Service
    neuros: Service


@pytest.fixture(scope="module")
def running(
    prepared_platform: Platform, chroma: stores.Chroma, model: ModelDouble, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """All services; the bridge knows Terra's secret."""
    providers: Path = tmp_path_factory.mktemp("providers")
    (providers / "terra").mkdir()
    (providers / "terra" / SECRETS["terra"]).write_text(SECRET)
    with Servers("end-to-end") as servers:
        prepared_platform.servers = servers
        told = {"AUREN_PROVIDERS_DIR": str(providers)}
        yield Stack(
            prepared_platform.service("auren.bridge", "serve", user="biometric-bridge", environment=told),
            prepared_platform.service("auren.bridge", "collect", user="biometric-bridge"),
            prepared_platform.service("auren.biometric", user="biometric-production"),
            start(prepared_platform, chroma, model),
        )


@pytest.fixture
def stack(running: Stack, platform: Platform, model: ModelDouble) -> Stack:
    """All have what they need."""
    for service in (running.bridge, running.collector, running.biometric, running.neuros):
        service.server.start()
        service.wait_ready()
    scripted(model)
    return running


def noon_zone() -> timezone:
    """A zone where it is about noon, so that a night that has just ended is one of today."""
    return timezone(timedelta(hours=12 - datetime.now(UTC).hour))


def a_night(user: str, rmssd_ms: float, woke: datetime) -> bytes:
    """Terra's document of a night."""
    fell_asleep = woke - timedelta(hours=8)
    document = {
        "type": "sleep",
        "user": {"user_id": f"terra-{user}", "provider": "GARMIN", "reference_id": user, "active": True},
        "data": [
            {
                "metadata": {
                    "start_time": fell_asleep.isoformat(timespec="microseconds"),
                    "end_time": woke.isoformat(timespec="microseconds"),
                    "is_nap": False,
                    "upload_type": 2,
                    "summary_id": f"{user}-{woke:%Y-%m-%d}",
                },
                "heart_rate_data": {"summary": {"avg_hrv_rmssd": rmssd_ms}},
                "device_data": {"manufacturer": "Garmin", "name": "Forerunner 945"},
            }
        ],
        "version": "2022-03-16",
    }
    return json.dumps(document).encode()


def deliver(stack: Stack, body: bytes, secret: str = SECRET) -> int:
    """Send a signed webhook; the status of the answer."""
    signed = sign_terra(secret.encode(), body, milliseconds(datetime.now(UTC)))
    return stack.bridge.post("/webhooks/terra", body, signed).status_code


async def test_a_bad_night_reaches_an_open_socket_and_the_answer_to_how_am_i_doing(
    platform: Platform, stack: Stack, model: ModelDouble
) -> None:
    user = opted_in(platform, stack.neuros)
    woke = datetime.now(noon_zone()) - timedelta(minutes=10)
    for ago, rmssd_ms in zip(range(14, 0, -1), NIGHTS_MS, strict=True):
        assert deliver(stack, a_night(user, rmssd_ms, woke - ago * DAY)) == 200
    bearer = platform.bearer(user, "read:biometrics")

    async def known() -> bool:
        found = stack.biometric.get(f"/baselines/{user}/hrv_rmssd", bearer).json()
        return bool(found["baselines"] and found["baselines"][-1]["days"] == 14)

    await until(known, 180)
    assert stack.biometric.get(f"/mode/{user}", bearer).json()["mode"] == "baseline"
    async with socket(platform, stack.neuros, user) as talking:
        usual = (await said(talking, {"message": "hello"}))[-1]
        assert usual["mode"] == "companion"
        assert deliver(stack, a_night(user, 38, woke), "another secret") == 401
        assert deliver(stack, a_night(user, 38, woke)) == 200
        offered = await frame(talking)
        assert (offered["type"], offered["mode"], offered["level"]) == ("intervention", "reflex", "high")
        assert offered["protocol"] == "breathing-4-7-8"
        assert [(one["value"], one["baseline"]) for one in offered["evidence"]] == [(38, 60)]
        assert stack.biometric.get(f"/mode/{user}", bearer).json()["rule"] == "hrv-fall"
        *frames, reply = await said(talking, {"message": ASKED})
    assert [one["type"] for one in frames] == ["mode", *["sentence"] * (len(frames) - 1)]
    assert " ".join(one["text"] for one in frames[1:]) == reply["response"]
    assert (reply["mode"], frames[0]["mode"]) == ("reflex", "reflex")
    assert "38 ms" in reply["response"]
    assert "usual for you is 60 ms" in reply["response"]
    assert [one["protocol"] for one in reply["interventions"]] == [offered["protocol"]]
    texts = [reply["response"], reply["mode_reason"], *reply["recommendations"]]
    assert numbers(" ".join(texts)) <= await stored(platform, user)
    assert model.calls == 0
    shown = stack.neuros.get("/interventions", platform.bearer(user, CHAT)).json()["interventions"]
    assert [one["id"] for one in shown] == [offered["id"]]


def numbers(text: str) -> set[float]:
    return {float(found) for found in re.findall(r"\d+(?:\.\d+)?", text)}


async def stored(platform: Platform, user: str) -> set[float]:
    """The numbers that the database holds of a person: values and their ages, what is usual, and the evidence."""
    rows = await query(platform, "SELECT value, time, end_time FROM readings WHERE user_id = $1", user)
    found = {row["value"] for row in rows}
    for row in rows:
        minutes = (datetime.now(UTC) - row["time"]).total_seconds() // 60
        found |= {minutes - 1, minutes, minutes // 60, minutes // (24 * 60)}
    (usual,) = await query(
        platform,
        "SELECT avg(total / 1e6 / count)::float8 AS mean FROM daily_values"
        " WHERE user_id = $1 AND metric = 'hrv_rmssd' AND day < (SELECT max(day) FROM daily_values WHERE user_id = $1)",
        user,
    )
    found.add(round(usual["mean"], 2))
    for row in await query(platform, "SELECT evidence FROM mode_switches WHERE user_id = $1", user):
        for one in json.loads(row["evidence"]):
            found |= {one["value"], one["baseline"], round(100 * one["threshold"], 6)}
    return found


async def test_who_has_not_asked_for_it_is_offered_nothing_on_the_socket(platform: Platform, stack: Stack) -> None:
    user, reader = new_user(), opted_in(platform, stack.neuros)
    async with socket(platform, stack.neuros, user) as talking, socket(platform, stack.neuros, reader) as other:
        for person in (user, reader):
            assert deliver(stack, a_night(person, 22, datetime.now(noon_zone()) - timedelta(minutes=10))) == 200
        assert (await frame(other))["type"] == "intervention"

        async def judged() -> bool:
            return bool(await query(platform, "SELECT FROM mode_switches WHERE user_id = $1", user))

        await until(judged)
        assert {one["type"] for one in await said(talking, {"message": ASKED})} == {"mode", "sentence", "reply"}
    off: dict[str, Any] = {"interventions": {"enabled": False, "quiet_hours": None}}
    assert prefer(platform, stack.neuros, reader, off).status_code == 200


def rmssd(user: str, value: float, document: str, start: datetime) -> Any:
    return event(user, [value], metric="hrv_rmssd", document=document, start=start)


async def in_reflex(platform: Platform, *, usual_ms: float = 60) -> str:
    """A person whose mode became reflex just now, by a fall of HRV from what is usual."""
    user, now = new_user(), datetime.now(noon_zone())
    past = [rmssd(user, usual_ms, f"night-{ago}", now - ago * DAY) for ago in range(14, 0, -1)]
    await measured(platform, user, *past)
    await measured(platform, user, rmssd(user, 38, "today", now - timedelta(minutes=30)))
    await until(lambda: _switched(platform, user))
    return user


async def _switched(platform: Platform, user: str) -> bool:
    return bool(await query(platform, "SELECT FROM people WHERE user_id = $1 AND mode = 'reflex'", user))


async def test_a_mode_that_has_just_begun_stands_though_the_newest_value_is_as_usual(
    platform: Platform, stack: Stack, model: ModelDouble
) -> None:
    user = await in_reflex(platform)
    await measured(platform, user, rmssd(user, 60, "again", datetime.now(noon_zone()) - timedelta(minutes=1)))
    reply = await ask(platform, stack.neuros, user, ASKED)
    assert (reply["mode"], model.calls) == ("reflex", 0)
    assert "38 ms" in reply["mode_reason"]
    assert "60 ms" in reply["response"]
    await cooled(platform, user)
    reply = await ask(platform, stack.neuros, user, ASKED)
    assert (reply["mode"], reply["model"]) == ("baseline", MODEL)


async def test_a_value_at_the_edge_leaves_the_mode_as_it_is(
    platform: Platform, stack: Stack, model: ModelDouble
) -> None:
    edge_ms = 42.5  # 29 % below 60: too little to begin with, and not enough to end
    user, other, now = await in_reflex(platform), new_user(), datetime.now(noon_zone())
    past = [rmssd(other, 60, f"night-{ago}", now - ago * DAY) for ago in range(14, 0, -1)]
    for person, before in ((user, []), (other, past)):
        await measured(platform, person, *before, rmssd(person, edge_ms, "edge", now - timedelta(minutes=1)))
    await cooled(platform, user)
    assert (await ask(platform, stack.neuros, user, ASKED))["mode"] == "reflex"
    assert (await ask(platform, stack.neuros, other, ASKED))["mode"] == "baseline"


async def cooled(platform: Platform, user: str) -> None:
    """Let the switch have happened an hour ago, as far as the stored state tells."""
    (row,) = await query(platform, "SELECT state FROM people WHERE user_id = $1", user)
    state = json.loads(row["state"])
    assert (state["mode"]["mode"], state["mode"]["rule"]) == ("reflex", "hrv-fall")
    state["mode"]["switched_at"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await query(platform, "UPDATE people SET state = $2 WHERE user_id = $1", user, json.dumps(state))
