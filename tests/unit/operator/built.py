"""Stacks and what is built from them, for the tests of the builders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from auren_operator.api.parse import parse
from auren_operator.api.release import release_from
from auren_operator.api.spec import Stack
from auren_operator.components import MODULES, desired_claims, kafka, user_objects
from auren_operator.manifests.meta import child_name
from auren_operator.manifests.model import Built, Facts, Manifest, SecretSpec, Volume

RELEASE: Final = release_from({}, "1.2.3")
SIZES: Final = ("demo", "small", "medium", "large")
ALL: Final = tuple(module.COMPONENT.name for module in MODULES)


def a_stack(spec: Mapping[str, Any], name: str = "demo", namespace: str = "people") -> Stack:
    """The stack that a spec asks for."""
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "generation": 1}
    stack, violations = parse({"metadata": metadata, "spec": spec}, RELEASE)
    assert stack is not None, violations
    return stack


def secrets_of(stack: Stack) -> list[SecretSpec]:
    """Every Secret that the operator generates for the stack."""
    return [secret for module in MODULES for secret in module.secrets(stack)]


def settled(stack: Stack) -> Facts:
    """The facts of a stack that has come up: every Secret, people's too, and every volume."""
    secrets = {secret.name: f"hash of {secret.name}" for secret in secrets_of(stack)}
    volumes = {name: Volume(f"uid of {name}", size) for name, size in desired_claims(stack, Facts()).items()}
    given, texts = (
        {one.name: f"hash of {one.name}" for one in user_objects(stack) if one.is_built_in and one.kind == kind}
        for kind in ("Secret", "ConfigMap")
    )
    return Facts(secrets, volumes, {child_name(stack, kafka.COMPONENT): stack.kafka.replicas}, given, texts)


def build(stack: Stack, component: str, facts: Facts | None = None) -> Built:
    """What one component is made of; without ``facts``, of a stack that has come up."""
    module = next(module for module in MODULES if module.COMPONENT.name == component)
    built: Built = module.build(stack, settled(stack) if facts is None else facts)
    return built


def everything(stack: Stack, facts: Facts | None = None) -> list[Manifest]:
    """Every child of the stack."""
    return [manifest for component in ALL for manifest in build(stack, component, facts).manifests]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only one of a kind."""
    (manifest,) = of_kind(manifests, kind)
    return manifest


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """Whatever runs pods."""
    return [manifest for manifest in manifests if manifest["kind"] in {"StatefulSet", "Deployment", "Job"}]


def containers(manifests: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    """Every container, with the workload that runs it."""
    for workload in workloads(manifests):
        for container in workload["spec"]["template"]["spec"]["containers"]:
            yield workload, container


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's environment variables; one taken from a field has the field's path as its value."""
    return {
        variable["name"]: variable.get("value", str(variable.get("valueFrom"))) for variable in container.get("env", ())
    }
