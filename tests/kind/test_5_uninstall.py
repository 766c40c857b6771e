"""Without the operator the stack runs on; with the plain manifests it is in good hands again; deleted, it is gone."""

from __future__ import annotations

import yaml

from tests.api.cluster import Ref
from tests.api.places import REPOSITORY
from tests.kind.platform import RELEASE, SYSTEM, VALUES, Platform, run

MANIFESTS = REPOSITORY / "manifests" / "install.yaml"


async def test_helm_uninstall_leaves_the_stack_and_its_definition(platform: Platform) -> None:
    await platform.ready()
    run("helm", "uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "120s")
    assert await platform.cluster.read(Ref("Deployment", SYSTEM, RELEASE)) is None
    assert await platform.cluster.read(platform.ref) is not None, "the definition was kept, and with it the stack"
    await platform.answers("neuros-advanced", 8000)


async def test_the_plain_manifests_take_over_and_heal(platform: Platform) -> None:
    run("kubectl", "apply", "--server-side", "--force-conflicts", "--filename", _with_built_images())
    run("kubectl", "-n", SYSTEM, "rollout", "status", f"deployment/{RELEASE}", "--timeout=180s")
    ref = platform.child("Deployment", "neuros-advanced")
    uid = (await platform.cluster.get(ref))["metadata"]["uid"]
    await platform.cluster.delete(ref)
    await platform.cluster.exists(ref, not_uid=uid)
    await platform.ready()


def _with_built_images() -> str:
    """The manifests as a person would adapt them: with the images that this cluster has."""
    values = yaml.safe_load(VALUES.read_text())
    documents = list(yaml.safe_load_all(MANIFESTS.read_text()))
    for document in documents:
        if document and document["kind"] == "Deployment":
            container = document["spec"]["template"]["spec"]["containers"][0]
            container["image"] = values["image"]
            for variable in container["env"]:
                key = variable["name"].removeprefix("AUREN_IMAGE_").lower().replace("_", "-")
                if variable["name"].startswith("AUREN_IMAGE_"):
                    variable["value"] = values["images"][key]
    target = REPOSITORY / "build" / "install-dev.yaml"
    target.write_text(yaml.safe_dump_all(documents))
    return str(target)


async def test_a_deleted_stack_goes_and_its_data_stays(platform: Platform) -> None:
    claims = {c["metadata"]["name"] for c in await platform.cluster.list("PersistentVolumeClaim", platform.namespace)}
    await platform.cluster.delete(platform.ref, "Foreground")
    await platform.cluster.gone(platform.ref, 120)
    for component in ("neuros-advanced", "biometric-production", "biometric-bridge"):
        await platform.cluster.gone(platform.child("Deployment", component), 120)
    for component in ("kafka", "timescaledb", "redis", "chromadb"):
        await platform.cluster.gone(platform.child("StatefulSet", component), 120)
    left = {c["metadata"]["name"] for c in await platform.cluster.list("PersistentVolumeClaim", platform.namespace)}
    assert left == claims, "deletionPolicy is Retain"
    run("kubectl", "delete", "--wait=false", "--filename", _without_definition())
    await platform.cluster.gone(Ref("Deployment", SYSTEM, RELEASE))


def _without_definition() -> str:
    """What was installed but for the CRD and the namespace: other stacks of this cluster hang on them."""
    documents = yaml.safe_load_all((REPOSITORY / "build" / "install-dev.yaml").read_text())
    kept = [d for d in documents if d and d["kind"] not in {"CustomResourceDefinition", "Namespace"}]
    target = REPOSITORY / "build" / "uninstall-dev.yaml"
    target.write_text(yaml.safe_dump_all(kept))
    return str(target)
