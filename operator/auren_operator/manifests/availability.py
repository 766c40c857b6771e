"""How many pods a component keeps: disruption budgets and autoscalers."""

from __future__ import annotations

from typing import Any

from auren_operator.api.spec import ServiceSpec, Stack
from auren_operator.manifests.meta import child_name, manifest, selector
from auren_operator.manifests.model import Component, Manifest


def disruption_budget(stack: Stack, component: Component) -> Manifest:
    """At most one pod at a time may be evicted, so a drain never stops all of a component that has several.

    It says "one may be away", not "one must stay": with a single replica the latter would block every drain for ever.
    A pod that is not ready may always go, or a broken one would hold its node.
    """
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selector(stack, component)},
    }
    return manifest(stack, component, "PodDisruptionBudget", {"spec": spec}, api_version="policy/v1")


def autoscaler(stack: Stack, component: Component, spec: ServiceSpec) -> list[Manifest]:
    """The autoscaler, where the spec asks for one. While the stack sleeps it rests: its target has no replicas."""
    if spec.autoscaling is None:
        return []
    body: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": child_name(stack, component)},
        "minReplicas": spec.autoscaling.min_replicas,
        "maxReplicas": spec.autoscaling.max_replicas,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": spec.autoscaling.target_cpu_percent},
                },
            }
        ],
    }
    return [manifest(stack, component, "HorizontalPodAutoscaler", {"spec": body}, api_version="autoscaling/v2")]
