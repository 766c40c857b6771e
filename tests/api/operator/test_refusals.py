"""What the operator refuses and what it is refused: a bad spec, a quota. Each is told, and nothing else suffers."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator

import pytest_asyncio
import yaml

from tests.api.cluster import JSON_PATCH, Cluster, Object, Ref
from tests.api.operator_process import Operator
from tests.api.stacks import CRD_FILE, condition, install, ready, row, says, stack, told

CRD_REF = Ref("CustomResourceDefinition", "", "aurenstacks.aupex.ai")

BAD_SPEC = {
    "size": "demo",
    "neuros": {"replicas": 3, "autoscaling": {"minReplicas": 5, "maxReplicas": 2}},
}


def without_rules(schema: Object) -> Object:
    """A schema without its CEL rules, enumerations and bounds: what an older CRD may have let in."""
    dropped = {"x-kubernetes-validations", "enum", "minimum", "maximum", "pattern", "oneOf", "anyOf", "not"}
    cleaned = {}
    for key, value in schema.items():
        if key in {"properties"}:
            cleaned[key] = {name: without_rules(inner) for name, inner in value.items()}
        elif key not in dropped:
            cleaned[key] = without_rules(value) if isinstance(value, dict) and key != "default" else value
    return cleaned


@pytest_asyncio.fixture
async def lax_crd(cluster: Cluster, crd: None) -> AsyncIterator[None]:
    """The CRD without its rules, for the time of a test.

    Each change of a CRD's schema also ends all watches of the kind, and for a moment nothing of it can be read.
    """
    strict: Object = yaml.safe_load(CRD_FILE.read_text())
    lax = copy.deepcopy(strict)
    for version in lax["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = without_rules(version["schema"]["openAPIV3Schema"])
    await _put_schema(cluster, lax)
    yield
    await _put_schema(cluster, strict)


async def _put_schema(cluster: Cluster, crd: Object) -> None:
    """Replace the schemas, and wait until the API server checks by them: it says so by refusing or taking an object."""
    versions = [{"op": "replace", "path": "/spec/versions", "value": crd["spec"]["versions"]}]
    await cluster.patch(CRD_REF, versions, JSON_PATCH)
    strict = "x-kubernetes-validations" in str(crd)
    await cluster.refuses(stack("default", "probe", BAD_SPEC), refused=strict)


async def test_a_spec_from_before_a_rule_is_told_with_every_violation_and_nothing_is_touched(
    lax_crd: None, operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await cluster.create(stack(namespace, "bad", BAD_SPEC))
    ref = Ref("AurenStack", namespace, "bad")
    shown = await cluster.until(ref, lambda s: says(s, "SpecValid", "False", "SpecInvalid"), "called invalid")
    message = condition(shown, "SpecValid")["message"]
    assert "replicas or autoscaling, not both" in message
    assert "minReplicas must not exceed maxReplicas" in message
    assert condition(shown, "Ready")["status"] == "False"
    assert not await cluster.children(namespace, "bad")
    await told(cluster, namespace, "SpecInvalid")
    await cluster.patch(ref, {"spec": {"neuros": None}})
    await ready(cluster, namespace, "bad")


async def test_a_spec_that_becomes_invalid_leaves_what_runs_alone(
    lax_crd: None, operator: Operator, cluster: Cluster, namespace: str
) -> None:
    await install(cluster, namespace)
    before = {ref: obj["metadata"]["uid"] for ref, obj in (await cluster.children(namespace, "demo")).items()}
    ref = Ref("AurenStack", namespace, "demo")
    await cluster.patch(ref, {"spec": {"kafka": {"replicas": 2}}})
    await cluster.until(ref, lambda s: says(s, "SpecValid", "False"), "called invalid")
    after = {ref: obj["metadata"]["uid"] for ref, obj in (await cluster.children(namespace, "demo")).items()}
    assert after == before


async def test_a_quota_that_refuses_a_child_is_told_and_stops_no_other(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    limits = {"hard": {"count/configmaps": "1"}}  # every namespace holds one from the start: kube-root-ca.crt
    await cluster.exists(Ref("ConfigMap", namespace, "kube-root-ca.crt"))
    quota = Ref("ResourceQuota", namespace, "tight")
    meta = {"name": quota.name, "namespace": namespace}
    await cluster.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": limits})
    await cluster.until(quota, lambda q: q is not None and "used" in q.get("status", {}), "counted")
    await cluster.create(stack(namespace))
    ref = Ref("AurenStack", namespace, "demo")
    shown = await cluster.until(ref, lambda s: row(s, "redis").get("reason") == "QuotaExceeded", "telling the quota")
    assert "tight" in row(shown, "redis")["message"]
    await cluster.exists(Ref("Service", namespace, "demo-redis"))
    await cluster.exists(Ref("StatefulSet", namespace, "demo-chromadb"))
    await cluster.delete(quota)
    await ready(cluster, namespace)


async def test_a_quota_that_refuses_pods_is_told_with_its_reason(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    quota = Ref("ResourceQuota", namespace, "no-pods")
    meta = {"name": quota.name, "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"count/pods": "0"}}}
    await cluster.create(body)
    await cluster.until(quota, lambda q: q is not None and "used" in q.get("status", {}), "counted")
    await cluster.create(stack(namespace))
    ref = Ref("AurenStack", namespace, "demo")
    await cluster.until(ref, lambda s: row(s, "redis").get("state") == "Progressing", "trying")
    shown = await cluster.get(ref)
    assert not says(shown, "Ready", "True")
    assert row(shown, "neuros-advanced")["state"] == "Waiting"
    assert "redis" in row(shown, "neuros-advanced")["waitingFor"]
    await cluster.delete(quota)
    await ready(cluster, namespace, timeout_seconds=180)
