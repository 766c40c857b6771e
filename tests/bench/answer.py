"""``make bench-answer``: how long until a Service answers again, on the development cluster with real pods.

The operator restores a deleted Deployment; Kubernetes' own Deployment controller restores a deleted ReplicaSet. All
that follows (a pod is scheduled, started, found ready, answers) is the same for both, so what differs is what the
operator adds. One in turn of each, on ``neuros-advanced`` of the demo's stack; counted from the delete's answer until
a pod that was not there before is Ready and the Service answers. Prints both; writes ``build/bench/answer.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Final

from tests.api.cluster import Cluster, Mirror, Object, Ref
from tests.api.places import built
from tests.bench import figures
from tests.kind.platform import Platform, credentials

COMPONENT: Final = "neuros-advanced"
PORT: Final = 8000
LONGEST_SECONDS: Final = 120


async def measure(platform: Platform, pairs: int) -> dict[str, list[float]]:
    """Seconds until the Service answered, for each deleted Deployment and each deleted ReplicaSet."""
    times: dict[str, list[float]] = {"Deployment": [], "ReplicaSet": []}
    selector = f"aupex.ai/stack={platform.name},app.kubernetes.io/component={COMPONENT}"
    async with Mirror(platform.cluster, ("Pod", "ReplicaSet"), selector, platform.namespace) as mirror:
        for _ in range(pairs):
            for kind, seconds in times.items():
                await mirror.until(_settled, "one pod alone, and Ready", LONGEST_SECONDS)
                await platform.ready()
                seconds.append(await _until_answered(platform, mirror, _victim(platform, mirror, kind)))
    return times


async def _until_answered(platform: Platform, mirror: Mirror, victim: Ref) -> float:
    before = set(_pods(mirror.objects))
    await platform.cluster.delete(victim)
    started = time.perf_counter()
    await mirror.until(
        lambda objects: any(_ready(objects[ref]) for ref in set(_pods(objects)) - before),
        "a new pod Ready",
        LONGEST_SECONDS,
    )
    await platform.answers(COMPONENT, PORT)
    return time.perf_counter() - started


def _victim(platform: Platform, mirror: Mirror, kind: str) -> Ref:
    """The Deployment, or the ReplicaSet that runs its pods now; those of older revisions have none."""
    if kind == "Deployment":
        return platform.child(kind, COMPONENT)
    return next(ref for ref, obj in mirror.objects.items() if ref.kind == kind and obj["spec"]["replicas"])


def _settled(objects: Mapping[Ref, Object]) -> bool:
    pods = _pods(objects)
    return len(pods) == 1 and _ready(objects[pods[0]])


def _pods(objects: Mapping[Ref, Object]) -> list[Ref]:
    return [ref for ref in objects if ref.kind == "Pod"]


def _ready(pod: Object) -> bool:
    conditions = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


async def run(namespace: str, name: str, pairs: int) -> None:
    """Measure, print and write."""
    about = figures.machine(built("kube-apiserver"))
    print(about)
    async with Cluster(credentials()) as cluster:
        platform = Platform(cluster, namespace, name)
        try:
            times = await measure(platform, pairs)
        finally:
            await platform.http.aclose()
    print(figures.head(f"{COMPONENT} deleted -> its Service answers"))
    print(figures.line("Deployment, restored by the operator", times["Deployment"]))
    print(figures.line("ReplicaSet, by the built-in controller", times["ReplicaSet"]))
    p50 = {kind: figures.percentile(seconds, 0.5) for kind, seconds in times.items()}
    added = p50["Deployment"] - p50["ReplicaSet"]
    print(f"the operator's median is {added:+.2f} s beside the built-in controller's")
    results: dict[str, float | int | str] = {"measured": about, "samples": pairs, "added_seconds": round(added, 2)}
    for kind, seconds in times.items():
        results[f"{kind.lower()}_p50_seconds"] = round(p50[kind], 2)
        results[f"{kind.lower()}_p99_seconds"] = round(figures.percentile(seconds, 0.99), 2)
    print(f"written to {figures.write('answer', results)}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="auren")
    parser.add_argument("--stack", default="demo")
    parser.add_argument("--pairs", type=int, default=10, help="samples of each")
    given = parser.parse_args()
    asyncio.run(run(given.namespace, given.stack, given.pairs))


if __name__ == "__main__":
    main()
