"""Volumes of the stores: claims, their sizes, and what happens to them when a StatefulSet goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from auren_operator.api.spec import Stack, StoreSpec
from auren_operator.manifests.meta import child_name, labels
from auren_operator.manifests.model import Component, Facts

CLAIM: Final = "data"
"""Name of the claim template of every store."""

RETENTION: Final = {"whenDeleted": "Retain", "whenScaled": "Retain"}
"""Always: with ``whenDeleted: Delete`` a StatefulSet that somebody deletes by mistake takes the data with it."""


def claim_name(stack: Stack, component: Component, ordinal: int) -> str:
    """Name that Kubernetes gives to the claim of one replica."""
    return f"{CLAIM}-{child_name(stack, component)}-{ordinal}"


def claim_names(stack: Stack, component: Component, replicas: int) -> tuple[str, ...]:
    """Names of the claims of all replicas."""
    return tuple(claim_name(stack, component, ordinal) for ordinal in range(replicas))


def wanted_bytes(stack: Stack, component: Component, spec: StoreSpec, replicas: int, facts: Facts) -> int:
    """Bytes that each of the store's claims should request: what the spec says, but never less than one has."""
    existing = (facts.volumes.get(name) for name in claim_names(stack, component, replicas))
    return max([spec.storage_bytes, *(volume.storage_bytes for volume in existing if volume)])


def shrink_notes(spec: StoreSpec, wanted: int) -> tuple[str, ...]:
    """A sentence for people when the spec asks for less than a volume already has."""
    if wanted == spec.storage_bytes:
        return ()
    return (
        f"storage stays at {quantity(wanted)}: a volume cannot shrink to the {quantity(spec.storage_bytes)} asked for",
    )


def claim_template(
    stack: Stack,
    component: Component,
    spec: StoreSpec,
    size_bytes: int,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The claim template; Kubernetes copies its labels and annotations to every claim that it makes."""
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": quantity(size_bytes)}},
    }
    if spec.storage_class is not None:
        claim["storageClassName"] = spec.storage_class
    metadata: dict[str, Any] = {"name": CLAIM, "labels": labels(stack, component)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"metadata": metadata, "spec": claim}


def quantity(size_bytes: int) -> str:
    """Bytes as Kubernetes writes them: the largest binary unit that divides the number, as the API server would."""
    for exponent, unit in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size_bytes and size_bytes % 1024**exponent == 0:
            return f"{size_bytes // 1024**exponent}{unit}"
    return str(size_bytes)
