"""``make bench-ingest``: from Kafka into TimescaleDB, from a webhook to a row and to a mode, and what the API answers.

A real broker, database (which waits for its disk) and Redis, the services, and whoever measures, share this machine.
Three parts, each of which can be run alone:

* throughput: a log of 1,000 people's readings (tests/bench/measured.py) is taken in by one biometric process, modes on;
  then the same log once more. Beside it, in the same run: plain COPY of the same rows, and the INSERT for each event
  that one would write first;
* latency: signed deliveries to the bridge at a steady rate, until their rows, and the decisions about modes that follow
  from them, can be read in the database;
* api: a hundred people who ask once a second, open loop, over ten million rows.

Prints a table; writes ``build/bench/ingest.json``.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from typing import Final

import uvloop

from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import query
from tests.api.services.platform import Platform
from tests.bench import asking, figures, latency, measured, throughput
from tests.bench.filling import fill
from tests.bench.webhooks import broker, say

Figures = dict[str, float | int | str]

PARTS: Final = ("throughput", "latency", "api")
LIBRARIES: Final = ("aiokafka", "asyncpg", "msgspec", "fastapi", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Size:
    """How much is measured, and which parts."""

    parts: tuple[str, ...]
    rows: int
    users: int
    naive_rows: int
    seconds: float
    api_rows: int


async def run(size: Size) -> None:
    """All parts, the table and the file."""
    with Servers("bench-ingest") as servers:
        kafka, postgres = stores.start_kafka(servers, session=""), stores.start_postgres(servers, durable=True)
        platform = Platform(kafka, postgres, stores.start_redis(servers), servers, await postgres.create_database())
        await asyncio.to_thread(platform.prepare)
        about = figures.machine(broker(), await database(platform), libraries=LIBRARIES)
        print(about)
        results: Figures = {}
        for part in size.parts:
            results |= await MEASURE[part](platform, size)
    results["measured"] = about
    print()
    for name, value in results.items():
        print(f"{name:<32} {value}")
    print(f"written to {figures.write('ingest', results)}")


async def database(platform: Platform) -> str:
    """The versions of server and extension."""
    [row] = await query(
        platform,
        "SELECT current_setting('server_version') AS server, extversion AS extension, "
        "current_setting('timescaledb.license') AS edition FROM pg_extension WHERE extname = 'timescaledb'",
    )
    return f"PostgreSQL {row['server'].split()[0]} with TimescaleDB {row['extension']} ({row['edition']})"


async def throughput_figures(platform: Platform, size: Size) -> Figures:
    """The log into the table, once and once more, and what stands beside it."""
    plan = measured.plan(size.rows, size.users)
    say(f"{plan.events:,} events with {plan.rows:,} readings into Kafka")
    sent = await fill(platform, plan)
    say("from Kafka into the table")
    taken = await throughput.ingest(platform, plan)
    say("the same events once more")
    again = await throughput.replay(platform, plan)
    say("COPY of the same rows")
    limit = await throughput.copy_limit(platform.postgres, plan)
    say("an INSERT for each event")
    naive = await throughput.naive(platform.postgres, plan, size.naive_rows)
    return {
        "users": size.users,
        "events_sent": sent,
        "rows_sent": sent * measured.READINGS,
        "rows_in_table": taken.table.rows,
        "rows_added_by_replay": again.table.rows - taken.table.rows,
        "rows_per_second": round(taken.rows_per_second),
        "events_per_second": round(taken.events_per_second),
        "ingest_seconds": round(taken.seconds, 1),
        "rss_mib": round(taken.rss_mib, 1),
        "mode_switches": taken.table.switches,
        "mode_switches_added_by_replay": again.table.switches - taken.table.switches,
        "replay_events_per_second": round(again.events_per_second),
        "copy_limit_rows_per_second": round(limit),
        "share_of_copy_limit": round(taken.rows_per_second / limit, 2),
        "naive_rows_per_second": round(naive),
    }


async def latency_figures(platform: Platform, size: Size) -> Figures:
    """From the webhook to the row and to the mode."""
    say(f"{latency.PER_SECOND:.0f} deliveries a second for {size.seconds:.0f} s")
    seen = await latency.measure(platform, size.seconds)
    return {
        "deliveries": len(seen.sent),
        "deliveries_per_second": latency.PER_SECOND,
        **spread("webhook_to_row", seen.to_row()),
        "deliveries_that_switched_a_mode": len(seen.modes),
        **spread("webhook_to_mode", seen.to_mode()),
    }


async def api_figures(platform: Platform, size: Size) -> Figures:
    """What people hear who ask."""
    say(f"{asking.PEOPLE} people ask once a second for {size.seconds:.0f} s")
    asked = await asking.measure(platform, size.api_rows, size.seconds)
    if asked.errors:
        print(f"errors: {dict(asked.errors)}")
    each = {f"api_{name}_p99_ms": milliseconds(seconds, 0.99) for name, seconds in sorted(asked.seconds.items())}
    return {
        "api_rows_in_table": asked.rows,
        "api_requests": len(asked.all()),
        "api_errors": sum(asked.errors.values()),
        **spread("api", asked.all()),
        **each,
    }


MEASURE: Final = {"throughput": throughput_figures, "latency": latency_figures, "api": api_figures}


def spread(name: str, seconds: list[float]) -> Figures:
    """Median and 99th percentile."""
    return {f"{name}_p{share}_ms": milliseconds(seconds, share / 100) for share in (50, 99)}


def milliseconds(seconds: list[float], share: float) -> float:
    """A percentile of times."""
    return round(figures.percentile(seconds, share) * 1000, 1)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="leave the other parts out")
    parser.add_argument("--rows", type=int, default=5_000_000, help="that are taken in, at least")
    parser.add_argument("--users", type=int, default=1000, help="whose readings these are")
    parser.add_argument("--naive-rows", type=int, default=50_000, help="for the INSERT of each event")
    parser.add_argument("--seconds", type=float, default=60, help="of deliveries, and of questions")
    parser.add_argument("--api-rows", type=int, default=10_000_000, help="in the table while people ask, at least")
    given = parser.parse_args()
    parts = tuple(part for part in PARTS if part in (given.only or PARTS))
    uvloop.run(run(Size(parts, given.rows, given.users, given.naive_rows, given.seconds, given.api_rows)))


if __name__ == "__main__":
    main()
