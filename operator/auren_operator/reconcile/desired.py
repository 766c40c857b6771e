"""Building a stack: every component's objects, hashed once, kept until the spec or the facts change. Pure."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from auren_operator import components
from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.kube.view import ChildKey
from auren_operator.manifests.model import Component, Facts, Manifest, SecretSpec

WORKLOADS = frozenset({"StatefulSet", "Deployment", "Job"})


@dataclass(frozen=True, slots=True)
class Child:
    """One object that should exist. ``text`` is its manifest as compressed JSON: a hundred stacks have
    five thousand of them.

    ``replicas`` is what a Deployment or StatefulSet asks for; with ``autoscaled`` that is only where it starts from.
    """

    key: ChildKey
    component: str
    text: bytes
    digest: str
    replicas: int | None = None
    autoscaled: bool = False

    def manifest(self) -> Manifest:
        """The object as it is applied."""
        manifest: Manifest = orjson.loads(zlib.decompress(self.text))
        return manifest

    @property
    def is_workload(self) -> bool:
        """Whether this runs pods, and therefore waits for what it needs."""
        return self.key.kind in WORKLOADS


@dataclass(frozen=True, slots=True)
class Part:
    """One component as it should be.

    ``external``: it runs elsewhere, and counts as ready. ``failure`` is the bug that kept its builder from finishing.
    """

    component: Component
    children: tuple[Child, ...] = ()
    notes: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    external: bool = False
    failure: str = ""

    @property
    def workload(self) -> Child | None:
        """The component's own workload; None while the builder leaves it out (disabled, or facts are missing)."""
        kind = self.component.workload
        return next((child for child in self.children if child.key.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Desired:
    """A whole stack as it should be."""

    parts: Mapping[str, Part]
    autoscaled: frozenset[str] = field(default_factory=frozenset)

    @property
    def children(self) -> dict[ChildKey, Child]:
        """All objects by key."""
        return {child.key: child for part in self.parts.values() for child in part.children}

    @property
    def whole(self) -> bool:
        """Whether every builder finished: only then may anything be pruned."""
        return not any(part.failure for part in self.parts.values())


def secrets_of(stack: Stack) -> list[SecretSpec]:
    """All Secrets that the operator generates for the stack."""
    return [spec for module in components.MODULES for spec in module.secrets(stack)]


def build_all(stack: Stack, facts: Facts) -> Desired:
    """Build every component; one that fails leaves the others untouched."""
    parts: dict[str, Part] = {}
    scaled: set[str] = set()
    for module in components.MODULES:
        component = module.COMPONENT
        try:
            built = module.build(stack, facts)
        except Exception as error:  # noqa: BLE001 - a bug in one builder must not stop the other components
            parts[component.name] = Part(component, failure=f"{type(error).__name__}: {error}")
            continue
        children = tuple(child_of(component.name, manifest) for manifest in built.manifests)
        scaled |= {
            manifest["spec"]["scaleTargetRef"]["name"]
            for manifest in built.manifests
            if manifest["kind"] == "HorizontalPodAutoscaler"
        }
        parts[component.name] = Part(component, _scaled(children, scaled), built.notes, built.withheld, built.external)
    return Desired(parts, frozenset(scaled))


def _scaled(children: tuple[Child, ...], scaled: set[str]) -> tuple[Child, ...]:
    """The same children; those workloads whose names an autoscaler targets are marked."""
    return tuple(replace(c, autoscaled=True) if c.is_workload and c.key.name in scaled else c for c in children)


def child_of(component: str, manifest: Manifest) -> Child:
    """A manifest with its key and digest; a workload also carries the digest as an annotation."""
    text = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(text).hexdigest()[:16]
    if manifest["kind"] in WORKLOADS:
        meta = manifest["metadata"]
        annotations = {**meta.get("annotations", {}), names.ANNOTATION_APPLIED_HASH: digest}
        text = orjson.dumps({**manifest, "metadata": {**meta, "annotations": annotations}})
    replicas = manifest.get("spec", {}).get("replicas") if manifest["kind"] in WORKLOADS else None
    key = ChildKey(sys.intern(manifest["kind"]), manifest["metadata"]["name"])
    return Child(key, component, zlib.compress(text, 1), digest, replicas)
