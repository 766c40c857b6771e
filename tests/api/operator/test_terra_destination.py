"""Terra's Kafka destination on a real API server: its Services, its certificate's coming, renewal and going."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.api.cluster import Cluster, Object, Ref
from tests.api.operator_process import Operator
from tests.api.stacks import install, row, says, told
from tests.unit.operator.people_certificates import certificate, data, good_pair, key_pem, new_key, pem
from tests.unit.operator.provider_cases import broker, terra

NAME: Final = "terra-kafka-tls"
SPEC: Final = terra(tls={"name": NAME}, brokers=[broker(0, annotations={"example.com/host": "kafka-0"})])


def secret(namespace: str, pair: dict[str, str]) -> Object:
    """What a person makes; the label is what cert-manager's `secretTemplate` would put on it."""
    meta = {"name": NAME, "namespace": namespace, "labels": {"aupex.ai/stack": "demo"}}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": meta, "data": pair}


async def template(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """That of Kafka's pods."""
    found: dict[str, Any] = (await cluster.get(Ref("StatefulSet", namespace, "demo-kafka")))["spec"]["template"]
    return found


def kafka(**fields: Any) -> dict[str, Any]:
    """A change of the destination."""
    return {"spec": {"bridge": {"providers": {"terra": {"kafka": fields}}}}}


def is_of_type(kind: str) -> Callable[[Object | None], bool]:
    """Whether a Service is of a type."""
    return lambda service: service is not None and service["spec"]["type"] == kind


def is_open(pod: dict[str, Any]) -> bool:
    """Whether pods have what opens the listener."""
    return "terra-tls" in {volume["name"] for volume in pod["spec"]["volumes"]}


def waits(shown: Object | None) -> bool:
    """Whether Kafka, Ready with all its stack, does without the certificate."""
    found = row(shown, "kafka")
    told_so = found.get("waitingFor") == [f"Secret {NAME}"] and found.get("reason") == "WaitingForSecrets"
    return told_so and found.get("state") == "Ready" and says(shown, "Ready", "True", "WaitingForSecrets")


def runs(shown: Object | None) -> bool:
    """Whether Kafka misses nothing."""
    return row(shown, "kafka").get("reason") == "Running"


async def test_the_destination_follows_its_certificate(operator: Operator, cluster: Cluster, namespace: str) -> None:
    ref, mine = Ref("AurenStack", namespace, "demo"), Ref("Secret", namespace, NAME)
    service = Ref("Service", namespace, "demo-kafka-terra-0")
    await cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "t", "namespace": namespace},
            "stringData": {"signing-secret": "s"},
        }
    )
    shown = await install(cluster, namespace, spec=SPEC)
    assert waits(shown)
    assert row(shown, "kafka")["message"].startswith(
        f"Waiting: Secret {NAME} (it is missing; Terra's Kafka destination"
    )
    await told(cluster, namespace, "Waiting", f"Secret {NAME}")
    assert not is_open(await template(cluster, namespace))
    made = (await cluster.get(service))["spec"]
    assert made["type"] == "LoadBalancer"
    assert made["selector"]["statefulset.kubernetes.io/pod-name"] == "demo-kafka-0"
    assert (made["ports"][0]["port"], made["ports"][0]["targetPort"]) == (9094, "terra")
    assert (await cluster.get(service))["metadata"]["annotations"] == {"example.com/host": "kafka-0"}
    assert (await cluster.get(Ref("Secret", namespace, "demo-kafka-terra")))["data"].keys() == {"password"}

    await cluster.create(secret(namespace, good_pair()))
    await cluster.until(ref, runs, "rid of the wait")
    first = await template(cluster, namespace)
    assert is_open(first)
    await cluster.patch(mine, {"data": good_pair()})
    workload = Ref("StatefulSet", namespace, "demo-kafka")
    await cluster.until(workload, lambda o: o is not None and o["spec"]["template"] != first, "rolled")

    await cluster.patch(mine, {"data": data(pem(certificate("kafka", new_key())), key_pem(new_key()))})
    flawed = await cluster.until(ref, waits, "telling the flaw")
    assert "tls.key is not the key of the first certificate" in row(flawed, "kafka")["message"]
    assert not is_open(await template(cluster, namespace))

    await operator.quiet()
    assert (await cluster.get(service))["spec"]["ports"] == made["ports"], "the cluster's own port for it stays"
    for kind in ("NodePort", "ClusterIP", "LoadBalancer"):
        await cluster.patch(ref, kafka(service={"type": kind}))
        await cluster.until(service, is_of_type(kind), f"a {kind}")
    await cluster.patch(ref, kafka(enabled=False))
    await cluster.gone(service)
    await cluster.until(ref, runs, "rid of the wait")
    assert await cluster.read(mine) is not None
