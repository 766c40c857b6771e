"""Helm as the tests use it: the chart rendered without a cluster, and what it says when it refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import yaml

from tests.api.places import REPOSITORY, program

CHART: Final = REPOSITORY / "charts" / "auren-operator"
NAMESPACE: Final = "auren-system"
RELEASE: Final = "auren-operator"

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm, whatever comes of it."""
    return subprocess.run([program("helm"), *arguments], capture_output=True, text=True, check=False)


def render(*arguments: str, release: str = RELEASE, hooks: bool = True) -> list[Object]:
    """Every object of the chart with these arguments (``--set`` …). Raises AssertionError with what helm said."""
    return objects(_rendered(release, *arguments, *(() if hooks else ("--no-hooks",))))


@cache
def _rendered(release: str, *arguments: str) -> str:
    done = helm("template", release, str(CHART), "--namespace", NAMESPACE, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[Object]:
    """The objects of a stream of YAML documents; empty documents are left out."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(found: Iterable[Object], kind: str) -> list[Object]:
    """All objects of one kind."""
    return [obj for obj in found if obj["kind"] == kind]


def one(found: Iterable[Object], kind: str, name: str = RELEASE) -> Object:
    """The one object of this kind and name."""
    [obj] = [obj for obj in of_kind(found, kind) if obj["metadata"]["name"] == name]
    return obj


def deployment_of(found: Iterable[Object]) -> Object:
    """The operator's Deployment."""
    [deployment] = of_kind(found, "Deployment")
    return deployment


def environment(found: Iterable[Object], pod: str = "auren-operator-0") -> dict[str, str]:
    """The environment of the operator's container, as its process would see it."""
    [container] = deployment_of(found)["spec"]["template"]["spec"]["containers"]
    fields = {"metadata.name": pod, "metadata.namespace": NAMESPACE}
    return {
        entry["name"]: entry["value"] if "value" in entry else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in container["env"]
    }
