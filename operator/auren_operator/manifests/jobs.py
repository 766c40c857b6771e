"""Jobs: a change of what a Job runs is a new name, never an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.manifests.images import JOBS
from auren_operator.manifests.meta import child_name, digest, manifest
from auren_operator.manifests.model import Built, Component, Facts, Manifest
from auren_operator.manifests.network import network_policy
from auren_operator.manifests.pods import Container, pod_template, scratch
from auren_operator.manifests.secrets import have_secrets, secrets_annotation
from auren_operator.manifests.wiring import SECRETS_MOUNT, Wiring
from auren_operator.manifests.workloads import service_account

RETRIES: Final = 2
"""Pods after the first; then the Job has failed, and the operator makes it again with back-off."""

DEADLINE_SECONDS: Final = 600
"""A Job that hangs fails after this; the longest migration of a large table is to be split, not to outlast it."""

GRACE_SECONDS: Final = 10


def preparation(
    stack: Stack, component: Component, facts: Facts, module: str, wiring: Wiring, claims: Sequence[str]
) -> Built:
    """The component of a Job that brings a store to what this release needs; ``python3 -m <module>`` in its pod.

    Its name holds a hash of all that it runs, of the Secrets that it mounts and of the uids of the store's claims: a
    new image, a rotated password or an emptied volume makes another Job. Without those facts the Job is withheld.
    """
    around = [service_account(stack, component), *network_policy(stack, component)]
    if not have_secrets(facts, wiring.secrets) or any(claim not in facts.volumes for claim in claims):
        return Built(around, withheld=("Job",))
    volumes = {claim: facts.volumes[claim].uid for claim in claims}
    return Built([*around, _job(stack, component, _template(stack, component, facts, module, wiring), volumes)])


def _template(stack: Stack, component: Component, facts: Facts, module: str, wiring: Wiring) -> dict[str, Any]:
    env = {names.ENV_STACK: stack.name, names.ENV_SECRETS_DIR: names.SECRETS_DIR, **wiring.env}
    container = Container(
        name=component.name,
        image=JOBS,
        arguments=(module,),
        resources=stack.job_resources,
        env=env,
        mounts=SECRETS_MOUNT,
        writable={"tmp": "/tmp"},
    )
    return pod_template(
        stack,
        component,
        [container],
        [wiring.volume, scratch("tmp", "64Mi")],
        grace_seconds=GRACE_SECONDS,
        annotations=secrets_annotation(facts, wiring.secrets),
        restart="Never",
    )


def _job(stack: Stack, component: Component, template: dict[str, Any], volumes: Mapping[str, str]) -> Manifest:
    spec = {"backoffLimit": RETRIES, "activeDeadlineSeconds": DEADLINE_SECONDS, "template": template}
    name = child_name(stack, component, digest([spec, volumes]))
    return manifest(stack, component, "Job", {"spec": spec}, api_version="batch/v1", name=name)
