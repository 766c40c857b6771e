"""``make bench-webhooks``: signed webhooks a second that the bridge takes, each acknowledged by Kafka before its 2xx.

A real broker, database and Redis, two replicas of the bridge and the load generator share this machine. The main run is
open loop at a stated rate with the collector at work. Beside it, in the same run: the bridge without collector and the
server without Kafka, both as fast as they go, and the handler that one would write first. Every answer with 2xx must be
a record in the topic, counted by the topic's offsets. Prints a table; writes ``build/bench/webhooks.json``.

The collector has a tenth of the processor time that a replica gets when both want it, as in a stack: webhooks must be
answered now, the log can be read a minute later.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from auren.auth import SCOPE_PUSH_HEALTHKIT
from auren.bridge.simulate import SECRETS
from auren.topics import WEBHOOKS
from tests.api import stores
from tests.api.places import REPOSITORY, part
from tests.api.processes import Servers
from tests.api.services.platform import Platform, Service
from tests.bench import figures, load

USER: Final = "biometric-bridge"
REPLICAS: Final = 2
WARM_UP_SECONDS: Final = 5
COLLECTOR_NICE: Final = 10
"""Of the scheduler's autogroups: a weight of 110 beside 1024."""

RATE_PER_SECOND: Final = 12_500
"""A little above the aim of 12,000 acknowledged."""

NOWHERE: Final = "http://127.0.0.1:9"
"""In place of the vendors' addresses: nothing of a benchmark leaves this machine."""


@dataclass
class Bench:
    """The stores, the providers' secrets, and what is sent."""

    platform: Platform
    secret: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def folder(self) -> Path:
        """Where everything of this run is."""
        return self.platform.servers.folder

    def environment(self) -> dict[str, str]:
        """What a bridge with every provider is told, besides what the platform tells it."""
        for provider, name in SECRETS.items():
            file = self.folder / "providers" / provider / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.secret)
        vendors = {f"AUREN_{vendor}_{what}_URL": NOWHERE for vendor in ("OURA", "WHOOP") for what in ("API", "TOKEN")}
        return {
            "AUREN_PROVIDERS_DIR": str(self.folder / "providers"),
            "AUREN_PUBLIC_URL": "https://bridge.example.org",
            "PYTHONPATH": str(REPOSITORY),
            **vendors,
        }

    @contextmanager
    def running(self, module: str, *arguments: str, count: int = REPLICAS) -> Iterator[list[Service]]:
        """Processes that are ready, and that end with the block."""
        services = [
            self.platform.service(module, *arguments, user=USER, environment=self.environment()) for _ in range(count)
        ]
        for service in services:
            service.wait_ready()
        yield services
        for service in services:
            service.server.stop()

    def signed(self) -> Path:
        """A file of requests with signatures of this moment: they hold for five minutes."""
        users = [f"user-{number:04d}" for number in range(load.PEOPLE)]
        tokens = {user: self.platform.token(user, SCOPE_PUSH_HEALTHKIT, ttl_seconds=3600).encode() for user in users}
        file = self.folder / "requests"
        load.write_requests(file, users, lambda provider, user: self._key(provider, tokens[user]))
        return file

    def _key(self, provider: str, token: bytes) -> bytes:
        return self.secret.encode() if provider in SECRETS else token

    async def in_topic(self) -> int:
        """Records that were ever appended to biometric-webhooks, by its offsets."""
        kafka = self.platform.kafka
        async with AIOKafkaConsumer(
            bootstrap_servers=kafka.bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=kafka.admin_username,
            sasl_plain_password=kafka.admin_password,
            enable_auto_commit=False,
        ) as consumer:
            await consumer._client.fetch_all_metadata()
            await consumer._client._wait_on_metadata(WEBHOOKS.name)
            partitions = [TopicPartition(WEBHOOKS.name, p) for p in consumer.partitions_for_topic(WEBHOOKS.name) or ()]
            return sum((await consumer.end_offsets(partitions)).values())


@dataclass(frozen=True)
class Run:
    """One run of load. `in_topic` counts the records that it left there; `rss_mib` is a replica's greatest memory."""

    load: load.Load
    in_topic: int
    rss_mib: float


async def measure(bench: Bench, services: Sequence[Service], seconds: float, rate: float = 0.0) -> Run:
    """Warm up, then send for `seconds`."""
    requests, ports = bench.signed(), [service.port for service in services]
    await asyncio.to_thread(load.send, requests, ports, WARM_UP_SECONDS, rate)
    before = await bench.in_topic()
    result = await asyncio.to_thread(load.send, requests, ports, seconds, rate)
    return Run(result, await bench.in_topic() - before, max(peak_mib(service) for service in services))


def peak_mib(service: Service) -> float:
    """The most memory that the process has had, in MiB."""
    status = Path(f"/proc/{service.server.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def yield_processors(service: Service) -> None:
    """Let others go first when they want the processors, as the small request of its container does in a cluster."""
    group = Path(f"/proc/{service.server.pid}/autogroup")
    if group.exists():
        group.write_text(str(COLLECTOR_NICE))
    else:
        os.setpriority(os.PRIO_PROCESS, service.server.pid, COLLECTOR_NICE)


def lag(collector: Service) -> int:
    """Deliveries that the collector has not handled yet, as it says itself."""
    lines = collector.metrics().splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("auren_collector_lag_records "))))


class Program:
    """One side of `tests.bench.kafka_events`, as one of the services' Kafka users."""

    def __init__(self, bench: Bench, side: str, user: str, count: int) -> None:
        """Starts it."""
        environment = {
            "AUREN_KAFKA_BOOTSTRAP": bench.platform.kafka.bootstrap,
            "AUREN_KAFKA_USERNAME": user,
            "AUREN_SECRETS_DIR": str(bench.platform.secrets_of(f"events-{side}", user)),
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-m", "tests.bench.kafka_events", side, str(count)]
        self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)

    def wait_ready(self) -> None:
        """Return once it has said that it is ready."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == "ready\n":
                return

    def result(self) -> dict[str, float]:
        """What it counted, in its last line, once it has ended."""
        printed, _ = self._process.communicate()
        found: dict[str, float] = json.loads(printed.splitlines()[-1])
        return found

    def end(self) -> None:
        """Not before its result, unless something went wrong."""
        self._process.kill()
        self._process.wait()


def kafka_events(bench: Bench, count: int) -> float:
    """Events a second through the broker: from the first one sent to the last one received, all of them counted.

    Raises RuntimeError when fewer came than were sent.
    """
    consumer = Program(bench, "consume", "biometric-production", count)
    try:
        consumer.wait_ready()
        sent = Program(bench, "produce", USER, count).result()
        received = consumer.result()
    finally:
        consumer.end()
    if received["events"] != sent["events"]:
        raise RuntimeError(f"{sent['events']:.0f} events were sent and {received['events']:.0f} came")
    return count / (received["ended"] - sent["began"])


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seconds: float
    beside_seconds: float
    rate: float
    events: int


async def run(size: Size) -> None:
    """All phases, the table and the file."""
    about = figures.machine(broker(), libraries=("aiokafka", "uvicorn", "uvloop"))
    print(about)
    with Servers("bench-webhooks") as servers:
        kafka, postgres = stores.start_kafka(servers, session=""), stores.start_postgres(servers, durable=True)
        database = await postgres.create_database()
        bench = Bench(Platform(kafka, postgres, stores.start_redis(servers), servers, database))
        await asyncio.to_thread(bench.platform.prepare)
        results = await phases(bench, size)
    results["measured"] = about
    print()
    for name, value in results.items():
        print(f"{name:<38} {value}")
    print(f"written to {figures.write('webhooks', results)}")


async def phases(bench: Bench, size: Size) -> dict[str, float | int | str]:
    """The figures by name."""
    say("the server without Kafka, as fast as it goes")
    with bench.running("tests.bench.peers", "ceiling") as services:
        ceiling = await measure(bench, services, size.beside_seconds)
    say("a handler that awaits each message")
    with bench.running("tests.bench.peers", "naive") as services:
        naive = await measure(bench, services, size.beside_seconds)
    say("the bridge without collector, as fast as it goes")
    with bench.running("auren.bridge", "serve") as services:
        alone = await measure(bench, services, size.beside_seconds)
    say("events through Kafka")
    events_per_second = await asyncio.to_thread(kafka_events, bench, size.events)
    with (
        bench.running("auren.bridge", "serve") as services,
        bench.running("auren.bridge", "collect", count=1) as [collector],
    ):
        yield_processors(collector)
        say("the bridge and the collector, as fast as they go")
        fastest = await measure(bench, services, size.beside_seconds)
        say(f"the same for {size.seconds:.0f} s with {size.rate:.0f} webhooks a second, open loop")
        ours = await measure(bench, services, size.seconds, size.rate)
        behind, collector_mib = lag(collector), peak_mib(collector)
    return {
        "replicas": REPLICAS,
        "duration_seconds": size.seconds,
        "offered_per_second": size.rate,
        "acked_per_second": round(ours.load.per_second),
        "p50_ms": ours.load.p50_ms,
        "p99_ms": ours.load.p99_ms,
        "late_requests": ours.load.late,
        "errors": ours.load.refused + ours.load.broken,
        "accepted": ours.load.accepted,
        "in_topic": ours.in_topic,
        "rss_mib": round(ours.rss_mib, 1),
        "collector_rss_mib": round(collector_mib, 1),
        "collector_lag_records": behind,
        "fastest_acked_per_second": round(fastest.load.per_second),
        "fastest_p99_ms": fastest.load.p99_ms,
        "without_collector_per_second": round(alone.load.per_second),
        "without_collector_p99_ms": alone.load.p99_ms,
        "naive_per_second": round(naive.load.per_second),
        "naive_p99_ms": naive.load.p99_ms,
        "times_naive": round(alone.load.per_second / naive.load.per_second, 2),
        "ceiling_per_second": round(ceiling.load.per_second),
        "events_per_second_kafka": round(events_per_second),
        "all_counted": all(one.load.accepted == one.in_topic for one in (naive, alone, fastest, ours)),
    }


def broker() -> str:
    """The broker's version, as its archive says it."""
    return next(part("kafka", "libs").glob("kafka-clients-*.jar")).stem.replace("-clients", "")


def say(text: str) -> None:
    """Tell the person who waits what is going on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of the main run")
    parser.add_argument("--beside-seconds", type=float, default=20, help="of each run beside it")
    parser.add_argument("--rate", type=float, default=RATE_PER_SECOND, help="webhooks a second in the main run")
    parser.add_argument("--events", type=int, default=2_000_000, help="events through Kafka")
    given = parser.parse_args()
    asyncio.run(run(Size(given.seconds, given.beside_seconds, given.rate, given.events)))


if __name__ == "__main__":
    main()
