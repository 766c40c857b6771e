"""From what is observed of a stack's objects to the facts that its build depends on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from auren_operator.api import names
from auren_operator.api.observed import DataSeen, Seen, VolumeSeen, WorkloadSeen
from auren_operator.kube.view import ChildKey
from auren_operator.manifests.model import Facts, SecretSpec, Volume


def secret_is_complete(spec: SecretSpec, seen: Seen | None) -> bool:
    """Whether the Secret exists, stays, and has every key that it should."""
    return (
        seen is not None
        and not seen.deleting
        and isinstance(seen.detail, DataSeen)
        and seen.detail.keys.issuperset(spec.keys)
    )


def facts_of(
    secrets: Iterable[SecretSpec],
    children: Mapping[ChildKey, Seen],
    given: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Facts:
    """The facts of one stack, from the Secrets that it should have, the objects that it has, and `given_of` of both
    kinds.
    """
    hashes: dict[str, str] = {}
    for spec in secrets:
        seen = children.get(ChildKey("Secret", spec.name))
        if seen is not None and secret_is_complete(spec, seen) and isinstance(seen.detail, DataSeen):
            hashes[spec.name] = seen.detail.data_hash
    volumes: dict[str, Volume] = {}
    replicas: dict[str, int] = {}
    for key, seen in children.items():
        if isinstance(seen.detail, VolumeSeen) and not seen.deleting:
            volumes[key.name] = Volume(seen.uid, seen.detail.storage_bytes, seen.detail.created_replicas)
        elif isinstance(seen.detail, WorkloadSeen) and seen.detail.created_replicas is not None and _is_ours(seen):
            replicas[key.name] = seen.detail.created_replicas
    return Facts(secrets=hashes, volumes=volumes, replicas=replicas, given=given or {}, texts=texts or {})


def _is_ours(seen: Seen) -> bool:
    """Whether the number of replicas is as we wrote it: an edited annotation is set back, never obeyed."""
    return f'"f:{names.ANNOTATION_CREATED_REPLICAS}"' in seen.own
