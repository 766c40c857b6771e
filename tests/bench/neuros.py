"""``make bench-neuros``: what NEUROS adds to the model that it asks, reflex and greetings, a hundred who talk at once.

NEUROS with its default settings, one process unless told otherwise, on a real Kafka, database (which waits for its
disk), Redis and Chroma; a double of the model in a process of its own; a hundred people with four weeks of days and
nights and thirty memories each. All of it, and whoever measures, share this machine. Three parts, open loop:

* overhead: messages that need the model, at a steady rate; halfway between two, the same call straight to the model;
* rules: reflex and greetings at the same rate, one after the other;
* crowd: everybody says something once a second, in a stated mix.

A reply counts when it is what its message called for, with nothing missing. The model's calls are counted by the model.
Prints a table; writes ``build/bench/neuros.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from tests.api import stores
from tests.api.places import REPOSITORY
from tests.api.processes import Server, Servers, free_port, listens
from tests.api.services.platform import Platform, Service
from tests.bench import acquainted, figures
from tests.bench.acquainted import People
from tests.bench.talking import MIX, Crowd, Direct, Talked
from tests.bench.thinking import CALLS
from tests.bench.webhooks import broker, peak_mib, say
from tests.unit.services.model_double import MODEL, RESPONSES

Figures = dict[str, float | int | str]

LIBRARIES: Final = ("langgraph", "openai", "fastapi", "uvicorn", "asyncpg", "psycopg", "chromadb-client")
PEOPLE: Final = 100
IN_REFLEX: Final = 30
PER_SECOND: Final = 5.0
EACH_PER_SECOND: Final = 1.0
TIMEOUT_SECONDS: Final = 30
GENEROUS_TOKENS: Final = 1_000_000_000
"""Of a day: a person of the crowd says as much in five minutes as others in weeks."""


@dataclass(frozen=True)
class Size:
    """How long is measured, with how many processes of NEUROS, and how long the model thinks."""

    seconds: float
    crowd_seconds: float
    think_ms: float
    replicas: int


class Model:
    """The double's process."""

    def __init__(self, servers: Servers, think_ms: float) -> None:
        """Starts it."""
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        server = servers.add(
            Server(
                name="model",
                command=[sys.executable, "-m", "tests.bench.thinking", str(port), str(think_ms / 1000)],
                log=servers.folder / "model.log",
                ready=lambda: listens(port),
                environment={"PYTHONPATH": str(REPOSITORY)},
            )
        )
        server.start()

    @property
    def environment(self) -> dict[str, str]:
        """What NEUROS is told of it."""
        return {
            "AUREN_LLM_MODE": "local",
            "AUREN_LLM_API": "responses",
            "AUREN_LLM_BASE_URL": f"{self.address}/v1",
            "AUREN_LLM_MODEL": MODEL,
            "AUREN_LLM_DAILY_TOKENS": str(GENEROUS_TOKENS),
        }

    async def told(self, client: aiohttp.ClientSession) -> dict[str, Any]:
        """Its `calls` so far, and the body of the `last` one."""
        async with client.get(self.address + CALLS) as answer:
            told: dict[str, Any] = await answer.json()
            return told


class Processor:
    """The processor time that processes take within a `with` block."""

    def __init__(self, services: Sequence[Service]) -> None:
        """Not before the block."""
        self._stats = [Path(f"/proc/{service.server.pid}/stat") for service in services]
        self.seconds = 0.0

    def __enter__(self) -> Processor:
        self.seconds -= self._used()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += self._used()

    def _used(self) -> float:
        after_names = [stat.read_text().rpartition(")")[2].split() for stat in self._stats]
        return sum(int(fields[11]) + int(fields[12]) for fields in after_names) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Bench:
    """All that is measured with."""

    neuros: Sequence[Service]
    model: Model
    crowd: Crowd
    client: aiohttp.ClientSession

    async def calls(self) -> int:
        """That have come to the model."""
        return int((await self.model.told(self.client))["calls"])


async def run(size: Size) -> None:
    """All parts, the table and the file."""
    with Servers("bench-neuros") as servers:
        kafka, postgres = stores.start_kafka(servers, session=""), stores.start_postgres(servers, durable=True)
        redis, chroma = stores.start_redis(servers), stores.start_chroma(servers)
        platform = Platform(kafka, postgres, redis, servers, await postgres.create_database())
        await asyncio.to_thread(platform.prepare)
        about = figures.machine(broker(), libraries=LIBRARIES)
        print(about)
        them = acquainted.named(PEOPLE, IN_REFLEX)
        say(f"{len(them.all)} people live through {acquainted.HISTORY_DAYS} days")
        await acquainted.live_through(platform, them)
        memories = await acquainted.remember(platform, chroma, them)
        model = Model(servers, size.think_ms)
        neuros = [start(platform, chroma, model) for _ in range(size.replicas)]
        async with _bench(platform, neuros, model, them) as bench:
            results = await parts(bench, size)
    results |= {
        "replicas": size.replicas,
        "people": PEOPLE,
        "memories": memories,
        "think_ms": size.think_ms,
        "mix": MIX,
        "measured": about,
    }
    print()
    for name, value in results.items():
        print(f"{name:<32} {value}")
    print(f"written to {figures.write('neuros', results)}")


def start(platform: Platform, chroma: stores.Chroma, model: Model) -> Service:
    """NEUROS as a stack starts it; returns once it has all it needs."""
    environment = {
        "AUREN_CHROMA_HOST": chroma.host,
        "AUREN_CHROMA_PORT": str(chroma.port),
        **model.environment,
    }
    service = platform.service("auren.neuros", user=acquainted.NEUROS, environment=environment)
    service.wait_ready()
    return service


@asynccontextmanager
async def _bench(platform: Platform, neuros: Sequence[Service], model: Model, them: People) -> AsyncIterator[Bench]:
    """aiohttp's client: httpx takes more of the processors that all share."""
    timeout, connections = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS), aiohttp.TCPConnector(limit=0)
    urls = [service.url("") for service in neuros]
    async with aiohttp.ClientSession(timeout=timeout, connector=connections) as client:
        yield Bench(neuros, model, Crowd(client, urls, platform, them, MODEL), client)


async def parts(bench: Bench, size: Size) -> Figures:
    """The figures by name."""
    say("everybody once, which does not count")
    warm = await bench.crowd.talk(bench.crowd.mixed, 2 * PER_SECOND, PEOPLE / (2 * PER_SECOND))
    _complain("warming up", warm)
    results = _said(await overhead_figures(bench, size.seconds))
    results |= _said(await rules_figures(bench, size.seconds))
    return results | _said(await crowd_figures(bench, size.crowd_seconds))


def _said(found: Figures) -> Figures:
    """Figures of a part, told at once: the next part may take long."""
    print("  " + ", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    return found


async def overhead_figures(bench: Bench, seconds: float) -> Figures:
    """Messages that need the model, beside the same call straight to it."""
    say(f"{PER_SECOND:.0f} messages a second that need the model, for {seconds:.0f} s")
    direct = Direct(bench.client, bench.model.address + RESPONSES, (await bench.model.told(bench.client))["last"])
    with Processor(bench.neuros) as processor:
        talked = await bench.crowd.talk(bench.crowd.of_kind("model"), PER_SECOND, seconds, beside=direct)
    _complain("overhead", talked)
    usual = figures.percentile(direct.seconds, 0.5)
    return {
        "overhead_p50_ms": milliseconds([of - usual for of in talked.seconds["model"]], 0.5),
        "overhead_p99_ms": milliseconds([of - usual for of in talked.seconds["model"]], 0.99),
        "overhead_replies": talked.replies,
        "overhead_errors": talked.errors.total(),
        "overhead_cpu_ms_per_reply": round(1000 * processor.seconds / talked.sent.total(), 1),
        **spread("direct", direct.seconds),
        **spread("reply", talked.seconds["model"]),
    }


async def rules_figures(bench: Bench, seconds: float) -> Figures:
    """Reflex and greetings, for which no model is asked."""
    found: Figures = {}
    before = await bench.calls()
    for kind in ("reflex", "greeting"):
        say(f"{PER_SECOND:.0f} times {kind} a second for {seconds:.0f} s")
        talked = await bench.crowd.talk(bench.crowd.of_kind(kind), PER_SECOND, seconds)
        _complain(kind, talked)
        found |= spread(kind, talked.seconds[kind])
        found |= {f"{kind}_replies": talked.replies, f"{kind}_errors": talked.errors.total()}
    return found | {"rules_model_calls": await bench.calls() - before}


async def crowd_figures(bench: Bench, seconds: float) -> Figures:
    """Everybody at once, for long."""
    say(f"{PEOPLE} people once a second each for {seconds:.0f} s: {MIX}")
    before, began = await bench.calls(), time.perf_counter()
    with Processor(bench.neuros) as processor:
        talked = await bench.crowd.talk(bench.crowd.mixed, PEOPLE * EACH_PER_SECOND, seconds)
    took = time.perf_counter() - began
    _complain("crowd", talked)
    every = [second for of in talked.seconds.values() for second in of]
    by_kind: Figures = {}
    for kind in sorted(talked.seconds):
        by_kind |= spread(f"crowd_{kind}", talked.seconds[kind])
    return {
        "crowd_seconds": round(took, 1),
        "sent": talked.sent.total(),
        "replies": talked.replies,
        "errors": talked.errors.total(),
        "needed_the_model": talked.sent["model"],
        "model_calls": await bench.calls() - before,
        **spread("crowd", every),
        **by_kind,
        "crowd_max_ms": milliseconds(every, 1.0),
        "sent_late": talked.sent_late,
        "sent_late_p99_ms": milliseconds(talked.late, 0.99),
        "sent_late_max_ms": milliseconds(talked.late, 1.0),
        "cpu_ms_per_reply": round(1000 * processor.seconds / talked.sent.total(), 1),
        "processors_used": round(processor.seconds / took, 2),
        "rss_mib": round(max(peak_mib(service) for service in bench.neuros), 1),
        "load_meanwhile": round(os.getloadavg()[0], 1),
    }


def _complain(part: str, talked: Talked) -> None:
    if talked.errors:
        print(f"{part}: {dict(talked.errors)}")


def spread(name: str, seconds: list[float]) -> Figures:
    """Median and 99th percentile; none where nothing came back."""
    return {f"{name}_p{share}_ms": milliseconds(seconds, share / 100) for share in (50, 99)} if seconds else {}


def milliseconds(seconds: list[float], share: float) -> float:
    """A percentile of times."""
    return round(figures.percentile(seconds, share) * 1000, 1)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of messages that need the model; reflex; greetings")
    parser.add_argument("--crowd-seconds", type=float, default=300, help="of everybody at once")
    parser.add_argument("--think-ms", type=float, default=200, help="that the model takes before its first word")
    parser.add_argument("--replicas", type=int, default=1, help="processes of NEUROS")
    given = parser.parse_args()
    uvloop.run(run(Size(given.seconds, given.crowd_seconds, given.think_ms, given.replicas)))


if __name__ == "__main__":
    main()
