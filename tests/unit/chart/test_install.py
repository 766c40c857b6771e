"""The plain install: the chart without Helm, from the same source."""

from __future__ import annotations

import subprocess

from tests.api.places import REPOSITORY
from tests.unit.chart.rendering import NAMESPACE, Object, objects, of_kind, render

SCRIPT = REPOSITORY / "hack" / "manifests.sh"
INSTALL = REPOSITORY / "manifests" / "install.yaml"


def names_of(found: list[Object]) -> set[tuple[str, str, str]]:
    return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in found}


def test_it_is_what_the_chart_renders_now() -> None:
    printed = subprocess.run([SCRIPT, "install"], capture_output=True, text=True, check=True).stdout
    assert INSTALL.read_text() == printed, "run hack/manifests.sh"


def test_it_has_the_chart_s_objects_and_a_restricted_namespace() -> None:
    found = objects(INSTALL.read_text())
    assert names_of(found) - names_of(render(hooks=False)) == {("Namespace", "", NAMESPACE)}
    assert names_of(render(hooks=False)) <= names_of(found)
    [namespace] = of_kind(found, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert found[0] == namespace, "the namespace has to be there before what is in it"


def test_nothing_in_it_says_that_helm_manages_it() -> None:
    for obj in objects(INSTALL.read_text()):
        keys = {**obj["metadata"].get("labels", {}), **obj["metadata"].get("annotations", {})}
        assert [key for key in keys if "helm.sh" in key or key == "app.kubernetes.io/managed-by"] == []


def test_other_values_reach_it() -> None:
    arguments = ["--set", "image=example.com/auren/operator:1"]
    printed = subprocess.run([SCRIPT, "install", *arguments], capture_output=True, text=True, check=True).stdout
    [deployment] = of_kind(objects(printed), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/auren/operator:1"
