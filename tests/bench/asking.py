"""What the API answers to a hundred people who ask once a second each, over a table of ten million rows and more.

Open loop: every request has its moment, whatever has come of the others, and its time counts from there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
import asyncpg

from auren.auth import SCOPE_READ_BIOMETRICS
from tests.api.services.platform import Platform, Service
from tests.bench import measured, throughput
from tests.bench.filling import fill, stored

PEOPLE: Final = 100
LEAST_DAYS: Final = 30
"""Of heart rates by the minute, for questions about a month; as many more as the wanted number of rows takes."""

MINUTES_OF_DAY: Final = 24 * 60
TIMEOUT_SECONDS: Final = 10

_MINUTES: Final = """
INSERT INTO readings
    (time, user_id, metric, source, value, provider, document_id, version, event_id, received_at)
SELECT minute, person, 'heart_rate', 'oura/ring', 55 + (extract(epoch FROM minute)::bigint / 60 * 7 % 40), 'oura',
       'bench', 1, '00000000-0000-0000-0000-000000000000', minute
FROM generate_series($2::timestamptz, $3::timestamptz - INTERVAL '1 minute', INTERVAL '1 minute') AS minute,
     unnest($1::text[]) AS person
"""
_DAYS: Final = """
INSERT INTO daily_values
SELECT user_id, metric, (time AT TIME ZONE 'UTC')::date, source, count(*), sum(round(value * 1000000))
FROM readings WHERE user_id = ANY($1) AND metric = 'heart_rate' GROUP BY 1, 2, 3, 4
"""


@dataclass
class Asked:
    """Seconds from each request's moment to its answer, by what was asked; and what else came than 200."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    """In the table meanwhile."""

    def clear(self) -> None:
        """Forget what was."""
        self.seconds.clear()
        self.errors.clear()

    def all(self) -> list[float]:
        """Of whatever was asked."""
        return [second for of in self.seconds.values() for second in of]


def questions(user: str, today: datetime) -> Mapping[str, tuple[str, Mapping[str, str | int]]]:
    """Path and parameters of each question about a person, asked in turn."""
    yesterday, month = today - timedelta(days=1), today - timedelta(days=30)
    heart_rate = f"/readings/{user}/heart_rate"
    return {
        "latest": (f"/latest/{user}", {}),
        "raw_day": (heart_rate, {"from": yesterday.isoformat(), "to": today.isoformat(), "limit": 2000}),
        "mode": (f"/mode/{user}", {}),
        "days_of_month": (heart_rate, {"resolution": "day", "from": month.isoformat(), "to": today.isoformat()}),
        "baselines": (f"/baselines/{user}/hrv_rmssd", {}),
    }


async def measure(platform: Platform, rows: int, seconds: float) -> Asked:
    """Fill the table up to `rows`, or further, then ask for so many seconds."""
    plan = measured.month([f"asking-{number:04d}" for number in range(PEOPLE)])
    await fill(platform, plan)
    service = throughput.start(platform)
    service.wait_ready()
    await stored(platform, plan)
    there = await _fill_table(platform, plan, rows)
    asked = await _ask(platform, service, plan, seconds)
    service.server.stop()
    asked.rows = there
    return asked


async def _fill_table(platform: Platform, plan: measured.Plan, rows: int) -> int:
    """Heart rates up to this midnight, made in the server; returns how many rows there are then."""
    before = (await throughput.table(platform)).rows
    days = max(LEAST_DAYS, math.ceil((rows - before) / (len(plan.users) * MINUTES_OF_DAY)))
    today = _midnight()
    users = list(plan.users)
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    try:
        await connection.execute(_MINUTES, users, today - timedelta(days=days), today)
        await connection.execute(_DAYS, users)
        await connection.execute("VACUUM (ANALYZE) readings, daily_values")  # as the server does by itself, but now
    finally:
        await connection.close()
    return (await throughput.table(platform)).rows


async def _ask(platform: Platform, service: Service, plan: measured.Plan, seconds: float) -> Asked:
    """aiohttp's client: httpx takes more of the processors that all share than the service does."""
    asked = Asked()
    timeout, connections = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS), aiohttp.TCPConnector(limit=len(plan.users))
    async with aiohttp.ClientSession(service.url(""), timeout=timeout, connector=connections) as client:
        people = [_Person(client, platform, user, asked) for user in plan.users]
        for turn in range(len(people[0].questions)):  # opens the connections, fills what is kept in memory
            await asyncio.gather(*(person.ask(turn, time.perf_counter()) for person in people))
        asked.clear()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(int(seconds * len(people))):
                turn, number = divmod(index, len(people))
                due = began + index / len(people)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(people[number].ask(turn + number, due))
    return asked


class _Person:
    """One who asks about themselves."""

    def __init__(self, client: aiohttp.ClientSession, platform: Platform, user: str, asked: Asked) -> None:
        self.questions = list(questions(user, _midnight()).items())
        self._client = client
        self._headers = platform.bearer(user, SCOPE_READ_BIOMETRICS, ttl_seconds=3600)
        self._asked = asked

    async def ask(self, turn: int, due: float) -> None:
        name, (path, parameters) = self.questions[turn % len(self.questions)]
        try:
            async with self._client.get(path, params=parameters, headers=self._headers) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._asked.errors[type(error).__name__] += 1
        else:
            if answer.status != 200:
                self._asked.errors[f"{name}: {answer.status}"] += 1
        self._asked.seconds[name].append(time.perf_counter() - due)


def _midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
