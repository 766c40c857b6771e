"""The kinds that the operator applies and watches, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from auren_operator.api import names


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API: ``api_version`` as manifests write it, ``plural`` as paths do."""

    name: str
    api_version: str
    plural: str

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of one object, of a namespace's collection, or of the whole cluster's."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = [root, *(("namespaces", namespace) if namespace else ()), self.plural]
        return "/".join(part for part in [*parts, name or "", subresource or ""] if part)


STACK: Final = Kind(names.KIND, names.API_VERSION, names.PLURAL)
LEASE: Final = Kind("Lease", "coordination.k8s.io/v1", "leases")
EVENT: Final = Kind("Event", "v1", "events")

CHILDREN: Final = {
    kind.name: kind
    for kind in (
        Kind("Secret", "v1", "secrets"),
        Kind("ConfigMap", "v1", "configmaps"),
        Kind("ServiceAccount", "v1", "serviceaccounts"),
        Kind("Service", "v1", "services"),
        Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        Kind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"),
        Kind("StatefulSet", "apps/v1", "statefulsets"),
        Kind("Deployment", "apps/v1", "deployments"),
        Kind("Job", "batch/v1", "jobs"),
    )
}
"""What builders may return, in the order in which one component's objects are applied."""

FOLLOWED: Final = {
    kind.name: kind
    for kind in (Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"), Kind("Pod", "v1", "pods"))
}
"""Watched for facts and status; made by Kubernetes' own controllers, not by builders."""

WATCHED: Final = CHILDREN | FOLLOWED
