"""What the chart allows the operator, and the people who use stacks: an exact table, in either scope."""

from __future__ import annotations

from typing import Final

import pytest

from auren_operator.kube.kinds import CHILDREN, FOLLOWED, STACK
from tests.unit.chart.rendering import NAMESPACE, RELEASE, Object, of_kind, one, render

ALL: Final = frozenset({"list", "watch", "get", "create", "patch", "delete"})
RIGHTS: Final = {
    ("aupex.ai", "aurenstacks"): {"list", "watch"},
    ("aupex.ai", "aurenstacks/status"): {"patch"},
    ("", "configmaps"): ALL,
    ("", "secrets"): ALL,
    ("", "serviceaccounts"): ALL,
    ("", "services"): ALL,
    ("apps", "deployments"): ALL,
    ("apps", "statefulsets"): ALL,
    ("batch", "jobs"): ALL,
    ("autoscaling", "horizontalpodautoscalers"): ALL,
    ("networking.k8s.io", "networkpolicies"): ALL,
    ("policy", "poddisruptionbudgets"): ALL,
    ("", "persistentvolumeclaims"): {"list", "watch", "get", "patch", "delete"},
    ("", "pods"): {"list", "watch", "delete"},
    ("", "events"): {"create"},
}
"""All that the operator may do where it serves: (group, resource) → verbs."""

LEASE_RIGHTS: Final = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [RELEASE],
        "verbs": ["get", "update"],
    },
]


def table(role: Object) -> dict[tuple[str, str], set[str]]:
    """A role's rules as (group, resource) → verbs. Fails on rules for names or URLs."""
    rights: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


def binds(binding: Object, kind: str, name: str) -> bool:
    """Whether a binding gives this role to the operator's account, and to nobody else."""
    account = {"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    return bool(binding["roleRef"] == role and binding["subjects"] == [account])


def test_cluster_wide_it_has_exactly_these_rights() -> None:
    found = render()
    assert table(one(found, "ClusterRole")) == RIGHTS
    [binding] = of_kind(found, "ClusterRoleBinding")
    assert binds(binding, "ClusterRole", RELEASE)
    assert [role["metadata"]["name"] for role in of_kind(found, "Role")] == [f"{RELEASE}-lease"]


def test_in_chosen_namespaces_it_has_them_there_and_nowhere_else() -> None:
    found = render("--set", "watchNamespaces={one,two}")
    assert of_kind(found, "ClusterRoleBinding") == []
    roles = {role["metadata"]["namespace"]: role for role in of_kind(found, "Role")}
    bindings = {binding["metadata"]["namespace"]: binding for binding in of_kind(found, "RoleBinding")}
    assert roles.keys() == bindings.keys() == {"one", "two", NAMESPACE}
    for namespace in ("one", "two"):
        assert table(roles[namespace]) == RIGHTS
        assert binds(bindings[namespace], "Role", RELEASE)
    assert RELEASE not in [role["metadata"]["name"] for role in of_kind(found, "ClusterRole")]


def test_serving_its_own_namespace_needs_no_second_name() -> None:
    found = render("--set", f"watchNamespaces={{{NAMESPACE}}}")
    roles = [(role["metadata"]["namespace"], role["metadata"]["name"]) for role in of_kind(found, "Role")]
    assert sorted(roles) == [(NAMESPACE, RELEASE), (NAMESPACE, f"{RELEASE}-lease")]


@pytest.mark.parametrize("arguments", [[], ["--set", "watchNamespaces={one}"]], ids=["cluster", "namespaces"])
def test_the_lease_is_all_that_it_may_change_in_its_own_namespace(arguments: list[str]) -> None:
    found = render(*arguments)
    role = one(found, "Role", f"{RELEASE}-lease")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert role["rules"] == LEASE_RIGHTS
    assert binds(one(found, "RoleBinding", f"{RELEASE}-lease"), "Role", f"{RELEASE}-lease")


def test_the_rights_are_those_for_the_kinds_that_the_operator_knows() -> None:
    kinds = {(kind.group, kind.plural) for kind in (*CHILDREN.values(), *FOLLOWED.values(), STACK)}
    assert RIGHTS.keys() - kinds == {(STACK.group, f"{STACK.plural}/status"), ("", "events")}
    assert {(kind.group, kind.plural) for kind in CHILDREN.values()} == {
        k for k, verbs in RIGHTS.items() if verbs == ALL
    }
    assert all({"list", "watch"} <= RIGHTS[kind] for kind in kinds)


def test_no_rule_has_a_wildcard_or_lets_it_give_rights_away() -> None:
    for arguments in ([], ["--set", "watchNamespaces={one}"]):
        for role in (*of_kind(render(*arguments), "ClusterRole"), *of_kind(render(*arguments), "Role")):
            for rule in role["rules"]:
                words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
                assert words.isdisjoint({"*", "bind", "escalate", "impersonate", "rbac.authorization.k8s.io"})


def test_users_of_the_built_in_roles_may_use_stacks() -> None:
    found = render()
    view, edit = one(found, "ClusterRole", "aurenstacks-view"), one(found, "ClusterRole", "aurenstacks-edit")
    reads, writes = {"get", "list", "watch"}, {"create", "update", "patch", "delete", "deletecollection"}
    assert table(view) == {("aupex.ai", "aurenstacks"): reads, ("aupex.ai", "aurenstacks/status"): reads}
    assert table(edit) == {("aupex.ai", "aurenstacks"): writes}
    assert added_to(view) == {"view", "edit", "admin"}
    assert added_to(edit) == {"edit", "admin"}
    assert not {"aurenstacks-view", "aurenstacks-edit"} & {
        role["metadata"]["name"] for role in of_kind(render("--set", "userRoles=false"), "ClusterRole")
    }


def added_to(role: Object) -> set[str]:
    """The built-in roles that a role is added to."""
    label = "rbac.authorization.k8s.io/aggregate-to-"
    return {
        key.removeprefix(label) for key, value in role["metadata"]["labels"].items() if key.startswith(label) and value
    }
