"""The biometric service on real stores: what is in the log once is in the table once, whatever dies on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from auren.events import METRICS, encode, event_headers
from auren.topics import EVENTS_DLQ
from tests.api.processes import Servers
from tests.api.services.measurements import MORNING, event, publish, publish_raw, query, values
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.waiting import until

USER = "biometric-production"
MEMORY_MIB = 150


def start(platform: Platform, **more: Any) -> Service:
    return platform.service("auren.biometric", user=USER, **more)


@pytest.fixture(scope="module")
def shared(prepared_platform: Platform) -> Iterator[Service]:
    """One service for the tests of this module: it takes longer to start than most of them to run."""
    with Servers("biometric") as servers:
        prepared_platform.servers = servers
        yield start(prepared_platform)


@pytest.fixture
def biometric(shared: Service, platform: Platform) -> Service:
    """A service that has all it needs."""
    shared.server.start()
    shared.wait_ready()
    return shared


def get(platform: Platform, service: Service, path: str, user: str, **parameters: Any) -> httpx.Response:
    return httpx.get(service.url(path), params=parameters, headers=platform.bearer(user, "read:biometrics"), timeout=30)


async def stored(platform: Platform, user: str, least: int, seconds: float = 60) -> None:
    """Wait until the table holds at least `least` rows of a person."""

    async def there() -> bool:
        (row,) = await query(platform, "SELECT count(*) FROM readings WHERE user_id = $1", user)
        return bool(row["count"] >= least)

    await until(there, seconds)


async def settled(platform: Platform, service: Service) -> None:
    """Wait until everything that is in the log now has been consumed: a marker on every partition has arrived."""
    markers = [new_user() for _ in range(24)]
    await publish(platform, [event(marker, [60], document=marker) for marker in markers])

    async def all_there() -> bool:
        rows = await query(platform, "SELECT count(*) FROM readings WHERE user_id = ANY($1)", markers)
        return bool(rows[0]["count"] == len(markers))

    await until(all_there)


def memory_mib(service: Service) -> float:
    with open(f"/proc/{service.server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_an_event_becomes_rows_that_can_be_asked_for(platform: Platform, biometric: Service) -> None:
    user = new_user()
    await publish(platform, [event(user, [60, 61, 62])])
    await stored(platform, user, 3)
    answer = get(
        platform,
        biometric,
        f"/readings/{user}/heart_rate",
        user,
        **{"from": MORNING, "to": MORNING + timedelta(hours=1)},
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["metric"], body["unit"], body["next"]) == ("heart_rate", "/min", None)
    assert [reading["value"] for reading in body["readings"]] == [60, 61, 62]
    assert body["readings"][0] == {
        "time": f"{MORNING:%Y-%m-%d}T07:00:00Z",
        "value": 60,
        "source": "oura/ring",
        "end_time": None,
        "flags": [],
    }
    for _ in range(2):
        latest = get(platform, biometric, f"/latest/{user}", user).json()
        assert [(v["metric"], v["value"], v["time"]) for v in latest["values"]] == [
            ("heart_rate", 62, f"{MORNING:%Y-%m-%d}T07:02:00Z")
        ]
        assert latest["missing"] == []
    assert latest["origin"] == "redis"


async def test_ranges_come_in_pages_and_end_before_their_end(platform: Platform, biometric: Service) -> None:
    user = new_user()
    await publish(platform, [event(user, range(100, 110)), event(user, range(10), document="d2", device="watch")])
    await stored(platform, user, 20)
    seen: list[tuple[str, str]] = []
    after: dict[str, str] = {}
    end = MORNING + timedelta(minutes=9)
    while True:
        page = get(
            platform,
            biometric,
            f"/readings/{user}/heart_rate",
            user,
            **{"from": MORNING, "to": end, "limit": 5, **after},
        ).json()
        seen += [(reading["time"], reading["source"]) for reading in page["readings"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == sorted(set(seen))
    assert len(seen) == 18


async def test_a_replay_adds_nothing_and_an_older_version_changes_nothing(
    platform: Platform, biometric: Service
) -> None:
    user = new_user()
    events = [event(user, [60, 61], version=5), event(user, [40], metric="hrv_rmssd", document="d2", version=5)]
    await publish(platform, events)
    await stored(platform, user, 3)
    before = await query(platform, "SELECT * FROM readings WHERE user_id = $1 ORDER BY metric, time", user)
    await publish(platform, events)
    await settled(platform, biometric)
    # In a batch of its own, so that the database has to tell the versions apart.
    await publish(platform, [event(user, [99, 98], version=4)])
    await settled(platform, biometric)
    assert await query(platform, "SELECT * FROM readings WHERE user_id = $1 ORDER BY metric, time", user) == before
    await publish(platform, [event(user, [70], version=6)])
    await settled(platform, biometric)
    assert await values(platform, user) == [70, 40, 61]
    latest = get(platform, biometric, f"/latest/{user}", user).json()
    assert {v["metric"]: v["value"] for v in latest["values"]} == {"heart_rate": 61, "hrv_rmssd": 40}


async def test_what_is_deleted_stays_deleted(platform: Platform, biometric: Service) -> None:
    user = new_user()
    keep = event(user, [50], metric="resting_heart_rate", document="d2")
    await publish(platform, [event(user, [60, 61], version=1), keep])
    await stored(platform, user, 3)
    assert len(get(platform, biometric, f"/latest/{user}", user).json()["values"]) == 2
    await publish(platform, [event(user, kind="deletion", version=2), event(user, [62], version=2)])
    await settled(platform, biometric)
    assert await values(platform, user) == [50]
    late = get(platform, biometric, f"/latest/{user}", user).json()
    assert [value["metric"] for value in late["values"]] == ["resting_heart_rate"]
    await publish(platform, [event(user, [63], version=1)])
    await settled(platform, biometric)
    assert await values(platform, user) == [50]
    await publish(platform, [event(user, [64], version=3)])
    await settled(platform, biometric)
    assert sorted(await values(platform, user)) == [50, 64]


async def test_nothing_is_stored_of_an_erased_person(platform: Platform, biometric: Service) -> None:
    user, other = new_user(), new_user()
    await query(platform, "INSERT INTO erased_users (user_id) VALUES ($1)", user)
    await publish(platform, [event(user, [60]), event(user, kind="deletion", document="d9"), event(other, [61])])
    await stored(platform, other, 1)
    await settled(platform, biometric)
    assert await values(platform, user) == []
    assert not await query(platform, "SELECT FROM deletion_tombstones WHERE user_id = $1", user)
    assert get(platform, biometric, f"/latest/{user}", user).json()["values"] == []


async def test_poison_is_put_aside_with_its_reason_and_the_rest_goes_on(platform: Platform, biometric: Service) -> None:
    user = new_user()
    key, good = (
        user.encode(),
        [event(user, [60 + i], document=f"d{i}", start=MORNING + timedelta(hours=i)) for i in range(9)],
    )
    nul = event(user, [1], document="nul", device="ring\0")
    huge = event(user, [1], document="huge", version=2**70)
    records = [(key, encode(one), event_headers(one)) for one in good]
    records[3:3] = [
        (key, b"{no json", [("trace", b"t1")]),
        (key, encode(nul), event_headers(nul)),
        (key, encode(huge), event_headers(huge)),
    ]
    await publish_raw(platform, records)
    await stored(platform, user, len(good))
    letters = await platform.records(EVENTS_DLQ, user, 3)
    await settled(platform, biometric)
    assert await values(platform, user) == [60 + i for i in range(9)]
    assert [letter.value for letter in letters] == [records[i][1] for i in (3, 4, 5)]
    for letter in letters:
        headers = dict(letter.headers)
        assert headers["stage"] == b"biometric.ingest"
        assert headers["attempts"] == b"1"
        assert headers["error"]
        assert datetime.fromisoformat(headers["first_seen"].decode()).tzinfo is not None
    assert dict(letters[0].headers)["trace"] == b"t1"
    assert dict(letters[1].headers)["ce_id"].decode() == str(nul.event_id)


async def test_redis_away_stops_nothing_and_is_told(platform: Platform, biometric: Service) -> None:
    user = new_user()
    await publish(platform, [event(user, [60])])
    await stored(platform, user, 1)
    assert get(platform, biometric, f"/latest/{user}", user).json()["origin"] == "postgres"
    assert get(platform, biometric, f"/latest/{user}", user).json()["origin"] == "redis"
    platform.redis.server.stop()
    await publish(platform, [event(user, [71], document="d2", start=MORNING + timedelta(hours=1))])
    await stored(platform, user, 2)
    away = get(platform, biometric, f"/latest/{user}", user).json()
    assert away["origin"] == "postgres"
    assert away["missing"][0].startswith("redis: ")
    assert [value["value"] for value in away["values"]] == [71]

    async def says_so() -> bool:
        ready = biometric.health()
        return ready.status_code == 503 and "redis" in {m["name"] for m in ready.json()["missing"]}

    await until(says_so)
    platform.redis.server.start()
    biometric.wait_ready()
    # The hash that Redis has kept misses a value; the next batch empties it.
    await settled(platform, biometric)
    assert [v["value"] for v in get(platform, biometric, f"/latest/{user}", user).json()["values"]] == [71]


async def test_hot_values_are_rebuilt_after_redis_lost_them(platform: Platform, biometric: Service) -> None:
    user = new_user()
    await publish(platform, [event(user, [60]), event(user, [44], metric="hrv_sdnn", document="d2")])
    await stored(platform, user, 2)
    platform.redis.flush()
    await publish(platform, [event(user, [75], document="d3", start=MORNING + timedelta(hours=1))])
    await stored(platform, user, 3)
    await settled(platform, biometric)
    first = get(platform, biometric, f"/latest/{user}", user).json()
    second = get(platform, biometric, f"/latest/{user}", user).json()
    assert (first["origin"], second["origin"]) == ("postgres", "redis")
    assert first["values"] == second["values"]
    assert {v["metric"]: v["value"] for v in first["values"]} == {"heart_rate": 75, "hrv_sdnn": 44}


async def test_a_value_from_the_future_is_kept_but_is_not_the_latest(platform: Platform, biometric: Service) -> None:
    user = new_user()
    future = datetime.now(UTC) + timedelta(hours=2)
    await publish(platform, [event(user, [60]), event(user, [99], document="d2", start=future)])
    await stored(platform, user, 2)
    await settled(platform, biometric)
    for _ in range(2):
        latest = get(platform, biometric, f"/latest/{user}", user).json()
        assert [value["value"] for value in latest["values"]] == [60]


async def test_the_database_away_loses_nothing(platform: Platform, biometric: Service) -> None:
    user = new_user()
    platform.postgres.server.kill()
    await publish(
        platform, [event(user, [60 + i], document=f"d{i}", start=MORNING + timedelta(minutes=i)) for i in range(50)]
    )

    async def says_so() -> bool:
        ready = biometric.health()
        return ready.status_code == 503 and {"database", "kafka"} <= {m["name"] for m in ready.json()["missing"]}

    await until(says_so)
    refused = get(platform, biometric, f"/readings/{user}/heart_rate", user)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert biometric.health("/health/serving").status_code == 200
    platform.postgres.server.start()
    await stored(platform, user, 50)
    biometric.wait_ready()
    assert await values(platform, user) == [60 + i for i in range(50)]


async def test_killed_under_load_every_event_is_there_once(platform: Platform, biometric: Service) -> None:
    users = [new_user() for _ in range(20)]
    events = [
        event(user, range(60, 80), document=f"d{part}", start=MORNING + timedelta(hours=part))
        for part in range(50)
        for user in users
    ]

    async def send() -> None:
        for begin in range(0, len(events), 100):
            await publish(platform, events[begin : begin + 100])

    async def some(least: int) -> None:
        async def there() -> bool:
            rows = await query(platform, "SELECT count(*) FROM readings WHERE user_id = ANY($1)", users)
            return bool(rows[0]["count"] >= least)

        await until(there)

    sending = asyncio.create_task(send())
    for least in (1, 4000, 9000):
        await some(least)
        biometric.server.kill()
        biometric.server.start()
    await sending
    await some(len(events) * 20)
    await settled(platform, biometric)
    rows = await query(
        platform, "SELECT user_id, count(*), sum(value) FROM readings WHERE user_id = ANY($1) GROUP BY 1", users
    )
    assert {row["user_id"]: (row["count"], row["sum"]) for row in rows} == dict.fromkeys(users, (1000, 69500))


async def test_replicas_share_the_work_and_may_leave(platform: Platform, biometric: Service) -> None:
    users = [new_user() for _ in range(12)]

    async def send(part: int) -> None:
        begin = MORNING + timedelta(hours=part)
        await publish(platform, [event(user, range(10), document=f"d{part}", start=begin) for user in users])

    await send(0)
    second = start(platform)
    second.wait_ready()
    for part in range(1, 5):
        await send(part)
    second.server.stop()
    for part in range(5, 9):
        await send(part)
    await settled(platform, biometric)
    assert {user: len(await values(platform, user)) for user in users} == dict.fromkeys(users, 90)


async def test_it_stops_gracefully_also_while_kafka_hangs(platform: Platform, biometric: Service) -> None:
    platform.kafka.server.signal(signal.SIGSTOP)
    try:
        biometric.server.terminate()
        assert biometric.server.wait_ended(25) == 0
    finally:
        platform.kafka.server.signal(signal.SIGCONT)


def test_only_the_own_user_may_be_asked_for(platform: Platform, biometric: Service) -> None:
    user = new_user()
    for path in (f"/latest/{user}", f"/readings/{user}/heart_rate"):
        assert httpx.get(biometric.url(path)).status_code == 401
        assert get(platform, biometric, path, new_user()).status_code == 403
        assert get(platform, biometric, path, user).status_code == 200
        operator = platform.bearer(new_user(), "read:biometrics users:all")
        assert httpx.get(biometric.url(path), headers=operator).status_code == 200


@pytest.mark.parametrize(
    ("path", "parameters", "status", "kind"),
    [
        ("/readings/{user}/mood", {}, 404, "unknown-metric"),
        ("/readings/{user}/heart_rate", {"from": "yesterday"}, 422, "invalid"),
        ("/readings/{user}/heart_rate", {"from": "2026-03-01T00:00:00"}, 422, "invalid"),
        ("/readings/{user}/heart_rate", {"from": "2026-03-02T00:00Z", "to": "2026-03-01T00:00Z"}, 422, "invalid"),
        ("/readings/{user}/heart_rate", {"limit": 0}, 422, "invalid"),
        ("/readings/{user}/heart_rate", {"limit": 10_001}, 422, "invalid"),
        ("/readings/{user}/heart_rate", {"after": "no cursor"}, 422, "invalid"),
        ("/readings/{user}/heart_rate", {"after": "MjAyNi0wMy0wMVQwMDowMDowMHxh"}, 422, "invalid"),
    ],
)
def test_a_wrong_question_is_answered_with_a_problem(
    platform: Platform, biometric: Service, path: str, parameters: dict[str, Any], status: int, kind: str
) -> None:
    user = new_user()
    answer = get(platform, biometric, path.format(user=user), user, **parameters)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:auren:problem:{kind}"


async def test_a_database_that_is_not_migrated_is_named(platform: Platform) -> None:
    empty = await platform.postgres.create_database()
    service = start(platform, environment={"AUREN_DATABASE_NAME": empty})

    async def says_so() -> bool:
        missing = {m["name"]: m["reason"] for m in service.health().json().get("missing", [])}
        return "migrations" in missing.get("database", "")

    await until(says_so)
    assert service.health("/health/serving").status_code == 200


async def test_it_says_which_edition_it_has_and_tells_nobody_who_people_are(
    platform: Platform, biometric: Service
) -> None:
    user = new_user()
    await publish(platform, [event(user, range(100), document=f"{user}-d", device=f"{user}-watch")])
    await publish_raw(platform, [(user.encode(), f'{{"user_id": "{user}"}}'.encode(), [])])
    await stored(platform, user, 100)
    await platform.records(EVENTS_DLQ, user, 1)
    summary = biometric.health("/health").json()
    assert summary["facts"]["timescaledb edition"].startswith("apache")
    assert summary["checks"] == dict.fromkeys(summary["checks"], "ok")
    metrics = biometric.metrics()
    assert 'auren_biometric_events_total{outcome="poison"}' in metrics
    assert user not in metrics
    log = biometric.server.log.read_text()
    assert "event put aside" in log
    assert user not in log


async def test_it_stays_small_with_large_events(platform: Platform, biometric: Service) -> None:
    user = new_user()
    large = [
        event(user, range(4000), document=f"{metric}-{i}", metric=metric, start=MORNING - timedelta(days=3 * (i + 1)))
        for i in range(12)
        for metric in ("heart_rate", "hrv_sdnn")
    ]
    await publish(platform, large)
    await stored(platform, user, 96_000, seconds=120)
    assert memory_mib(biometric) < MEMORY_MIB
    latest = get(platform, biometric, f"/latest/{user}", user).json()
    assert {value["metric"] for value in latest["values"]} <= set(METRICS)


async def test_what_is_older_than_a_month_is_history(platform: Platform, biometric: Service) -> None:
    user = new_user()
    old = datetime.now(UTC) - timedelta(days=31)
    await publish(platform, [event(user, [60], start=old), event(user, [44], metric="hrv_sdnn", document="d2")])
    await stored(platform, user, 2)
    await settled(platform, biometric)
    for origin in ("postgres", "redis"):
        latest = get(platform, biometric, f"/latest/{user}", user).json()
        assert (latest["origin"], [v["metric"] for v in latest["values"]]) == (origin, ["hrv_sdnn"])
    history = get(platform, biometric, f"/readings/{user}/heart_rate", user, **{"from": old - timedelta(days=1)})
    assert [reading["value"] for reading in history.json()["readings"]] == [60]
