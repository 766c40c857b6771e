"""A new release with one changed default: services roll one after another, stores are untouched, nothing is lost."""

from __future__ import annotations

import asyncio
import subprocess

import yaml

from auren.auth import SCOPE_PUSH_HEALTHKIT
from tests.api.cluster import Object
from tests.api.places import REPOSITORY
from tests.kind.platform import VALUES, Platform, helm_install, run
from tests.kind.test_3_healing import SERVICES, STORES

USER = "person-during-the-upgrade"
TAG = "auren/operator:upgrade-test"
CHANGED = "operator/auren_operator/manifests/services.py"
DEFAULT = "GRACE_SECONDS: Final = 45"


def _next_release() -> None:
    """An operator image in which one default differs, built from the one that runs and loaded into the cluster."""
    running = yaml.safe_load(VALUES.read_text())["image"]
    assert DEFAULT in (REPOSITORY / CHANGED).read_text(), "the default that this test changes has moved"
    edit = f"find / -path '*/manifests/services.py' -exec sed -i 's/{DEFAULT}/GRACE_SECONDS: Final = 46/' {{}} +"
    drop = "find / -path '*/manifests/__pycache__/services.*' -delete"
    recipe = f"FROM {running}\nUSER 0\nRUN {edit} && {drop}\nUSER 10001:10001\n"
    subprocess.run(["docker", "build", "--quiet", "--tag", TAG, "-"], input=recipe, text=True, check=True, timeout=300)
    run("hack/cluster.sh", "load", TAG)


async def test_an_upgrade_rolls_one_component_at_a_time_and_loses_nothing(platform: Platform) -> None:
    await platform.ready()
    _next_release()
    stores = {component: await _pod_uids(platform, component) for component in STORES}
    services = {component: await _pod_uids(platform, component) for component in SERVICES}
    token, push = await platform.token(USER), await platform.token(USER, SCOPE_PUSH_HEALTHKIT)
    stop = asyncio.Event()
    flow = asyncio.create_task(platform.flow(push, stop))
    watch = asyncio.create_task(_most_rolling(platform, stop))
    await asyncio.to_thread(helm_install, f"image={TAG}")
    for component in SERVICES:
        await platform.cluster.until(
            platform.child("Deployment", component),
            lambda d: d is not None and d["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 46,
            "updated",
            240,
        )
    await platform.ready()
    stop.set()
    accepted, refused = await flow
    assert await watch <= 1, "at most one component rolls at a time"
    for component in SERVICES:
        assert not services[component] & await _pod_uids(platform, component), f"{component} rolled"
    for component in STORES:
        assert stores[component] == await _pod_uids(platform, component), f"{component} was not touched"
    await platform.wait_for_readings(token, USER, "heart_rate", accepted, seconds=120)
    assert len(await platform.readings(token, USER, "heart_rate")) == accepted
    print(f"during the upgrade {accepted} measurements were accepted, {refused} had to be sent again")
    assert refused <= accepted // 20, "measurements flowed throughout"


async def _pod_uids(platform: Platform, component: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in await platform.pods(component)}


async def _most_rolling(platform: Platform, stop: asyncio.Event) -> int:
    """The greatest number of Deployments that were seen rolling at one moment."""
    most = 0
    while not stop.is_set():
        found = await platform.cluster.list("Deployment", platform.namespace, f"aupex.ai/stack={platform.name}")
        most = max(most, sum(_is_rolling(deployment) for deployment in found))
        await asyncio.sleep(0.2)
    return most


def _is_rolling(deployment: Object) -> bool:
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    behind: bool = status.get("observedGeneration", 0) < deployment["metadata"]["generation"]
    return behind or bool(status.get("updatedReplicas", 0) < wanted or status.get("replicas", 0) > wanted)
