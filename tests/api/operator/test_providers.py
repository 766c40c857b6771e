"""Providers of wearable data on a real API server: Secrets that people make are looked at, told, and never touched."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any, Final

import pytest

from tests.api.cluster import Cluster, Object, Ref, RefusedError
from tests.api.controlplane import ControlPlane
from tests.api.operator_process import Operator
from tests.api.places import REPOSITORY
from tests.api.stacks import install, ready, row, says, stack, told
from tests.unit.operator.provider_cases import EVERY_PROVIDER, broker, terra

BRIDGE: Final = "biometric-bridge"
NAME: Final = "whoop-credentials"
KEYS: Final = ("client-id", "client-secret")
PROVIDERS: Final = {"whoop": {"enabled": True, "credentials": {"name": NAME}}}
URL: Final = "https://bridge.example.com"
SPEC: Final = {"size": "demo", "bridge": {"publicURL": URL, "providers": PROVIDERS}}


def secret(namespace: str, keys: Iterable[str] = KEYS, *, labelled: bool = False) -> Object:
    """What a person makes."""
    meta: Object = {"name": NAME, "namespace": namespace}
    if labelled:
        meta["labels"] = {"aupex.ai/stack": "demo"}
    data = {key: base64.b64encode(f"value of {key}".encode()).decode() for key in keys}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}


def waits(shown: Object | None) -> bool:
    """Whether the bridge, and nothing else, does without the Secret, on a stack that is Ready."""
    found = row(shown, BRIDGE)
    told_so = found.get("waitingFor") == [f"Secret {NAME}"] and found.get("reason") == "WaitingForSecrets"
    return told_so and found.get("state") == "Ready" and says(shown, "Ready", "True", "WaitingForSecrets")


def runs(shown: Object | None) -> bool:
    """Whether nothing is missed."""
    return row(shown, BRIDGE).get("reason") == "Running" and says(shown, "Ready", "True", "AllReady")


async def pod_template(cluster: Cluster, namespace: str) -> Object:
    template: Object = (await cluster.get(Ref("Deployment", namespace, f"demo-{BRIDGE}")))["spec"]["template"]
    return template


def mounts(template: Object) -> dict[str, list[str]]:
    """Container → the providers' directories that it sees."""
    return {
        container["name"]: [
            mount["mountPath"] for mount in container["volumeMounts"] if "/providers/" in mount["mountPath"]
        ]
        for container in template["spec"]["containers"]
    }


async def test_a_missing_secret_is_told_until_somebody_makes_it_and_no_pod_is_replaced(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    ref = Ref("AurenStack", namespace, "demo")
    shown = await install(cluster, namespace, spec=SPEC)
    assert waits(shown)
    assert f"Waiting: Secret {NAME} (it is missing; provider whoop is off" in row(shown, BRIDGE)["message"]
    await told(cluster, namespace, "Waiting", f"Secret {NAME}")
    before = await pod_template(cluster, namespace)
    assert mounts(before) == {key: ["/run/auren/providers/whoop"] for key in ("serve", "collect")}

    made = await cluster.create(secret(namespace))
    await cluster.until(ref, runs, "rid of the wait", timeout_seconds=20)
    await cluster.patch(Ref("Secret", namespace, NAME), {"data": {"client-secret": "bmV3"}})
    await operator.quiet()
    assert await pod_template(cluster, namespace) == before, "another secret is no other pod"
    left = await cluster.get(Ref("Secret", namespace, NAME))
    assert left["metadata"].get("ownerReferences") is left["metadata"].get("labels") is None
    assert left["metadata"]["uid"] == made["metadata"]["uid"]


async def test_while_one_is_missing_nothing_is_written(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await install(cluster, namespace, spec=SPEC)
    await operator.quiet()
    before = writes_in(operator, namespace)
    await asyncio.sleep(12)  # longer than from one look to the next
    assert writes_in(operator, namespace) == before


def writes_in(operator: Operator, namespace: str) -> list[str]:
    """What was written in one namespace: stacks of earlier tests may still be going in others."""
    return [write for write in operator.writes() if f" {namespace}/" in write]


async def test_a_key_that_is_missing_is_named(operator: Operator, cluster: Cluster, namespace: str) -> None:
    await cluster.create(secret(namespace, ["client-id"]))
    shown = await install(cluster, namespace, spec=SPEC)
    assert waits(shown)
    assert "it lacks client-secret" in row(shown, BRIDGE)["message"]


async def test_with_our_label_each_change_of_it_is_seen_at_once_and_it_stays_the_person_s(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    ref, mine = Ref("AurenStack", namespace, "demo"), Ref("Secret", namespace, NAME)
    made = await cluster.create(secret(namespace, labelled=True))
    shown = await install(cluster, namespace, spec=SPEC)
    assert runs(shown)
    await cluster.patch(ref, {"spec": {"bridge": {"enabled": False}}})
    await ready(cluster, namespace)
    await cluster.patch(ref, {"spec": {"bridge": {"enabled": True}}})
    await cluster.until(ref, runs, "back")
    assert await cluster.get(mine) == made

    await cluster.delete(mine)
    await cluster.until(ref, waits, "waiting", timeout_seconds=5)
    await cluster.create(secret(namespace, labelled=True))
    await cluster.until(ref, runs, "rid of the wait", timeout_seconds=5)
    await cluster.delete(ref)
    await cluster.gone(Ref("Deployment", namespace, f"demo-{BRIDGE}"))
    assert await cluster.read(mine) is not None


async def test_a_provider_that_is_switched_off_is_mounted_no_more_and_misses_nothing(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    ref = Ref("AurenStack", namespace, "demo")
    await install(cluster, namespace, spec=SPEC)
    await cluster.patch(ref, {"spec": {"bridge": {"providers": {"whoop": {"enabled": False}}}}})
    await cluster.until(ref, runs, "rid of the wait")
    template = await pod_template(cluster, namespace)
    assert mounts(template) == {"serve": [], "collect": []}
    assert [volume["name"] for volume in template["spec"]["volumes"] if volume["name"].startswith("provider-")] == []


async def test_every_provider_at_once_comes_up_and_tells_each_secret(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    spec = {"size": "demo", "bridge": dict(EVERY_PROVIDER)}
    shown = await install(cluster, namespace, spec=spec)
    missed = ["oura-credentials", "whoop-credentials", "terra.credentials"]
    assert row(shown, BRIDGE)["waitingFor"] == [f"Secret {name}" for name in missed]
    assert row(shown, "kafka")["waitingFor"] == ["Secret terra-kafka-tls"]
    variables = {
        container["name"]: {variable["name"] for variable in container["env"]}
        for container in (await pod_template(cluster, namespace))["spec"]["containers"]
    }
    assert {"AUREN_PUBLIC_URL", "AUREN_PROVIDERS_DIR"} <= variables["serve"] & variables["collect"]


async def test_bad_providers_are_refused_in_a_sentence(cluster: Cluster, crd: None, namespace: str) -> None:
    oura: dict[str, Any] = {"providers": {"oura": {"enabled": True, "credentials": {"name": "o"}}}}
    for bridge, sentence in (
        ({"providers": {"terra": {"enabled": True}}}, "credentials.name must name a Secret"),
        (oura, "publicURL is needed while providers.oura or providers.whoop is enabled"),
        ({**oura, "publicURL": "http://bridge.example.com"}, "must be an https address without a path"),
        ({"replicas": 1, "autoscaling": {"maxReplicas": 2}}, "set replicas or autoscaling, not both"),
        ({"providers": PROVIDERS}, "publicURL is needed"),
        (
            terra(brokers=[broker(1)])["bridge"],
            "brokers must name each broker, from 0 to one less than Kafka's replicas",
        ),
        ({"providers": {"fitbit": {"enabled": True}, "terra": {"enabled": True}}}, "credentials.name"),
    ):
        with pytest.raises(RefusedError, match=sentence):
            await cluster.create(stack(namespace, spec={"size": "demo", "bridge": bridge}))


def test_kubectl_reads_the_crd_as_it_stands(control_plane: ControlPlane, crd: None) -> None:
    """The file shares fields by YAML's anchors and merge keys, which every client has to understand alike."""
    command = (
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--force-conflicts",
        "-o",
        "json",
        "-f",
    )
    shown = control_plane.kubectl(*command, str(REPOSITORY / "crds/aurenstacks.aupex.ai.yaml"))
    assert '"publicURL"' in shown
    explained = control_plane.kubectl("explain", "aurenstack.spec.bridge.nodeSelector")
    assert "Labels that a node must have" in explained
