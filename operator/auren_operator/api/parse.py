"""From an AurenStack as the API server sent it to a `Stack` with everything resolved, or to what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auren_operator.api import defaults, names, providers
from auren_operator.api.defaults import SizeDefaults, StoreSize
from auren_operator.api.external import external_database
from auren_operator.api.modes import overrides
from auren_operator.api.neuros import neuros_extras
from auren_operator.api.quantity import to_bytes
from auren_operator.api.release import Release
from auren_operator.api.rules import name_violations, violations
from auren_operator.api.spec import (
    Autoscaling,
    BridgeSpec,
    KafkaSpec,
    NeurosSpec,
    ProviderSpec,
    ServiceSpec,
    Stack,
    StoreSpec,
    TimescaleSpec,
)
from auren_operator.api.terra_kafka import terra_kafka


def parse(resource: Mapping[str, Any], release: Release) -> tuple[Stack | None, tuple[str, ...]]:
    """The stack that ``resource`` asks for, or None and every violation, each a sentence. Never raises."""
    metadata = resource.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    spec = resource.get("spec")
    spec = {} if spec is None else spec
    found = (*name_violations(metadata.get("name")), *violations(spec))
    if found:
        return None, found
    return _stack(metadata, _without_nulls(spec), release), ()


def _without_nulls(value: Any) -> Any:
    """The value without fields that are null: the API server treats those as absent."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


def _stack(metadata: Mapping[str, Any], spec: Mapping[str, Any], release: Release) -> Stack:
    size = spec.get("size", defaults.SIZE)
    neuros = _neuros(spec.get("neuros", {}), defaults.BY_SIZE[size])
    generation = metadata.get("generation")
    sized = defaults.BY_SIZE[size]
    images = spec.get("images", {})
    auth = spec.get("auth", {})
    return Stack(
        name=metadata["name"],
        namespace=str(metadata.get("namespace", "")),
        uid=str(metadata.get("uid", "")),
        generation=generation if isinstance(generation, int) else 0,
        version=release.version,
        size=size,
        paused=spec.get("paused", False),
        hibernated=spec.get("hibernated", False),
        deletion_policy=spec.get("data", {}).get("deletionPolicy", defaults.DELETION_POLICY),
        network_policies=spec.get("networkPolicies", True),
        images=_images(images, release),
        pull_policy=images.get("pullPolicy", defaults.PULL_POLICY),
        pull_secrets=tuple(secret["name"] for secret in images.get("pullSecrets", ())),
        auth_issuer=auth.get("issuer", defaults.AUTH_ISSUER),
        auth_audience=auth.get("audience", defaults.AUTH_AUDIENCE),
        modes=overrides(spec.get("modes") or {}),
        kafka=_kafka(spec.get("kafka", {}), sized),
        timescaledb=_timescaledb(spec.get("timescaledb", {}), sized),
        redis=_store(spec.get("redis", {}), sized.redis),
        chromadb=_store(spec.get("chromadb", {}), sized.chromadb),
        neuros=neuros,
        biometric=ServiceSpec(**_service(spec.get("biometric", {}), sized, sized.biometric)),
        bridge=_bridge(spec.get("bridge", {}), sized),
        local_model=_local_model(neuros),
        job_resources=defaults.resources(defaults.JOB_BOX),
    )


def _images(images: Mapping[str, Any], release: Release) -> Mapping[str, str]:
    """Every image's reference: an override as it stands, else the release's, from ``images.registry`` if given."""
    overrides = images.get("overrides", {})
    registry = images.get("registry", "")
    return {key: overrides.get(key) or from_registry(release.images[key], registry) for key in names.IMAGE_ENV}


def from_registry(reference: str, registry: str) -> str:
    """An image reference with its registry replaced; ``registry`` may hold a path, empty leaves all as it is.

    By Docker's rule the first part of a reference is a registry when it has a dot or a colon or is ``localhost``.
    """
    if not registry:
        return reference
    first, slash, rest = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return f"{registry.rstrip('/')}/{rest if named else reference}"


def _storage(store: Mapping[str, Any], size: StoreSize) -> dict[str, Any]:
    storage = store.get("storage", {})
    return {
        "storage_bytes": to_bytes(storage.get("size", size.storage)),
        "storage_class": storage.get("storageClassName"),
        "resources": defaults.resources(size.box, store.get("resources")),
        "config": dict(store.get("config", {})),
    }


def _store(store: Mapping[str, Any], size: StoreSize) -> StoreSpec:
    return StoreSpec(replicas=1, **_storage(store, size))


def _kafka(kafka: Mapping[str, Any], sized: SizeDefaults) -> KafkaSpec:
    replicas = kafka.get("replicas", sized.kafka_replicas)
    return KafkaSpec(replicas=replicas, partitions=sized.partitions, **_storage(kafka, sized.kafka))


def _timescaledb(timescaledb: Mapping[str, Any], sized: SizeDefaults) -> TimescaleSpec:
    connections = timescaledb.get("maxConnections", defaults.MAX_CONNECTIONS)
    return TimescaleSpec(
        replicas=1,
        max_connections=connections,
        retention_days=timescaledb.get("retentionDays", defaults.RETENTION_DAYS),
        compress_after_days=timescaledb.get("compressAfterDays", defaults.COMPRESS_AFTER_DAYS),
        external=external_database(timescaledb.get("external")),
        **_storage(timescaledb, sized.timescaledb),
    )


def _service(service: Mapping[str, Any], sized: SizeDefaults, box: defaults.Box) -> dict[str, Any]:
    autoscaling = _autoscaling(service.get("autoscaling"), sized)
    replicas = autoscaling.min_replicas if autoscaling else service.get("replicas", sized.service_replicas)
    return {
        "enabled": service.get("enabled", True),
        "replicas": replicas,
        "autoscaling": autoscaling,
        "resources": defaults.resources(box, service.get("resources")),
        "env": {variable["name"]: variable.get("value", "") for variable in service.get("env", ())},
        "node_selector": dict(service.get("nodeSelector", {})),
        "tolerations": tuple(service.get("tolerations", ())),
        "affinity": service.get("affinity"),
        "priority_class_name": service.get("priorityClassName"),
        "labels": dict(service.get("labels", {})),
        "annotations": dict(service.get("annotations", {})),
    }


def _neuros(neuros: Mapping[str, Any], sized: SizeDefaults) -> NeurosSpec:
    return NeurosSpec(extras=neuros_extras(neuros), **_service(neuros, sized, sized.neuros))


def _local_model(neuros: NeurosSpec) -> ServiceSpec:
    """One pod, placed where NEUROS may run, while somebody asks it."""
    return ServiceSpec(
        enabled=neuros.enabled and neuros.extras.llm.mode == "local",
        replicas=1,
        autoscaling=None,
        resources=defaults.resources(defaults.LOCAL_MODEL_BOX),
        env={},
        node_selector=neuros.node_selector,
        tolerations=neuros.tolerations,
        affinity=None,
        priority_class_name=neuros.priority_class_name,
        labels={},
        annotations={},
    )


def _bridge(bridge: Mapping[str, Any], sized: SizeDefaults) -> BridgeSpec:
    asked = bridge.get("providers", {})
    terra = asked.get("terra", {})
    takes_terra = bridge.get("enabled", True) and terra.get("enabled", False)
    return BridgeSpec(
        public_url=bridge.get("publicURL"),
        healthkit=asked.get(providers.HEALTHKIT, {}).get("enabled", True),
        providers={
            name: ProviderSpec(
                secret=asked[name]["credentials"]["name"],
                window_seconds=asked[name].get("windowSeconds", defaults.WINDOW_SECONDS),
            )
            for name in providers.SIGNED
            if asked.get(name, {}).get("enabled", False)
        },
        terra_kafka=terra_kafka(terra.get("kafka", {})) if takes_terra else None,
        **_service(bridge, sized, sized.bridge),
    )


def _autoscaling(asked: Mapping[str, Any] | None, sized: SizeDefaults) -> Autoscaling | None:
    if asked is None:
        return None
    greatest = asked["maxReplicas"]
    return Autoscaling(
        min_replicas=asked.get("minReplicas", min(sized.service_replicas, greatest)),
        max_replicas=greatest,
        target_cpu_percent=asked.get("targetCPUUtilizationPercentage", defaults.TARGET_CPU_PERCENT),
    )
