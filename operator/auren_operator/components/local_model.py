"""The local model: a small language model in the stack, for `spec.neuros.llm.mode: local`. A Deployment on port 8080.

It speaks OpenAI's chat completions. It has no authentication: its NetworkPolicy, which lets nobody but NEUROS in and
nothing out, is its only guard; it holds nothing, so what it guards is processor time. NEUROS does not need it to start:
without it NEUROS answers by its rules.
"""

from __future__ import annotations

from decimal import ROUND_CEILING
from typing import Final

from auren_operator.api import names
from auren_operator.api.quantity import quantity
from auren_operator.api.spec import Stack
from auren_operator.manifests.availability import disruption_budget
from auren_operator.manifests.images import LOCAL_MODEL
from auren_operator.manifests.meta import host
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec
from auren_operator.manifests.network import LOCAL_MODEL_PORT, network_policy, service
from auren_operator.manifests.pods import Container, Probes, ask_http, pod_template, scratch
from auren_operator.manifests.services import DRAIN_SECONDS, GRACE_SECONDS, TMP_SIZE
from auren_operator.manifests.wiring import Wiring
from auren_operator.manifests.workloads import deployment, service_account

COMPONENT = Component(name="local-model", workload="Deployment", port=LOCAL_MODEL_PORT)

MODEL: Final = "gemma-3-270m"
"""Its name in requests; the image holds no other."""

PORTS: Final = {"http": LOCAL_MODEL_PORT}
HEALTHY: Final = ask_http("/health", "http")
PROBES: Final = Probes(alive=HEALTHY, ready=HEALTHY, start=HEALTHY, start_seconds=120, ready_period_seconds=2)

WEIGHTS: Final = "weights"
WEIGHTS_DIR: Final = "/var/lib/auren"
WEIGHTS_SIZE: Final = "512Mi"
"""The image's packages hold the weights in four parts, 253 MB in all, which are put together here at the start."""


def secrets(stack: Stack) -> list[SecretSpec]:
    """None: there is nothing to authenticate with."""
    return []


def build(stack: Stack, facts: Facts) -> Built:
    """The server, its address and its guard; nothing in any other mode."""
    spec = stack.local_model
    if not spec.enabled:
        return Built([])
    template = pod_template(
        stack,
        COMPONENT,
        [_container(stack)],
        [scratch(WEIGHTS, WEIGHTS_SIZE), scratch("tmp", TMP_SIZE)],
        grace_seconds=GRACE_SECONDS,
        annotations={},
        placement=spec,
    )
    manifests = [
        service_account(stack, COMPONENT),
        service(stack, COMPONENT, PORTS),
        disruption_budget(stack, COMPONENT),
        *network_policy(stack, COMPONENT),
        deployment(stack, COMPONENT, spec, template),
    ]
    return Built(manifests)


def _container(stack: Stack) -> Container:
    resources = stack.local_model.resources
    threads = quantity(resources.limits["cpu"]).to_integral_value(rounding=ROUND_CEILING)
    return Container(
        name="local-model",
        image=LOCAL_MODEL,
        resources=resources,
        probes=PROBES,
        ports=PORTS,
        env={
            names.ENV_STACK: stack.name,
            names.ENV_HOST: "0.0.0.0",  # a pod's only interface besides loopback is the pod network
            names.ENV_PORT: str(LOCAL_MODEL_PORT),
            names.ENV_LOCAL_MODEL_DIR: WEIGHTS_DIR,
            names.ENV_LOCAL_MODEL_THREADS: str(threads),
        },
        writable={WEIGHTS: WEIGHTS_DIR, "tmp": "/tmp"},
        drain_seconds=DRAIN_SECONDS,
    )


def client(stack: Stack) -> Wiring:
    """Where NEUROS finds it, and how it is asked."""
    return Wiring(
        {
            names.ENV_LLM_BASE_URL: f"http://{host(stack, COMPONENT)}:{LOCAL_MODEL_PORT}/v1",
            names.ENV_LLM_API: "chat",
            names.ENV_LLM_MODEL: MODEL,
        }
    )
