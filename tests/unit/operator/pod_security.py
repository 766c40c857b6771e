"""The Pod Security Standard `restricted`, as a judge of pod specs.

After https://kubernetes.io/docs/concepts/security/pod-security-standards/ (restricted, and baseline within it), for
Linux pods. It is stricter in one point: what the standard allows to be left out where the pod says it, we want said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]

VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def breaches(spec: Spec) -> list[str]:
    """Every rule of the standard that a pod's spec breaks, as sentences."""
    return [*_of_pod(spec), *(breach for container in _containers(spec) for breach in _of_container(spec, container))]


def _containers(spec: Spec) -> Iterator[Spec]:
    for kind in CONTAINERS:
        yield from spec.get(kind, ())


def _of_pod(spec: Spec) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    for volume in spec.get("volumes", ()):
        if other := set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {other}"
    context = spec.get("securityContext", {})
    if context.get("sysctls"):
        yield "sysctls are set"
    if context.get("windowsOptions") or context.get("seLinuxOptions") or context.get("appArmorProfile"):
        yield "the security context has options that the standard restricts"


def _of_container(spec: Spec, container: Spec) -> Iterator[str]:
    context, pod = container.get("securityContext", {}), spec.get("securityContext", {})
    effective = {**pod, **context}
    name = container["name"]
    if context.get("privileged"):
        yield f"{name} is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may escalate"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield f"{name} keeps or adds capabilities"
    if effective.get("runAsNonRoot") is not True:
        yield f"{name} may run as root"
    if effective.get("runAsUser") == 0:
        yield f"{name} runs as root"
    if effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield f"{name} has no seccomp profile"
    if context.get("procMount", "Default") != "Default":
        yield f"{name} sees more of /proc"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield f"{name} takes a port of the host"
    probes = (container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup"))
    hooks = container.get("lifecycle", {}).values()
    if any(ask.get("httpGet", {}).get("host") or ask.get("tcpSocket", {}).get("host") for ask in (*probes, *hooks)):
        yield f"{name} makes the node call another host"
