"""From sending a webhook until its rows, and a decision about the person's mode, can be read in the database.

Each delivery is about another person, who has a month of nights behind, so it is plain whose rows they are. Two in
three are what phones and Terra deliver (auren.bridge.simulated_vendors); the third is a phone's HRV value of sixty per
cent of the person's usual, which leads to another mode. They are sent when they are due, whatever has come of others.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import httpx

from auren.auth import SCOPE_PUSH_HEALTHKIT
from auren.bridge.simulated_people import people
from auren.bridge.simulated_vendors import Sent, bearer, deliver
from tests.api.services.platform import Platform
from tests.bench import measured, throughput
from tests.bench.filling import fill, stored
from tests.bench.webhooks import Bench

PER_SECOND: Final = 5.0
KINDS: Final = ("healthkit", "terra", "fall")
POLL_SECONDS: Final = 0.002
PATIENCE_SECONDS: Final = 30
LINGER_SECONDS: Final = 2
"""How long decisions are looked for after the last expected one: simulated people have some, too."""

WARM_UP: Final = 15
"""Deliveries before, which do not count: connections, caches, the first batch of each process."""

_OLDEST: Final = timedelta(days=3)
"""What is delivered begins at most so long ago; the query looks into these chunks only."""

_ROWS: Final = """
SELECT DISTINCT user_id FROM readings WHERE user_id = ANY($1) AND time > $2 AND received_at >= $3
"""
_SWITCHES: Final = "SELECT DISTINCT user_id FROM mode_switches WHERE user_id = ANY($1) AND at >= $2"


@dataclass
class Seen:
    """When what came of whom, by user, in seconds of `time.perf_counter`."""

    sent: dict[str, float] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)
    modes: dict[str, float] = field(default_factory=dict)

    def to_row(self) -> list[float]:
        """Seconds from sending to rows."""
        return [at - self.sent[user] for user, at in self.rows.items()]

    def to_mode(self) -> list[float]:
        """Seconds from sending to a decision."""
        return [at - self.sent[user] for user, at in self.modes.items()]


async def measure(platform: Platform, seconds: float) -> Seen:
    """Send for so many seconds. Raises TimeoutError when rows or expected decisions do not come."""
    bench = Bench(platform)
    plan = measured.month(
        [f"latency-{number:04d}" for number in range(WARM_UP + int(seconds * PER_SECOND))], "hrv_sdnn"
    )
    await fill(platform, plan)
    biometric = throughput.start(platform)
    with (
        bench.running("auren.bridge", "serve", count=1) as [bridge],
        bench.running("auren.bridge", "collect", count=1),
    ):
        biometric.wait_ready()
        await stored(platform, plan)
        async with httpx.AsyncClient(base_url=bridge.url(""), timeout=10) as client:
            deliveries = Deliveries(bench, plan, client)
            await deliveries.run(range(WARM_UP))
            seen = await deliveries.run(range(WARM_UP, len(plan.users)))
    biometric.server.stop()
    return seen


class Deliveries:
    """Sends, and looks in the database for what comes of it."""

    def __init__(self, bench: Bench, plan: measured.Plan, client: httpx.AsyncClient) -> None:
        """`client` has the bridge's address as its base."""
        self._bench = bench
        self._plan = plan
        self._client = client
        self._people = people(plan.users, seed=1)

    async def run(self, numbers: Sequence[int]) -> Seen:
        """One delivery about each of these people."""
        seen, expected = Seen(), {self._plan.users[number] for number in numbers if self._kind(number) == "fall"}
        platform = self._bench.platform
        connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send_all(numbers, seen))
                group.create_task(_look(connection, sending, seen, expected))
        finally:
            await connection.close()
        return seen

    async def _send_all(self, numbers: Sequence[int], seen: Seen) -> None:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for turn, number in enumerate(numbers):
                await asyncio.sleep(max(0.0, began + turn / PER_SECOND - time.perf_counter()))
                group.create_task(self._send(number, seen))

    async def _send(self, number: int, seen: Seen) -> None:
        sent = self._delivery(number, datetime.now(UTC))
        seen.sent[self._plan.users[number]] = time.perf_counter()
        (await self._client.post(sent.path, content=sent.body, headers=sent.headers)).raise_for_status()

    def _kind(self, number: int) -> str:
        """Whose HRV fell last night already is in another mode, and would stay in it."""
        kind = KINDS[number % len(KINDS)]
        last_night = self._plan.start + timedelta(days=self._plan.rounds - 1)
        return "healthkit" if kind == "fall" and self._plan.fell(number, last_night) else kind

    def _delivery(self, number: int, now: datetime) -> Sent:
        kind, user = self._kind(number), self._plan.users[number]
        if kind == "terra":
            return deliver(kind, self._people[number], number, now, self._bench.secret.encode())
        token = self._bench.platform.token(user, SCOPE_PUSH_HEALTHKIT, ttl_seconds=3600).encode()
        return _fall(number, now, token) if kind == "fall" else deliver(kind, self._people[number], number, now, token)


def _fall(number: int, now: datetime, token: bytes) -> Sent:
    """Health Auto Export's push of one HRV value, far below the person's usual."""
    value = round(measured.usual_hrv_ms(number) * measured.FALL, 1)
    sample = {"date": now.strftime("%Y-%m-%d %H:%M:%S %z"), "qty": value, "source": "Apple Watch"}
    metric = {"name": "heart_rate_variability", "units": "ms", "data": [sample]}
    body = json.dumps({"data": {"metrics": [metric], "workouts": []}}).encode()
    return Sent("healthkit", "/webhooks/healthkit", body, {"content-type": "application/json"} | bearer(token, body, 0))


async def _look(connection: asyncpg.Connection, sending: asyncio.Task[None], seen: Seen, expected: set[str]) -> None:
    """Until all rows and expected decisions have been seen, and a little longer for decisions that were not."""
    began = datetime.now(UTC)
    settled_at, deadline = None, 0.0
    while settled_at is None or time.perf_counter() < settled_at + LINGER_SECONDS:
        await asyncio.sleep(POLL_SECONDS)
        waiting = list(seen.sent.keys() - seen.rows.keys())
        found = await connection.fetch(_ROWS, waiting, began - _OLDEST, began) if waiting else []
        now = time.perf_counter()
        seen.rows |= {row["user_id"]: now for row in found}
        undecided = list(seen.sent.keys() - seen.modes.keys())
        found = await connection.fetch(_SWITCHES, undecided, began) if undecided else []
        now = time.perf_counter()
        seen.modes |= {row["user_id"]: now for row in found}
        if not sending.done():
            deadline = now + PATIENCE_SECONDS
        elif seen.rows.keys() == seen.sent.keys() and expected <= seen.modes.keys():
            settled_at = settled_at or now
        elif now > deadline:
            missing = len(seen.sent) - len(seen.rows)
            raise TimeoutError(f"{missing} without rows, {len(expected - seen.modes.keys())} without their decision")
