"""``make bench-heal``: how fast the operator heals, what it costs at rest, and the built-in controller beside it.

A real API server, controllers, scheduler and etcd, with kwok as fake kubelet, all on this machine. Every phase gets a
control plane of its own. Prints a table; writes ``build/bench/heal.json``. About fifteen minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.api.cluster import Cluster, Mirror
from tests.api.controlplane import ControlPlane
from tests.api.operator_process import Operator
from tests.api.places import REPOSITORY, built
from tests.api.processes import Servers
from tests.api.stacks import install_crd, make_namespace, stack
from tests.bench import figures
from tests.bench.scene import FOREIGN, NAMESPACE, PEERS, Peer, Scene
from tests.bench.wanted import SPEC, manifests, stack_name

DEFAULT_LIMITS: Final[Sequence[str]] = ()
RAISED_LIMITS: Final = ("--kube-api-qps=200", "--kube-api-burst=400")
PYTHON: Final = REPOSITORY / "build" / "venv-operator" / "bin" / "python"
"""An environment with the packages of the operator's image: a developer's imports more, and so takes more memory."""
FOREIGN_SECRETS: Final = 2000
FOREIGN_BYTES: Final = 10 * 1024

Figures = dict[str, float | int | str]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    stacks: int
    samples: int
    peers: int
    idle_seconds: float


def say(text: str) -> None:
    """Tell the person who waits what is going on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """A fresh control plane with a running operator and no stack."""
    with Servers("bench") as servers:
        plane = ControlPlane(servers, controller_flags=RAISED_LIMITS)
        plane.start()
        async with Cluster(plane.admin) as cluster:
            await _furnish(cluster)
            operator = Operator(plane, "operator-bench", python=PYTHON)
            await operator.start()
            async with Mirror(cluster) as mirror, Mirror(cluster, ("AurenStack",), "") as stacks:
                yield Scene(plane, cluster, operator, mirror, stacks)


async def _furnish(cluster: Cluster) -> None:
    await install_crd(cluster)
    for name in (NAMESPACE, PEERS, FOREIGN):
        await make_namespace(cluster, name)


async def bare_client(size: Size) -> Figures:
    """How long a client without any brains needs to apply the objects of all stacks, to the same control plane."""
    say(f"a bare client applies the objects of {size.stacks} stacks")
    with Servers("bare") as servers:
        plane = ControlPlane(servers, controller_flags=RAISED_LIMITS)
        plane.start()
        async with Cluster(plane.admin) as cluster:
            await _furnish(cluster)
            objects = []
            for number in range(size.stacks):
                owner = await cluster.create(stack(NAMESPACE, stack_name(number), SPEC))
                objects.extend(manifests(owner))
        file = plane.folder / "objects.json"
        file.write_text(json.dumps(objects))
        command = [sys.executable, "-m", "tests.bench.bare", str(file)]
        environment = {"KUBECONFIG": str(plane.admin.kubeconfig), "PATH": "/usr/bin:/bin"}
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
    return {"bare_client_100_seconds": round(float(done.stdout), 2), "bare_client_objects": len(objects)}


async def few_stacks(size: Size) -> Figures:
    """One stack, then twenty: reconciles of an install, and healing."""
    async with scene() as here:
        say("one stack")
        await here.add_stacks(0, 1)
        await here.all_ready(1)
        await here.operator.quiet()
        reconciles = here.operator.metrics()["auren_operator_reconcile_total"]
        samples = max(3, size.samples // 10)
        show("1 stack", await here.heal_each_kind(samples))
        count = min(20, size.stacks)
        say(f"{count} stacks")
        await here.add_stacks(1, count - 1)
        await here.all_ready(count)
        await here.operator.quiet()
        show(f"{count} stacks", await here.heal_each_kind(samples))
    return {"reconciles_per_install": int(reconciles)}


def show(title: str, times: Mapping[str, Sequence[float]]) -> None:
    """A block of the table: every kind, then all."""
    print(figures.head(f"delete answered -> exists, {title}"))
    for kind, seconds in times.items():
        print(figures.line(kind, seconds))
    print(figures.line("all kinds", [value for seconds in times.values() for value in seconds]), flush=True)


async def many_stacks(size: Size) -> Figures:
    """All stacks from nothing; then healing, the peer, everything at once, idling, and memory."""
    async with scene() as here:
        result = await _cold_start(here, size)
        result |= await _healing(here, size)
        result |= await _peer(here, size, DEFAULT_LIMITS, "builtin")
        result |= await _peer(here, size, RAISED_LIMITS, "builtin_raised")
        result |= await _at_once(here)
        result |= await _idle(here, size)
        return result | await _memory(here, size)


async def _cold_start(here: Scene, size: Size) -> Figures:
    say(f"{size.stacks} stacks from nothing")
    per_stack = len(manifests({**stack(NAMESPACE, "one", SPEC), "metadata": _identity("one")}))
    started = time.perf_counter()
    await here.add_stacks(0, size.stacks)
    await here.all_applied(size.stacks * per_stack)
    applied = time.perf_counter() - started
    await here.all_ready(size.stacks)
    say(f"all applied after {applied:.1f} s, all Ready after {time.perf_counter() - started:.1f} s")
    await here.operator.quiet()
    return {
        "stacks_ready": size.stacks,
        "children_per_stack": per_stack,
        "cold_start_100_seconds": round(applied, 2),
        "rss_mib_after_install": round(here.operator.memory_mib(), 1),
    }


def _identity(name: str) -> dict[str, object]:
    return {"name": name, "namespace": NAMESPACE, "uid": "0", "generation": 1}


async def _healing(here: Scene, size: Size) -> Figures:
    say("one child at a time, the next when the last one's consequences are over")
    times = await here.heal_each_kind(size.samples)
    show(f"{size.stacks} stacks", times)
    every = [value for seconds in times.values() for value in seconds]
    by_kind = {f"heal_{kind}_p99_ms": _ms(seconds, 0.99) for kind, seconds in times.items()}
    say("one child after the other, in the midst of their consequences")
    times = await here.heal_each_kind(size.samples, rest_seconds=0)
    show(f"{size.stacks} stacks, in a row", times)
    row = [value for seconds in times.values() for value in seconds]
    return {
        "samples": len(every),
        "heal_p50_ms": _ms(every, 0.5),
        "heal_p99_ms": _ms(every, 0.99),
        "heal_in_a_row_p50_ms": _ms(row, 0.5),
        "heal_in_a_row_p99_ms": _ms(row, 0.99),
        **by_kind,
    }


async def _peer(here: Scene, size: Size, limits: Sequence[str], name: str) -> Figures:
    flags = " ".join(limits) or "no flags: its defaults, 20 requests a second, bursts of 30"
    say(f"the built-in Deployment controller restores ReplicaSets ({flags})")
    here.plane.restart_controllers(limits)
    async with Mirror(here.cluster, ("ReplicaSet",), "bench.aupex.ai/peer") as mirror:
        peer = Peer(here.cluster, mirror)
        if not mirror.objects:
            await peer.add(size.peers)
        times: list[float] = []
        await peer.heal(size.peers, times.append)
        row: list[float] = []
        await peer.heal(size.peers, row.append, rest_seconds=0)
    print(figures.head("ReplicaSet deleted -> exists"))
    print(figures.line("by the built-in controller", times))
    print(figures.line("by the built-in controller, in a row", row), flush=True)
    return {
        f"{name}_p50_ms": _ms(times, 0.5),
        f"{name}_p99_ms": _ms(times, 0.99),
        f"{name}_in_a_row_p50_ms": _ms(row, 0.5),
        f"{name}_in_a_row_p99_ms": _ms(row, 0.99),
        f"{name}_flags": " ".join(limits),
    }


async def _at_once(here: Scene) -> Figures:
    say("all children of one stack at once, three times")
    seconds = [await here.all_at_once(stack_name(number)) for number in range(3)]
    say("all there again after " + ", ".join(f"{value:.2f} s" for value in seconds))
    return {"all_at_once_seconds": round(max(seconds), 2)}


async def _idle(here: Scene, size: Size) -> Figures:
    say(f"nothing happens for {size.idle_seconds:.0f} s")
    writes, leases = await here.idle_writes(size.idle_seconds)
    return {"idle_writes_per_minute": round(writes, 2), "idle_lease_writes_per_minute": round(leases, 1)}


async def _memory(here: Scene, size: Size) -> Figures:
    say("the operator's memory")
    used = here.operator.memory_mib()
    await here.operator.stop()
    await here.operator.start()
    await here.operator.quiet()
    fresh = here.operator.memory_mib()
    say(f"{FOREIGN_SECRETS} foreign Secrets of {FOREIGN_BYTES // 1024} KB")
    await here.add_foreign_secrets(FOREIGN_SECRETS, FOREIGN_BYTES)
    await here.operator.stop()
    await here.operator.start()
    await here.operator.quiet()
    return {
        "rss_mib_100_stacks": round(used, 1),
        "rss_mib_100_stacks_restarted": round(fresh, 1),
        "rss_mib_100_stacks_foreign": round(here.operator.memory_mib(), 1),
    }


def _ms(seconds: Sequence[float], share: float) -> float:
    return round(figures.percentile(seconds, share) * 1000, 1)


async def run(size: Size) -> None:
    """All phases, the table and the file."""
    about = figures.machine(*map(built, ("kube-apiserver", "etcd", "kwok")))
    print(about)
    results: Figures = {"measured": about}
    for phase in (bare_client, few_stacks, many_stacks):
        results |= await phase(size)
    print()
    for name, value in results.items():
        print(f"{name:<34} {value}")
    print(f"written to {figures.write('heal', results)}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, default=100)
    parser.add_argument("--samples", type=int, default=40, help="per child kind, with all stacks")
    parser.add_argument("--peers", type=int, default=60, help="Deployments beside the stacks, one sample each")
    parser.add_argument("--idle-seconds", type=float, default=60)
    given = parser.parse_args()
    asyncio.run(run(Size(given.stacks, given.samples, given.peers, given.idle_seconds)))


if __name__ == "__main__":
    main()
