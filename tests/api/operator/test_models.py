"""NEUROS' model on a real API server: key and texts of people's own are looked at and told, and roll NEUROS' pods."""

from __future__ import annotations

import base64
from typing import Final

from tests.api.cluster import Cluster, Object, Ref
from tests.api.operator_process import Operator
from tests.api.stacks import install, ready, row, says, told

NEUROS: Final = "neuros-advanced"
LABELS: Final = {"aupex.ai/stack": "demo"}
SPEC: Final = {
    "size": "demo",
    "neuros": {
        "llm": {"mode": "openai", "model": "gpt", "apiKeySecretRef": {"name": "openai", "key": "api-key"}},
        "personality": {"configMapRef": {"name": "voice", "key": "voice.yaml"}},
    },
}
LOCAL: Final = {"size": "demo", "neuros": {"llm": {"mode": "local"}}}


def key(namespace: str, value: str) -> Object:
    """The Secret that a person makes."""
    data = {"api-key": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta("openai", namespace), "data": data}


def voice(namespace: str, text: str) -> Object:
    """The ConfigMap that a person makes."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta("voice", namespace),
        "data": {"voice.yaml": text},
    }


def meta(name: str, namespace: str) -> Object:
    return {"name": name, "namespace": namespace, "labels": LABELS}


def waits_for(shown: Object | None) -> list[str]:
    """What NEUROS does without, on a stack that is Ready."""
    assert says(shown, "Ready", "True", row(shown, NEUROS)["reason"])
    waiting: list[str] = row(shown, NEUROS).get("waitingFor", [])
    return waiting


async def annotations_of_pods(cluster: Cluster, namespace: str) -> Object:
    deployment = await cluster.get(Ref("Deployment", namespace, f"demo-{NEUROS}"))
    found: Object = deployment["spec"]["template"]["metadata"]["annotations"]
    return found


async def test_what_is_missing_is_told_and_what_comes_rolls_neuros(
    operator: Operator, cluster: Cluster, namespace: str
) -> None:
    ref = Ref("AurenStack", namespace, "demo")
    shown = await install(cluster, namespace, spec=SPEC)
    assert waits_for(shown) == ["Secret openai", "ConfigMap voice"]
    await told(cluster, namespace, "Waiting", "Secret openai")
    without = await annotations_of_pods(cluster, namespace)

    await cluster.create(key(namespace, "k"))
    await cluster.create(voice(namespace, "tone: calm"))
    await cluster.until(ref, lambda now: row(now, NEUROS).get("reason") == "Running", "rid of the wait")
    first = await annotations_of_pods(cluster, namespace)
    assert first["aupex.ai/secrets-hash"] != without["aupex.ai/secrets-hash"]
    assert "aupex.ai/config-hash" in first
    assert "aupex.ai/config-hash" not in without

    await cluster.patch(Ref("ConfigMap", namespace, "voice"), {"data": {"voice.yaml": "tone: warm"}})
    await cluster.until(
        Ref("Deployment", namespace, f"demo-{NEUROS}"),
        lambda now: now is not None and rolled(now) != first["aupex.ai/config-hash"],
        "rolled into the new text",
    )
    left = await cluster.get(Ref("Secret", namespace, "openai"))
    assert "ownerReferences" not in left["metadata"]


def rolled(deployment: Object) -> str:
    return str(deployment["spec"]["template"]["metadata"]["annotations"]["aupex.ai/config-hash"])


async def test_a_local_model_comes_and_goes_with_its_mode(operator: Operator, cluster: Cluster, namespace: str) -> None:
    ref = Ref("AurenStack", namespace, "demo")
    shown = await install(cluster, namespace, spec=LOCAL)
    assert row(shown, "local-model")["state"] == "Ready"
    assert (await cluster.get(ref))["status"]["componentsReady"] == "8/8"
    await cluster.patch(ref, {"spec": {"neuros": {"llm": {"mode": "rules"}}}})
    for kind in ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"):
        await cluster.gone(Ref(kind, namespace, "demo-local-model"))
    await ready(cluster, namespace)
