"""Every pod passes the Pod Security Standard `restricted`, and the further rules of this house."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.unit.operator.built import SIZES, a_stack, everything, workloads
from tests.unit.operator.pod_security import breaches

Change = Callable[[dict[str, Any]], Any]


def pod_specs(size: str) -> dict[str, dict[str, Any]]:
    """Name of a workload → its pods' spec."""
    manifests = everything(a_stack({"size": size, "images": {"pullSecrets": [{"name": "mine"}]}}))
    return {workload["metadata"]["name"]: workload["spec"]["template"]["spec"] for workload in workloads(manifests)}


@pytest.mark.parametrize("size", SIZES)
def test_every_pod_passes_restricted(size: str) -> None:
    assert {name: breaches(spec) for name, spec in pod_specs(size).items() if breaches(spec)} == {}


@pytest.mark.parametrize("size", SIZES)
def test_every_pod_is_more_than_restricted(size: str) -> None:
    for name, spec in pod_specs(size).items():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["imagePullSecrets"] == [{"name": "mine"}], name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name


BREAKS: dict[str, Change] = {
    "hostNetwork": lambda spec: spec.update(hostNetwork=True),
    "hostPath": lambda spec: spec["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
    "root": lambda spec: spec["securityContext"].update(runAsNonRoot=False),
    "uid 0": lambda spec: spec["securityContext"].update(runAsUser=0),
    "no seccomp": lambda spec: spec["securityContext"].pop("seccompProfile"),
    "escalation": lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    "capability": lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
    "capabilities kept": lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"),
    "privileged": lambda spec: spec["containers"][0]["securityContext"].update(privileged=True),
    "host port": lambda spec: spec["containers"][0]["ports"][0].update(hostPort=80),
    "probe elsewhere": lambda spec: spec["containers"][0]["livenessProbe"]["tcpSocket"].update(host="10.0.0.1"),
}


@pytest.mark.parametrize("change", BREAKS.values(), ids=BREAKS)
def test_the_judge_sees_each_breach(change: Change) -> None:
    spec = deepcopy(pod_specs("demo")["demo-kafka"])
    change(spec)
    assert breaches(spec)
