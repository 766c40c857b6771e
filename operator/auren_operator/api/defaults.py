"""What a size means: replicas, resources, storage. One table, from which the reference page is printed too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING
from typing import Any, Final

from auren_operator.api.quantity import quantity, to_bytes
from auren_operator.api.spec import DeletionPolicy, PullPolicy, Resources, Size

SIZE: Final[Size] = "small"
DELETION_POLICY: Final[DeletionPolicy] = "Retain"
PULL_POLICY: Final[PullPolicy] = "IfNotPresent"
AUTH_ISSUER: Final = "auren"
AUTH_AUDIENCE: Final = "auren"
TARGET_CPU_PERCENT: Final = 70
WINDOW_SECONDS: Final = 300
"""How far the timestamp of a provider's signature may lie from now. No vendor names a window; the services' default."""
RETENTION_DAYS: Final = 365
COMPRESS_AFTER_DAYS: Final = 7
MAX_CONNECTIONS: Final = 50
"""Connections of the database server; each costs it 5 to 10 MB, and the pools are cut out of them."""


@dataclass(frozen=True, slots=True)
class Box:
    """Requests and limits of one container."""

    cpu: str
    memory: str
    cpu_limit: str
    memory_limit: str


@dataclass(frozen=True, slots=True)
class StoreSize:
    """A store at one size: the volume and the container of each replica."""

    storage: str
    box: Box


@dataclass(frozen=True, slots=True)
class SizeDefaults:
    """One column of the size table. ``service_replicas`` holds for each of the three services."""

    service_replicas: int
    kafka_replicas: int
    partitions: int
    kafka: StoreSize
    timescaledb: StoreSize
    redis: StoreSize
    chromadb: StoreSize
    neuros: Box
    biometric: Box
    bridge: Box


JOB_BOX: Final = Box("20m", "96Mi", "1", "256Mi")
"""The Jobs do little, whatever the size."""

LOCAL_MODEL_BOX: Final = Box("500m", "512Mi", "2", "1Gi")
"""The local model does the same, whatever the size. Its CPU limit is also the number of its threads."""

# `demo` is measured for a laptop: every limit of what runs at once, with two operator replicas and a surge pod, stays
# within 4 GiB, and all requests within 700m CPU. No container goes beyond 4 GB (4G), at any size.
BY_SIZE: Final[Mapping[Size, SizeDefaults]] = {
    "demo": SizeDefaults(
        service_replicas=1,
        kafka_replicas=1,
        partitions=3,
        kafka=StoreSize("2Gi", Box("150m", "512Mi", "2", "768Mi")),
        timescaledb=StoreSize("2Gi", Box("100m", "256Mi", "2", "512Mi")),
        redis=StoreSize("1Gi", Box("25m", "64Mi", "1", "128Mi")),
        chromadb=StoreSize("1Gi", Box("25m", "96Mi", "1", "384Mi")),
        neuros=Box("75m", "192Mi", "1", "384Mi"),
        biometric=Box("75m", "128Mi", "1", "256Mi"),
        bridge=Box("40m", "96Mi", "1", "256Mi"),
    ),
    "small": SizeDefaults(
        service_replicas=2,
        kafka_replicas=1,
        partitions=3,
        kafka=StoreSize("10Gi", Box("250m", "1Gi", "2", "1536Mi")),
        timescaledb=StoreSize("20Gi", Box("250m", "512Mi", "2", "1Gi")),
        redis=StoreSize("2Gi", Box("50m", "128Mi", "1", "256Mi")),
        chromadb=StoreSize("5Gi", Box("100m", "256Mi", "1", "768Mi")),
        neuros=Box("100m", "256Mi", "1", "512Mi"),
        biometric=Box("100m", "192Mi", "1", "512Mi"),
        bridge=Box("100m", "128Mi", "1", "384Mi"),
    ),
    "medium": SizeDefaults(
        service_replicas=3,
        kafka_replicas=3,
        partitions=12,
        kafka=StoreSize("50Gi", Box("500m", "2Gi", "4", "3Gi")),
        timescaledb=StoreSize("100Gi", Box("1", "2Gi", "4", "3Gi")),
        redis=StoreSize("5Gi", Box("100m", "512Mi", "1", "1Gi")),
        chromadb=StoreSize("20Gi", Box("250m", "1Gi", "2", "2Gi")),
        neuros=Box("250m", "512Mi", "2", "1Gi"),
        biometric=Box("250m", "384Mi", "2", "1Gi"),
        bridge=Box("250m", "256Mi", "2", "768Mi"),
    ),
    "large": SizeDefaults(
        service_replicas=4,
        kafka_replicas=3,
        partitions=12,
        kafka=StoreSize("200Gi", Box("1", "3Gi", "4", "4G")),
        timescaledb=StoreSize("500Gi", Box("2", "3Gi", "4", "4G")),
        redis=StoreSize("10Gi", Box("250m", "1Gi", "2", "2Gi")),
        chromadb=StoreSize("50Gi", Box("500m", "2Gi", "4", "4G")),
        neuros=Box("500m", "1Gi", "2", "2Gi"),
        biometric=Box("500m", "768Mi", "2", "2Gi"),
        bridge=Box("500m", "512Mi", "2", "1Gi"),
    ),
}


def lesser_cpu(resources: Resources, times: int) -> Resources:
    """The same with a ``times`` smaller request for processor time, rounded up to a whole millicore."""
    millicores = (quantity(resources.requests["cpu"]) * 1000 / times).to_integral_value(rounding=ROUND_CEILING)
    return replace(resources, requests={**resources.requests, "cpu": f"{millicores}m"})


def resources(box: Box, asked: Mapping[str, Any] | None = None) -> Resources:
    """A container's resources: what the spec asks for, the rest from the size.

    Where only one side of a resource is asked for and it crosses the size's other side, the other side moves along,
    so that a request never exceeds its limit.
    """
    asked = asked or {}
    requests = {"cpu": box.cpu, "memory": box.memory}
    limits = {"cpu": box.cpu_limit, "memory": box.memory_limit}
    wanted_requests = {name: str(value) for name, value in (asked.get("requests") or {}).items()}
    wanted_limits = {name: str(value) for name, value in (asked.get("limits") or {}).items()}
    requests |= wanted_requests
    limits |= wanted_limits
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) <= quantity(limits[name]):
            continue
        if name in wanted_limits:
            requests[name] = limits[name]
        else:
            limits[name] = requests[name]
    return Resources(requests=requests, limits=limits, memory_limit_bytes=to_bytes(limits["memory"]))
