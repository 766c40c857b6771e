"""A judge of NetworkPolicies: may a pod open a connection to another?

After the NetworkPolicy reference: a pod that no policy selects for a direction is open in it; one that is selected is
open only to what some policy's rule allows; a connection needs both its ends to agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from auren_operator.manifests.model import Manifest


@dataclass(frozen=True)
class End:
    """One end of a connection. ``labels`` None is an address outside the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] | None = field(default_factory=dict)


def allowed(policies: Sequence[Manifest], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether ``source`` may connect to ``port`` of ``target``."""
    return _open(policies, "Egress", source, target, port, protocol) and _open(
        policies, "Ingress", target, source, port, protocol
    )


def _open(policies: Sequence[Manifest], way: str, here: End, there: End, port: int, protocol: str) -> bool:
    """Whether the policies that select ``here`` let it be connected with ``there`` in this direction."""
    mine = [policy for policy in policies if _selects(policy, here) and way in policy["spec"]["policyTypes"]]
    if not mine:
        return True
    side = "from" if way == "Ingress" else "to"
    return any(
        _has_port(rule, port, protocol) and _has_peer(rule, side, policy, there)
        for policy in mine
        for rule in policy["spec"].get(way.lower(), ())
    )


def _selects(policy: Manifest, end: End) -> bool:
    if end.labels is None or end.namespace != policy["metadata"]["namespace"]:
        return False
    return _matches(policy["spec"]["podSelector"], end.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the judge knows matchLabels only"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _has_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(one["port"] == port and one["protocol"] == protocol for one in ports)


def _has_peer(rule: Mapping[str, Any], side: str, policy: Manifest, other: End) -> bool:
    peers = rule.get(side)
    return not peers or any(_is_peer(peer, policy, other) for peer in peers)


def _is_peer(peer: Mapping[str, Any], policy: Manifest, other: End) -> bool:
    assert set(peer) <= {"podSelector", "namespaceSelector"}, "the judge knows no address blocks"
    if other.labels is None:
        return False
    if "namespaceSelector" in peer:
        assert peer["namespaceSelector"] == {}, "the judge knows only the selector of every namespace"
    elif other.namespace != policy["metadata"]["namespace"]:
        return False
    return _matches(peer.get("podSelector", {}), other.labels)
