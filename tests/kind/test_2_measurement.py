"""One measurement goes all the way: from a phone's push to an answer that names it."""

from __future__ import annotations

from datetime import UTC, datetime

from auren.auth import SCOPE_PUSH_HEALTHKIT
from tests.kind.platform import Platform, heart_rates

USER = "person-of-the-kind-tier"

CHECKS = {
    ("biometric-bridge", 8889): {"kafka", "database", "authentication", "revoked-tokens", "breakers"},
    ("biometric-production", 8888): {"kafka", "dead-letters", "database", "redis", "auth", "revoked-tokens"},
    ("neuros-advanced", 8000): {
        *{"database", "redis", "chroma", "agent", "auth", "revoked-tokens"},
        *{"kafka", "kafka-producer", "texts"},
    },
}
"""What each service's deep health looks into, by service and port."""


async def test_a_pushed_measurement_is_stored_served_and_spoken_about(platform: Platform) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    pushed = await platform.push(await platform.token(USER, SCOPE_PUSH_HEALTHKIT), [heart_rates(3, now, 63.0)])
    assert pushed.status_code == 202, pushed.text
    token = await platform.token(USER)
    await platform.wait_for_readings(token, USER, "heart_rate", 3)
    latest = (await platform.get(token, "biometric-production", 8888, f"/latest/{USER}")).json()
    values = {value["metric"]: value for value in latest["values"]}
    assert values["heart_rate"]["value"] == 63.0
    assert datetime.fromisoformat(values["heart_rate"]["time"]) == now
    asked = await platform.http.post(
        platform.url("neuros-advanced", 8000, "/api/agents/neuros/analyze"),
        json={"message": "how is my heart rate?"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert asked.status_code == 200, asked.text
    answer = asked.json()
    assert "63" in answer["response"]
    assert answer["model"] == "rules"
    assert "heart_rate" in answer["data_quality"]["without_baseline"], "it says what it lacks"


async def test_nobody_gets_in_without_a_fitting_token(platform: Platform) -> None:
    metrics = [heart_rates(1, datetime.now(UTC))]
    assert (await platform.push("not-a-token", metrics)).status_code == 401
    assert (await platform.push(await platform.token(USER), metrics)).status_code == 403, "the scope is missing"
    other = await platform.get(await platform.token("somebody-else"), "biometric-production", 8888, f"/latest/{USER}")
    assert other.status_code == 403
    push_only = await platform.token(USER, SCOPE_PUSH_HEALTHKIT)
    for component, port, path in (
        ("biometric-production", 8888, f"/latest/{USER}"),
        ("neuros-advanced", 8000, "/modes"),
    ):
        assert (await platform.get(push_only, component, port, path)).status_code == 403, component


async def test_deep_health_names_every_dependency(platform: Platform) -> None:
    for (component, port), names in CHECKS.items():
        answer = await platform.http.get(platform.url(component, port, "/health"))
        assert answer.status_code == 200, f"{component}: {answer.text}"
        assert set(answer.json()["checks"]) == names, component
