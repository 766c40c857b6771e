"""A person installs the operator with Helm and applies one AurenStack: the whole platform comes up."""

from __future__ import annotations

import json
from pathlib import Path

from tests.api.cluster import Ref
from tests.kind.platform import RELEASE, SYSTEM, Platform, described, helm_install, run


async def test_helm_installs_the_operator_and_its_own_test_passes(platform: Platform) -> None:
    told = helm_install()
    assert "kubectl" in told, "the notes say what to do next"
    run("helm", "test", RELEASE, "--namespace", SYSTEM, "--timeout", "120s")
    operator = await platform.cluster.get(Ref("Deployment", SYSTEM, RELEASE))
    assert operator["status"]["readyReplicas"] == 2


async def test_one_stack_comes_up_whole(platform: Platform) -> None:
    spec = {"size": "demo"}
    meta = {"name": platform.name, "namespace": platform.namespace}
    await platform.cluster.create(
        {"apiVersion": "aupex.ai/v1alpha1", "kind": "AurenStack", "metadata": meta, "spec": spec}
    )
    stack = await platform.ready()
    assert stack["status"]["componentsReady"] == "7/7", described(stack)
    pods = await platform.cluster.list("Pod", platform.namespace)
    restarts = {
        f"{pod['metadata']['name']}/{container['name']}": container["restartCount"]
        for pod in pods
        for container in pod["status"].get("containerStatuses", ())
        if container["restartCount"]
    }
    assert not restarts, "nothing crashed on the way up"


async def test_the_status_is_readable_at_a_glance(platform: Platform) -> None:
    shown = run("kubectl", "-n", platform.namespace, "get", "aurenstack", platform.name)
    header, line = shown.strip().splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "COMPONENTS", "VERSION", "AGE"]
    assert line.split()[:4] == [platform.name, "True", "AllReady", "7/7"]
    explained = run("kubectl", "explain", "aurenstack.spec")
    assert "neuros" in explained
    assert "How large the stack is" in explained


async def test_a_bad_spec_is_refused_with_a_sentence(platform: Platform, tmp_path: Path) -> None:
    bad = run(
        *("kubectl", "-n", platform.namespace, "patch", "aurenstack", platform.name, "--type=merge"),
        *("--patch", '{"spec": {"neuros": {"autoscaling": {"minReplicas": 5, "maxReplicas": 2}}}}'),
        check=False,
    )
    assert "minReplicas" in bad
    assert "maxReplicas" in bad
    stack = await platform.cluster.get(platform.ref)
    meta = {"name": platform.name, "namespace": platform.namespace}
    misspelt = {"apiVersion": stack["apiVersion"], "kind": stack["kind"], "metadata": meta, "spec": {"grafana": {}}}
    (tmp_path / "stack.json").write_text(json.dumps(misspelt))
    unknown = run("kubectl", "apply", "--dry-run=server", "--filename", str(tmp_path / "stack.json"), check=False)
    assert 'unknown field "spec.grafana"' in unknown
