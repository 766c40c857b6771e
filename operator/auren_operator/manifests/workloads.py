"""What runs pods: StatefulSets with their claims, Deployments, and the account that the pods run under."""

from __future__ import annotations

from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.spec import ServiceSpec, Stack
from auren_operator.manifests.meta import child_name, manifest, selector
from auren_operator.manifests.model import Component, Manifest
from auren_operator.manifests.storage import RETENTION

REVISIONS_KEPT: Final = 3
"""Old revisions that `kubectl rollout undo` can see; the operator sets an undone one back."""

PROGRESS_DEADLINE_SECONDS: Final = 300
"""After this a Deployment whose pods do not become ready says so in its conditions."""


def stateful_set(
    stack: Stack,
    component: Component,
    template: dict[str, Any],
    claim_template: dict[str, Any],
    *,
    replicas: int = 1,
    parallel: bool = False,
    min_ready_seconds: int = 0,
) -> Manifest:
    """A store. ``replicas`` is how many it has when it is awake; the annotation remembers that number."""
    spec: dict[str, Any] = {
        "replicas": 0 if stack.hibernated else replicas,
        "serviceName": child_name(stack, component),
        "selector": {"matchLabels": selector(stack, component)},
        "podManagementPolicy": "Parallel" if parallel else "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate"},
        "persistentVolumeClaimRetentionPolicy": dict(RETENTION),
        "revisionHistoryLimit": REVISIONS_KEPT,
        "template": template,
        "volumeClaimTemplates": [claim_template],
    }
    if min_ready_seconds:
        spec["minReadySeconds"] = min_ready_seconds
    annotations = {names.ANNOTATION_CREATED_REPLICAS: str(replicas)}
    return manifest(stack, component, "StatefulSet", {"spec": spec}, api_version="apps/v1", annotations=annotations)


def deployment(stack: Stack, component: Component, spec: ServiceSpec, template: dict[str, Any]) -> Manifest:
    """One of our services. A new pod is ready before an old one stops, and never more than one above the number."""
    awake = spec.autoscaling.min_replicas if spec.autoscaling else spec.replicas
    body = {
        "replicas": 0 if stack.hibernated else awake,
        "selector": {"matchLabels": selector(stack, component)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": REVISIONS_KEPT,
        "template": template,
    }
    return manifest(stack, component, "Deployment", {"spec": body}, api_version="apps/v1")


def service_account(stack: Stack, component: Component) -> Manifest:
    """The pods' own account: without rights, and its token is mounted nowhere."""
    return manifest(stack, component, "ServiceAccount", {"automountServiceAccountToken": False})
