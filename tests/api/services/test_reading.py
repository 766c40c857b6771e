"""What the biometric service answers from real stores: ranges in every form, what was learnt, reports, rate limits."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pyarrow
import pytest

from tests.api.processes import Servers
from tests.api.services.measurements import event, publish
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.waiting import until

USER = "biometric-production"
ARROW = "application/vnd.apache.arrow.stream"
GROWTH_MIB = 40
"""What a long stream may add to a service: some pages of it."""

COLUMNS = [
    "time",
    "user_id",
    "metric",
    "source",
    "value",
    "end_time",
    "flags",
    "provider",
    "document_id",
    "version",
    "event_id",
    "received_at",
]


def start(platform: Platform, **environment: str) -> Service:
    return platform.service("auren.biometric", user=USER, environment=environment)


@pytest.fixture(scope="module")
def biometric(prepared_platform: Platform) -> Iterator[Service]:
    """One service for the tests of this module, which only read."""
    with Servers("reading") as servers:
        prepared_platform.servers = servers
        service = start(prepared_platform)
        service.wait_ready()
        yield service


@pytest.fixture
async def store(platform: Platform) -> AsyncIterator[asyncpg.Connection]:
    """The database as the superuser sees it."""
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    yield connection
    await connection.close()


Reading = tuple[datetime, float, str, tuple[str, ...] | None]


async def keep(store: asyncpg.Connection, user: str, readings: Iterable[Reading], metric: str = "heart_rate") -> None:
    """Put readings of (time, value, source, flags) into the table, past the ingest."""
    event = uuid.uuid4()
    rows = [
        (time, user, metric, source, value, None, flags, "oura", "d1", 1, event, time)
        for time, value, source, flags in readings
    ]
    await store.copy_records_to_table("readings", records=rows, columns=COLUMNS)


def ask(
    platform: Platform, service: Service, user: str, path: str, accept: str = "*/*", **parameters: Any
) -> httpx.Response:
    headers = platform.bearer(user, "read:biometrics") | {"Accept": accept}
    return httpx.get(service.url(path.format(user=user)), params=parameters, headers=headers, timeout=60)


def body(*asked: Any, **parameters: Any) -> Any:
    answer = ask(*asked, **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def every(minutes: int, start: datetime, end: datetime) -> list[datetime]:
    return [start + n * timedelta(minutes=minutes) for n in range(int((end - start) / timedelta(minutes=minutes)))]


@pytest.mark.parametrize(
    ("zone", "begin", "counts"),
    [
        ("UTC", date(2026, 3, 28), [96, 96, 96]),
        ("Europe/Berlin", date(2026, 3, 28), [96, 92, 96]),
        ("Europe/Berlin", date(2026, 10, 24), [96, 100, 96]),
        ("America/Santiago", date(2026, 9, 5), [96, 92, 96]),
        ("Australia/Lord_Howe", date(2026, 4, 4), [96, 98, 96]),
        ("Asia/Kolkata", date(2026, 3, 28), [96, 96, 96]),
        ("Asia/Kathmandu", date(2026, 3, 28), [96, 96, 96]),
    ],
)
async def test_a_day_is_as_long_as_its_zone_makes_it(
    platform: Platform, biometric: Service, store: asyncpg.Connection, zone: str, begin: date, counts: list[int]
) -> None:
    user, tz = new_user(), ZoneInfo(zone)
    first = datetime(begin.year, begin.month, begin.day, tzinfo=UTC) - timedelta(days=1)
    times = every(15, first, first + timedelta(days=6))
    await keep(store, user, [(time, float(n % 97), "ring", None) for n, time in enumerate(times)])
    await keep(store, user, [(times[100], 999.0, "other", ("implausible",)), (times[300], 1.0, "other", ("vendor",))])
    start = datetime(begin.year, begin.month, begin.day, tzinfo=tz)
    parameters = {"from": start.isoformat(), "to": (start.astimezone(UTC) + timedelta(days=2.1)).isoformat()}
    found = body(platform, biometric, user, "/readings/{user}/heart_rate", resolution="day", tz=zone, **parameters)
    days: dict[date, list[float]] = defaultdict(list)
    for n, time in enumerate(times):
        days[time.astimezone(tz).date()].append(float(n % 97))
    ring = [bucket for bucket in found["buckets"] if bucket["source"] == "ring"]
    assert [bucket["count"] for bucket in ring] == counts
    for bucket, day in zip(ring, (begin + timedelta(days=n) for n in range(3)), strict=True):
        assert datetime.fromisoformat(bucket["start"]).astimezone(tz).date() == day
        assert bucket["total"] == sum(days[day])
        assert bucket["average"] == pytest.approx(sum(days[day]) / len(days[day]))
        assert (bucket["lowest"], bucket["highest"]) == (min(days[day]), max(days[day]))
    others = [bucket["total"] for bucket in found["buckets"] if bucket["source"] == "other"]
    assert 999 not in others
    pages = [
        page["buckets"]
        for page in every_page(
            platform, biometric, user, "/readings/{user}/heart_rate", resolution="day", tz=zone, limit=1, **parameters
        )
    ]
    assert [bucket for page in pages for bucket in page] == found["buckets"]


def every_page(platform: Platform, service: Service, user: str, path: str, **parameters: Any) -> Iterator[Any]:
    after: dict[str, str] = {}
    while True:
        page = body(platform, service, user, path, **parameters, **after)
        yield page
        if page["next"] is None:
            return
        after = {"after": page["next"]}


async def test_hours_are_what_their_trusted_readings_make_of_them(
    platform: Platform, biometric: Service, store: asyncpg.Connection
) -> None:
    user, begin = new_user(), datetime(2026, 5, 1, tzinfo=UTC)
    times = every(10, begin, begin + timedelta(hours=5))
    await keep(store, user, [(time, float(n), "a", None) for n, time in enumerate(times)])
    await keep(store, user, [(time, 5.0, "b", ("future",) if n == 2 else None) for n, time in enumerate(times[6:9])])
    parameters = {"from": begin.isoformat(), "to": (begin + timedelta(hours=2, minutes=1)).isoformat()}
    found = body(platform, biometric, user, "/readings/{user}/heart_rate", resolution="hour", **parameters)
    assert [(b["start"], b["source"], b["count"], b["total"]) for b in found["buckets"]] == [
        ("2026-05-01T00:00:00Z", "a", 6, 15),
        ("2026-05-01T01:00:00Z", "a", 6, 51),
        ("2026-05-01T01:00:00Z", "b", 2, 10),
        ("2026-05-01T02:00:00Z", "a", 6, 87),
    ]
    pages = every_page(
        platform, biometric, user, "/readings/{user}/heart_rate", resolution="hour", limit=1, **parameters
    )
    assert [page["buckets"][0] for page in pages] == found["buckets"]


async def test_csv_and_arrow_are_what_the_pages_of_json_are(
    platform: Platform, biometric: Service, store: asyncpg.Connection
) -> None:
    user, begin = new_user(), datetime(2026, 4, 1, tzinfo=UTC)
    times = [begin + timedelta(seconds=7, microseconds=1) * n for n in range(12_000)]
    await keep(
        store, user, [(time, n / 7, f"=device {n % 3}", ("late",) if n % 5 else None) for n, time in enumerate(times)]
    )
    parameters = {"from": begin.isoformat(), "to": (begin + timedelta(days=2)).isoformat()}
    path = "/readings/{user}/heart_rate"
    rows = [
        row
        for page in every_page(platform, biometric, user, path, limit=5000, **parameters)
        for row in page["readings"]
    ]
    assert len(rows) == len(times)
    text = ask(platform, biometric, user, path, accept="text/csv", **parameters).text
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(r["time"], float(r["value"]), r["source"].removeprefix("'"), r["flags"].split()) for r in lines] == [
        (r["time"], r["value"], r["source"], r["flags"]) for r in rows
    ]
    content = ask(platform, biometric, user, path, accept=ARROW, **parameters).content
    table = pyarrow.ipc.open_stream(content).read_all().to_pylist()
    assert [(r["time"], r["value"], r["source"], r["flags"]) for r in table] == [
        (datetime.fromisoformat(r["time"]), r["value"], r["source"], r["flags"]) for r in rows
    ]


def memory_mib(service: Service) -> float:
    with open(f"/proc/{service.server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def a_year(store: asyncpg.Connection, user: str) -> datetime:
    """A year of readings, one every two minutes; when it begins."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    await store.execute(
        f"""
        INSERT INTO readings ({", ".join(COLUMNS)})
        SELECT t, $1, 'heart_rate', 'oura/ring', 60 + random(), NULL, NULL, 'oura', 'd', 1,
            gen_random_uuid(), t
        FROM generate_series($2::timestamptz, $3::timestamptz, '2 minutes') t
        """,
        user,
        begin,
        begin + timedelta(days=365) - timedelta(minutes=2),
    )
    return begin


@pytest.mark.parametrize("accept", ["text/csv", ARROW])
async def test_a_year_does_not_have_to_fit_into_memory(
    platform: Platform, biometric: Service, store: asyncpg.Connection, accept: str
) -> None:
    user = new_user()
    begin = await a_year(store, user)
    parameters = {"from": begin.isoformat(), "to": (begin + timedelta(days=365)).isoformat()}
    headers = platform.bearer(user, "read:biometrics") | {"Accept": accept}
    before, highest, received = memory_mib(biometric), 0.0, []
    async with httpx.AsyncClient(timeout=60) as client:
        url = biometric.url(f"/readings/{user}/heart_rate")
        async with client.stream("GET", url, params=parameters, headers=headers) as answer:
            assert answer.status_code == 200
            async for part in answer.aiter_bytes():
                received.append(part)
                highest = max(highest, memory_mib(biometric))
    content = b"".join(received)
    count = content.count(b"\n") - 1 if accept == "text/csv" else len(pyarrow.ipc.open_stream(content).read_all())
    assert count == 365 * 720
    assert highest - before < GROWTH_MIB


async def test_a_stream_that_loses_its_database_does_not_look_complete(
    platform: Platform, biometric: Service, store: asyncpg.Connection
) -> None:
    user = new_user()
    begin = await a_year(store, user)
    parameters = {"from": begin.isoformat(), "to": (begin + timedelta(days=365)).isoformat()}
    headers = platform.bearer(user, "read:biometrics") | {"Accept": "text/csv"}
    async with httpx.AsyncClient(timeout=60) as client:
        url = biometric.url(f"/readings/{user}/heart_rate")
        async with client.stream("GET", url, params=parameters, headers=headers) as answer:
            parts = answer.aiter_bytes()
            await anext(parts)
            # What is on its way fills the sockets, and the service waits for this reader.
            platform.postgres.server.stop()
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in parts:
                    pass
    platform.postgres.server.start()
    biometric.wait_ready()


async def test_what_was_learnt_is_told(platform: Platform, biometric: Service, store: asyncpg.Connection) -> None:
    user, now = new_user(), datetime(2026, 5, 20, 7, tzinfo=UTC)
    days = [
        (user, "hrv_rmssd", date(2026, 5, 20) - timedelta(days=n), "ring", 2, (50 + n) * 2_000_000) for n in range(20)
    ]
    await store.copy_records_to_table("daily_values", records=days)
    baselines = body(platform, biometric, user, "/baselines/{user}/hrv_rmssd", at="2026-05-20")["baselines"]
    assert [(b["window_days"], b["days"], b["mean"], b["median"]) for b in baselines] == [
        (7, 7, 54, 54),
        (28, 19, 60, 60),
    ]
    nothing = body(platform, biometric, user, "/mode/{user}")
    assert (nothing["mode"], nothing["since"]) == ("baseline", None)
    await store.execute("INSERT INTO people VALUES ($1, 1, $2, 'guardian', $2, '{}')", user, now)
    assert body(platform, biometric, user, "/mode/{user}")["reason"] == "no rule has held yet"
    evidence = [{"metric": "hrv_rmssd", "value": 41, "unit": "ms", "time": now.isoformat(), "comparison": "drop_ratio"}]
    for n, mode in enumerate(("reflex", "pattern", "guardian")):
        await store.execute(
            "INSERT INTO mode_switches VALUES ($1, $2, $3, $4, 'baseline', 'r1', 'HRV fell', 0.9, $5, $6, $1)",
            uuid.uuid4(),
            user,
            now - timedelta(hours=2 - n),
            mode,
            json.dumps([evidence[0] | {"threshold": 0.3, "baseline": 60.0}]),
            json.dumps([{"metric": "spo2", "why": "absent"}]),
        )
    mode = body(platform, biometric, user, "/mode/{user}")
    assert (mode["mode"], mode["reason"], mode["rule"]) == ("guardian", "HRV fell", "r1")
    assert mode["evidence"][0]["baseline"] == 60
    parameters = {"from": (now - timedelta(days=1)).isoformat(), "to": (now + timedelta(days=1)).isoformat()}
    pages = every_page(platform, biometric, user, "/mode/{user}/history", limit=1, **parameters)
    assert [page["switches"][0]["mode"] for page in pages] == ["reflex", "pattern", "guardian"]
    for detail, ended in (("15", None), ("16", now)):
        await store.execute(
            "INSERT INTO patterns VALUES ($1, 'recurring-dip', $2, 'high', 0.7, $3, $3, $4, $5)",
            user,
            detail,
            now,
            ended,
            json.dumps({"times": 6}),
        )
    assert [p["detail"] for p in body(platform, biometric, user, "/patterns/{user}")["patterns"]] == ["15"]
    both = body(platform, biometric, user, "/patterns/{user}", ended=True)["patterns"]
    assert [(p["detail"], p["evidence"]) for p in both] == [("15", {"times": 6}), ("16", {"times": 6})]


async def test_what_comes_over_the_log_is_told_with_why(platform: Platform, biometric: Service) -> None:
    user, now = new_user(), datetime.now(UTC)
    days = [now - timedelta(days=n, hours=1) for n in range(12, 0, -1)]
    past = [event(user, [60 + n % 3], metric="hrv_rmssd", document=f"d{n}", start=day) for n, day in enumerate(days)]
    fall = event(user, [38], metric="hrv_rmssd", document="now", start=now - timedelta(minutes=30))
    await publish(platform, [*past, fall])

    async def switched() -> bool:
        return bool(body(platform, biometric, user, "/mode/{user}")["evidence"])

    await until(switched)
    mode = body(platform, biometric, user, "/mode/{user}")
    assert mode["mode"] != "baseline"
    (found,) = [e for e in mode["evidence"] if e["baseline"]]
    assert (found["metric"], found["value"]) == ("hrv_rmssd", 38)
    assert found["baseline"] == pytest.approx(61, abs=0.2)
    (switch,) = body(platform, biometric, user, "/mode/{user}/history")["switches"]
    assert (switch["mode"], switch["previous"], switch["evidence"]) == (mode["mode"], "baseline", mode["evidence"])
    today = (now - timedelta(minutes=30)).date()
    month = body(platform, biometric, user, "/baselines/{user}/hrv_rmssd", at=today.isoformat())["baselines"][1]
    assert month["trusted"]
    assert month["mean"] == pytest.approx(61, abs=0.2)
    page = ask(platform, biometric, user, "/reports/{user}", to=today.isoformat()).text
    assert f"Now {mode['mode']}" in page or today != datetime.now(UTC).date()
    assert "Newest: 38 ms on " in page


async def test_a_report_is_drawn(platform: Platform, biometric: Service, store: asyncpg.Connection) -> None:
    user, end = new_user(), date(2026, 5, 20)
    rows = [
        (user, metric, end - timedelta(days=n), "ring", 1, value * 1_000_000)
        for n in range(30)
        for metric, value in (
            ("hrv_rmssd", 50 + n),
            ("resting_heart_rate", 55),
            ("recovery_score", 60),
            ("sleep_total", 400),
        )
    ]
    await store.copy_records_to_table("daily_values", records=rows)
    await keep(
        store, user, [(datetime(2026, 5, 18, 5, tzinfo=UTC), 900.0, "<b>ring</b>", ("implausible",))], "hrv_rmssd"
    )
    answer = ask(platform, biometric, user, "/reports/{user}", to="2026-05-20", tz="Europe/Berlin")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.text.count("data:image/svg+xml;base64,") == 4
    assert "&lt;b&gt;ring&lt;/b&gt; is outside what a body does" in answer.text
    assert "<b>" not in answer.text
    assert "Newest: 50 ms on Wed 20 May, below the usual" in answer.text
    empty = ask(platform, biometric, new_user(), "/reports/{user}").text
    assert empty.count('class="none"') == 5


def counted(service: Service, name: str) -> float:
    (line,) = [line for line in service.metrics().splitlines() if line.startswith(f"auren_biometric_{name}_total ")]
    return float(line.split()[1])


def statuses(platform: Platform, service: Service, user: str, times: int) -> list[int]:
    return [ask(platform, service, user, "/latest/{user}").status_code for _ in range(times)]


async def test_who_asks_too_often_is_refused_by_every_replica_and_nobody_while_redis_is_away(
    platform: Platform,
) -> None:
    first, second = (start(platform, AUREN_RATE_LIMIT_PER_MINUTE="5") for _ in range(2))
    for service in (first, second):
        service.wait_ready()
    user, other = new_user(), new_user()
    assert statuses(platform, first, user, 4) == [200] * 4
    assert statuses(platform, second, user, 2) == [200, 429]
    refused = ask(platform, first, user, "/latest/{user}")
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:auren:problem:too-many")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert statuses(platform, first, other, 1) == [200]
    assert (counted(first, "rate_limited_requests"), counted(second, "rate_limited_requests")) == (1, 1)
    assert counted(first, "uncounted_requests") == 0
    assert first.health("/health/live").status_code == 200
    platform.redis.server.stop()
    assert statuses(platform, first, user, 8) == [200] * 8
    assert counted(first, "uncounted_requests") == 8
    platform.redis.server.start()
    newcomer = new_user()

    async def counted_again() -> bool:
        return 429 in statuses(platform, second, newcomer, 6)

    await until(counted_again)
