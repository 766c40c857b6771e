"""Pods as every component runs them: unprivileged, bounded, probed, without a token of the API server.

Every pod passes the Pod Security Standard `restricted` and goes further: the root file system is read-only, and no
environment variables of other Services are injected (a stack named ``auren`` would get ``AUREN_..._PORT``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from auren_operator.api.spec import Resources, ServiceSpec, Stack
from auren_operator.manifests.images import ImageContract
from auren_operator.manifests.meta import child_name, labels, selector
from auren_operator.manifests.model import Component

Plain = dict[str, Any]

PROBE_TIMEOUT_SECONDS: Final = 3
LIVENESS_PERIOD_SECONDS: Final = 10
LIVENESS_FAILURES: Final = 6
"""A process that does not answer for a minute is restarted; less would punish a long garbage collection."""


@dataclass(frozen=True, slots=True)
class Probes:
    """How Kubernetes asks a container; ``ready`` None means that it never takes itself out of its Service.

    ``start_seconds`` is how long it may take until it is first alive, ``ready_period_seconds`` how often readiness is
    asked (the start too).
    """

    alive: Plain
    ready: Plain | None
    start: Plain
    start_seconds: int
    ready_period_seconds: int

    def as_dict(self) -> Plain:
        """The probes of a container."""
        period = self.ready_period_seconds
        probes = {
            "startupProbe": {
                **deepcopy(self.start),
                "periodSeconds": period,
                "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
                "failureThreshold": self.start_seconds // period,
            },
            "livenessProbe": {
                **deepcopy(self.alive),
                "periodSeconds": LIVENESS_PERIOD_SECONDS,
                "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
                "failureThreshold": LIVENESS_FAILURES,
            },
        }
        if self.ready is not None:
            probes["readinessProbe"] = {
                **deepcopy(self.ready),
                "periodSeconds": period,
                "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
                "failureThreshold": 3,
            }
        return probes


def ask_http(path: str, port: str) -> Plain:
    """A probe that wants 200 to 399 from ``path`` on the named port."""
    return {"httpGet": {"path": path, "port": port}}


def ask_tcp(port: str) -> Plain:
    """A probe that wants the named port open; it costs the container no process."""
    return {"tcpSocket": {"port": port}}


def ask_command(*command: str) -> Plain:
    """A probe that runs a program in the container and wants exit code 0."""
    return {"exec": {"command": list(command)}}


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod; ``ports`` maps a port's name to its number, ``mounts`` a volume's name to its path.

    Mounts are read-only except those in ``writable``. ``drain_seconds`` delays the stop signal, so that no request
    arrives any more when the process begins to stop.
    """

    name: str
    image: ImageContract
    resources: Resources
    probes: Probes | None = None
    arguments: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    env: Mapping[str, str | Plain] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, str] = field(default_factory=dict)
    drain_seconds: int = 0

    def as_dict(self, stack: Stack) -> Plain:
        """The container as it stands in the pod."""
        container: Plain = {
            "name": self.name,
            "image": stack.images[self.image.key],
            "imagePullPolicy": stack.pull_policy,
            "command": [*self.image.command, *self.arguments],
            "resources": self.resources.as_dict(),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                *({"name": name, "mountPath": path, "readOnly": True} for name, path in self.mounts.items()),
                *({"name": name, "mountPath": path} for name, path in self.writable.items()),
            ],
        }
        if self.env:
            container["env"] = [_variable(name, value) for name, value in self.env.items()]
        if self.ports:
            container["ports"] = [{"name": name, "containerPort": port} for name, port in self.ports.items()]
        if self.probes:
            container |= self.probes.as_dict()
        if self.drain_seconds:
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": self.drain_seconds}}}
        return container


def _variable(name: str, value: str | Plain) -> Plain:
    if isinstance(value, str):
        return {"name": name, "value": value}
    return {"name": name, "valueFrom": value}


def from_field(path: str) -> Plain:
    """An environment variable's value from the pod's own object, such as ``metadata.name``."""
    return {"fieldRef": {"fieldPath": path}}


def scratch(name: str, size: str, *, in_memory: bool = False) -> Plain:
    """An empty volume that dies with the pod; in memory it counts towards the containers' limit."""
    empty = {"medium": "Memory", "sizeLimit": size} if in_memory else {"sizeLimit": size}
    return {"name": name, "emptyDir": empty}


def pod_template(
    stack: Stack,
    component: Component,
    containers: Sequence[Container],
    volumes: Sequence[Plain],
    *,
    grace_seconds: int,
    annotations: Mapping[str, str],
    spread: bool = False,
    placement: ServiceSpec | None = None,
    restart: str | None = None,
) -> Plain:
    """The template of a component's pods; with ``spread`` they avoid sharing a node or a zone where they can.

    ``placement`` brings what the spec says about one of our services: labels, node selector and the like.
    """
    spec: Plain = {
        "serviceAccountName": child_name(stack, component),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": _pod_security(containers[0].image.user),
        "containers": [container.as_dict(stack) for container in containers],
        "volumes": list(volumes),
    }
    if restart:
        spec["restartPolicy"] = restart
    if stack.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in stack.pull_secrets]
    if spread:
        spec["topologySpreadConstraints"] = _spread(stack, component)
    metadata: Plain = {"labels": labels(stack, component), "annotations": dict(annotations)}
    if placement:
        spec |= _placement(placement)
        metadata["labels"] = {**placement.labels, **metadata["labels"]}
        metadata["annotations"] = {**placement.annotations, **metadata["annotations"]}
    return {"metadata": metadata, "spec": spec}


def _pod_security(user: int) -> Plain:
    """Files of volumes belong to the group ``user``; a volume that already does is not walked through again."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _spread(stack: Stack, component: Component) -> list[Plain]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(stack, component)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def _placement(spec: ServiceSpec) -> Plain:
    wanted: Plain = {
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [dict(toleration) for toleration in spec.tolerations],
        "affinity": spec.affinity and dict(spec.affinity),
        "priorityClassName": spec.priority_class_name,
    }
    return {name: value for name, value in wanted.items() if value}
