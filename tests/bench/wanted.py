"""What a stack is made of, built outside the operator: for the bare client, which applies the same objects."""

from __future__ import annotations

import base64
from typing import Any, Final

from auren_operator.api.parse import parse
from auren_operator.api.release import Release
from auren_operator.manifests.model import Facts, Volume
from auren_operator.manifests.secrets import generate
from auren_operator.reconcile.desired import build_all, secrets_of
from auren_operator.reconcile.secrets import frame
from tests.api.operator_process import IMAGES, VERSION

SPEC: Final[dict[str, Any]] = {"size": "demo", "neuros": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}}}
"""The stack of the benchmark: the smallest size, with an autoscaler, so that children of every kind exist."""

IMAGE_PREFIX: Final = "AUREN_IMAGE_"


def stack_name(number: int) -> str:
    """Name of the n-th stack; they share one namespace, as the worst case for name look-ups."""
    return f"stack-{number:03d}"


def manifests(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """All children of an AurenStack that exists (its uid is their owner's), as the operator would apply them."""
    images = {key.removeprefix(IMAGE_PREFIX).lower().replace("_", "-"): value for key, value in IMAGES.items()}
    stack, violations = parse(resource, Release(version=VERSION, images=images))
    assert stack is not None, violations
    specs = secrets_of(stack)
    hashes = {spec.name: "0" for spec in specs}
    claims = [claim for spec in specs for claim in spec.guarded_volumes]
    stores = [f"data-{stack.name}-{store}-0" for store in ("kafka", "timescaledb", "redis", "chromadb")]
    volumes = {name: Volume("0", 1 << 30) for name in {*claims, *stores}}
    desired = build_all(stack, Facts(secrets=hashes, volumes=volumes))
    assert desired.whole
    made = [child.manifest() for child in desired.children.values()]
    return [*(_secret(stack, spec) for spec in specs), *made]


def _secret(stack: Any, spec: Any) -> dict[str, Any]:
    body = frame(stack, spec, "").manifest()
    del body["metadata"]["uid"]
    return body | {"data": {key: base64.b64encode(text.encode()).decode() for key, text in generate(spec).items()}}
