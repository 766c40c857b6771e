"""A stack as builders see it: every value resolved, none missing. `parse.parse` makes it from an AurenStack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from auren_operator.api.external import ExternalDatabase
from auren_operator.api.neuros import NeurosExtras
from auren_operator.api.terra_kafka import TerraKafka

Size = Literal["demo", "small", "medium", "large"]
DeletionPolicy = Literal["Retain", "Delete"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests and limits of one container: resource name → Kubernetes quantity, such as ``250m`` or ``512Mi``.

    ``memory_limit_bytes`` is the memory limit as a number, for stores that size their caches by it.
    """

    requests: Mapping[str, str]
    limits: Mapping[str, str]
    memory_limit_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The ``resources`` of a container."""
        return {"requests": dict(self.requests), "limits": dict(self.limits)}


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Bounds and target of a HorizontalPodAutoscaler; the target is a percentage of the CPU request."""

    min_replicas: int
    max_replicas: int
    target_cpu_percent: int


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One of our own services. ``replicas`` is the autoscaler's minimum where there is one.

    ``resources`` are those of each container; the bridge has two, of which the collector requests less CPU.
    ``tolerations`` and ``affinity`` are the pod's, as Kubernetes spells them.
    """

    enabled: bool
    replicas: int
    autoscaling: Autoscaling | None
    resources: Resources
    env: Mapping[str, str]
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, Any], ...]
    affinity: Mapping[str, Any] | None
    priority_class_name: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def greatest_replicas(self) -> int:
        """The most replicas that may ever run, a rolling update's surge not counted; 0 when disabled."""
        if not self.enabled:
            return 0
        return self.autoscaling.max_replicas if self.autoscaling else self.replicas


@dataclass(frozen=True, slots=True)
class NeurosSpec(ServiceSpec):
    """NEUROS; ``extras`` is what only it has."""

    extras: NeurosExtras


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A vendor of wearables that signs its deliveries, switched on.

    ``secret`` is the name of the person's own Secret with the credentials; ``window_seconds`` is how far the timestamp
    of a signature may lie from now.
    """

    secret: str
    window_seconds: int


@dataclass(frozen=True, slots=True)
class BridgeSpec(ServiceSpec):
    """The bridge. ``providers`` holds those of `providers.SIGNED` that are switched on.

    ``public_url`` is the bridge's address as vendors and browsers reach it, without a path; None where there is none.
    ``terra_kafka`` is None unless bridge, Terra and the destination are all switched on.
    """

    public_url: str | None
    healthkit: bool
    providers: Mapping[str, ProviderSpec]
    terra_kafka: TerraKafka | None


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store with a volume per replica. ``storage_class`` None is the cluster's default class."""

    replicas: int
    storage_bytes: int
    storage_class: str | None
    resources: Resources
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KafkaSpec(StoreSpec):
    """Kafka; ``partitions`` is that of the large topics."""

    partitions: int

    @property
    def replication(self) -> int:
        """Copies of each partition."""
        return min(self.replicas, 3)

    @property
    def min_insync_replicas(self) -> int:
        """Copies that must have a record before it is acknowledged; with three brokers one may be away."""
        return 2 if self.replication > 1 else 1


@dataclass(frozen=True, slots=True)
class TimescaleSpec(StoreSpec):
    """TimescaleDB; ``max_connections`` is the server's, out of which the services' pools are cut.

    With ``external`` the server is the person's own, and what is said of a store means nothing.
    """

    max_connections: int
    retention_days: int
    compress_after_days: int
    external: ExternalDatabase | None


@dataclass(frozen=True, slots=True)
class Stack:
    """One AurenStack with everything resolved.

    ``images`` holds a reference for every key of `names.IMAGE_ENV`; ``modes`` is what AUREN_MODES is to be.
    ``generation`` and ``version`` say which spec and which release this is. ``local_model`` is what NEUROS asks in mode
    ``local``, and disabled in any other.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    version: str
    size: Size
    paused: bool
    hibernated: bool
    deletion_policy: DeletionPolicy
    network_policies: bool
    images: Mapping[str, str]
    pull_policy: PullPolicy
    pull_secrets: tuple[str, ...]
    auth_issuer: str
    auth_audience: str
    modes: str
    kafka: KafkaSpec
    timescaledb: TimescaleSpec
    redis: StoreSpec
    chromadb: StoreSpec
    neuros: NeurosSpec
    biometric: ServiceSpec
    bridge: BridgeSpec
    local_model: ServiceSpec
    job_resources: Resources
