"""The chart: what it installs in its variants, and that it fits the operator that it installs."""

from __future__ import annotations

import importlib.util
import tomllib
from types import ModuleType

import pytest
import yaml
from prometheus_client import generate_latest

from auren_operator import metrics
from auren_operator.api import names
from auren_operator.settings import Settings
from tests.api.places import REPOSITORY
from tests.unit.chart.rendering import (
    CHART,
    NAMESPACE,
    RELEASE,
    Object,
    deployment_of,
    environment,
    helm,
    objects,
    of_kind,
    one,
    render,
)
from tests.unit.operator.pod_security import breaches

VARIANTS = {
    "defaults": [],
    "namespaced": ["--set", "watchNamespaces={one,two}"],
    "single": ["--set", "replicas=1,podDisruptionBudget.enabled=false,networkPolicy.enabled=false"],
    "everything": [
        "--set",
        "image=registry.example.com:5000/auren/operator@sha256:" + "0" * 64,
        "--set",
        "imagePullSecrets[0].name=mine,nodeSelector.disk=fast,priorityClassName=high,logLevel=debug,version=1.2.3",
        "--set",
        "tolerations[0].operator=Exists,podLabels.team=platform,podAnnotations.note=hello",
        "--set",
        "serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus",
        "--set",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.metrics=yes",
        "--set",
        "serviceAccount.annotations.role=arn,fullnameOverride=custom",
        "--set-json",
        'affinity={"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[]}}',
    ],
}

CRD_FILE = REPOSITORY / "crds" / "aurenstacks.aupex.ai.yaml"


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=list(VARIANTS))
def variant(request: pytest.FixtureRequest) -> list[Object]:
    return render(*request.param)


@pytest.fixture(scope="module")
def defaults() -> list[Object]:
    return render()


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_helm_finds_nothing_to_complain_about(arguments: list[str]) -> None:
    done = helm("lint", "--strict", str(CHART), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_crd_is_the_one_in_crds() -> None:
    assert (CHART / "files" / CRD_FILE.name).read_bytes() == CRD_FILE.read_bytes(), "run hack/manifests.sh"


def test_the_crd_stays_when_the_chart_is_uninstalled(defaults: list[Object]) -> None:
    [crd] = of_kind(defaults, "CustomResourceDefinition")
    assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crd == yaml.safe_load(CRD_FILE.read_text())


def test_the_crd_goes_or_is_not_installed_where_that_is_wanted() -> None:
    [crd] = of_kind(render("--set", "crds.keep=false"), "CustomResourceDefinition")
    assert crd == yaml.safe_load(CRD_FILE.read_text())
    assert of_kind(render("--set", "crds.install=false"), "CustomResourceDefinition") == []


def test_every_pod_passes_restricted(variant: list[Object]) -> None:
    specs = [deployment_of(variant)["spec"]["template"]["spec"], *(pod["spec"] for pod in of_kind(variant, "Pod"))]
    assert len(specs) == 2
    for spec in specs:
        assert breaches(spec) == []
        [container] = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert spec["enableServiceLinks"] is False


def test_the_operator_accepts_its_environment(variant: list[Object]) -> None:
    env = environment(variant)
    settings = Settings.from_environment(env)
    assert settings.identity == "auren-operator-0"
    assert settings.namespace == NAMESPACE
    assert settings.lease_name == deployment_of(variant)["metadata"]["name"]
    assert settings.release.images.keys() == names.IMAGE_ENV.keys()
    assert env.keys() == {*names.OPERATOR_ENVIRONMENT, "POD_NAME", "POD_NAMESPACE"}


def test_values_reach_the_operator() -> None:
    env = environment(render(*VARIANTS["everything"]))
    assert Settings.from_environment(env).release.version == "1.2.3"
    assert Settings.from_environment(env).log_level == "debug"
    assert Settings.from_environment(environment(render(*VARIANTS["namespaced"]))).watch_namespaces == ("one", "two")
    assert Settings.from_environment(environment(render())).watch_namespaces == ()


def test_probes_and_metrics_meet_the_port_that_the_operator_opens(variant: list[Object]) -> None:
    deployment = deployment_of(variant)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [port] = container["ports"]
    assert str(port["containerPort"]) == environment(variant)[names.ENV_METRICS_PORT]
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in asked.values()} == {port["name"]}
    assert {kind: probe["path"] for kind, probe in asked.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    [service] = of_kind(variant, "Service")
    assert [p["targetPort"] for p in service["spec"]["ports"]] == [port["name"]]
    selectors = [
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        *(obj["spec"]["selector"]["matchLabels"] for obj in of_kind(variant, "PodDisruptionBudget")),
        *(obj["spec"]["podSelector"]["matchLabels"] for obj in of_kind(variant, "NetworkPolicy")),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    for monitor in of_kind(variant, "ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert [end["port"] for end in monitor["spec"]["endpoints"]] == [p["name"] for p in service["spec"]["ports"]]


def test_two_replicas_stand_apart_and_are_replaced_one_by_one(defaults: list[Object]) -> None:
    spec = deployment_of(defaults)["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    [spread] = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert one(defaults, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_optional_objects_are_left_out_where_they_are_not_wanted() -> None:
    kinds = {obj["kind"] for obj in render(*VARIANTS["single"])}
    assert kinds.isdisjoint({"PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"})


def test_placement_and_labels_reach_the_pod() -> None:
    template = deployment_of(render(*VARIANTS["everything"]))["spec"]["template"]
    spec = template["spec"]
    assert template["metadata"]["labels"]["team"] == "platform"
    assert template["metadata"]["annotations"] == {"note": "hello"}
    assert spec["imagePullSecrets"] == [{"name": "mine"}]
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "high"
    assert "nodeAffinity" in spec["affinity"]


def test_every_object_says_where_it_is(variant: list[Object]) -> None:
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    assert [
        o["metadata"]["name"] for o in variant if (o["kind"] in cluster_wide) == ("namespace" in o["metadata"])
    ] == []


def test_two_releases_do_not_take_each_other_s_objects() -> None:
    second = ["--set", "crds.install=false,userRoles=false,watchNamespaces={two}"]
    taken = [
        {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in found}
        for found in (render("--set", "watchNamespaces={one}"), render(*second, release="other"))
    ]
    assert taken[0].isdisjoint(taken[1])


REFUSED = {
    "unknown value": (["--set", "replicaCount=3"], "additional properties 'replicaCount' not allowed"),
    "too many replicas": (["--set", "replicas=50"], "at '/replicas': maximum: got 50, want 5"),
    "text for a number": (["--set-string", "replicas=two"], "at '/replicas': got string, want integer"),
    "one namespace as text": (["--set", "watchNamespaces=one"], "at '/watchNamespaces': got string, want array"),
    "a pattern of namespaces": (["--set", "watchNamespaces={team-*}"], "at '/watchNamespaces/0': 'team-*' does not"),
    "unknown log level": (["--set", "logLevel=loud"], "at '/logLevel': value must be one of 'debug', 'info'"),
    "unknown image": (["--set", "images.postgres=postgres:17"], "additional properties 'postgres' not allowed"),
    "an image without a tag": (["--set", "images.redis=redis"], "at '/images/redis': 'redis' does not match"),
    "an image left out": (["--set", "images.kafka=null"], "missing property 'kafka'"),
    "no quantity": (["--set", "resources.limits.memory=lots"], "at '/resources/limits/memory': 'lots' does not"),
    "unknown pull policy": (["--set", "imagePullPolicy=Sometimes"], "at '/imagePullPolicy': value must be one of"),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_value_is_refused_with_its_place(arguments: list[str], sentence: str) -> None:
    done = helm("template", RELEASE, str(CHART), *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_the_versions_agree() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project
    ours = [values["image"], *(image for image in values["images"].values() if image.startswith("auren/"))]
    assert [image.rpartition(":")[2] for image in ours] == [project] * 6


def test_the_demo_budget_of_a_stack_counts_on_the_request(defaults: list[Object]) -> None:
    [container] = deployment_of(defaults)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "25m"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["all namespaces", "kubectl create namespace auren", "the CRD stays", "chromadb/chroma:1.5.9"]),
        (["--set", "watchNamespaces={one,two}"], ["stacks of one, two", "--namespace one --watch"]),
        (["--set", "crds.keep=false"], ["also removes the CRD", "every stack in the cluster"]),
        (["--set", "crds.install=false"], ["was not installed with it"]),
    ],
)
def test_the_notes_fit_what_was_installed(arguments: list[str], said: list[str]) -> None:
    done = helm("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", *arguments)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert [part for part in said if part not in notes] == []


def test_its_own_test_recognizes_the_leader() -> None:
    check = check_script()
    metrics.leader.set(0)
    assert not check.leads(generate_latest().decode())
    metrics.leader.set(1)
    assert check.leads(generate_latest().decode())
    metrics.leader.set(0)


def test_its_own_test_runs_the_script_as_it_is(defaults: list[Object]) -> None:
    [container] = one(defaults, "Pod", f"{RELEASE}-check")["spec"]["containers"]
    script, *arguments = container["args"]
    assert script == (CHART / "files" / "check.py").read_text()
    assert arguments == [one(defaults, "Service", f"{RELEASE}-metrics")["metadata"]["name"], "2"]


def check_script() -> ModuleType:
    """The script of `helm test` as a module."""
    spec = importlib.util.spec_from_file_location("check", CHART / "files" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notes_make_a_stack_that_the_crd_takes() -> None:
    done = helm("install", RELEASE, str(CHART), "--dry-run=client")
    [stack] = objects(done.stdout.partition("<<END\n")[2].partition("\nEND\n")[0])
    sample = yaml.safe_load((REPOSITORY / "manifests" / "samples" / "demo.yaml").read_text())
    assert stack["spec"] == sample["spec"]
    assert (stack["apiVersion"], stack["kind"]) == (sample["apiVersion"], sample["kind"])
