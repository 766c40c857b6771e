"""The size table: what `demo` promises, and that no size, and no wish of a person, makes a container impossible."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from auren_operator.api.defaults import BY_SIZE, JOB_BOX, Box, resources
from auren_operator.api.quantity import quantity
from tests.unit.operator.built import SIZES, a_stack, containers, everything

CHART = yaml.safe_load((Path(__file__).resolve().parents[3] / "charts/auren-operator/values.yaml").read_text())
OPERATOR_LIMIT = quantity(CHART["resources"]["limits"]["memory"])
GREATEST = quantity("4G")
BOX = Box("100m", "128Mi", "1", "256Mi")


def limits(pods_of: dict[str, int]) -> Decimal:
    """Memory limits of everything that a stack of size demo runs, each workload's kind so many times."""
    return sum(
        (
            quantity(container["resources"]["limits"]["memory"]) * pods_of[workload["kind"]]
            for workload, container in containers(everything(a_stack({"size": "demo"})))
        ),
        Decimal(0),
    )


def test_demo_fits_four_gibibytes_with_two_operators_and_a_surge_pod_or_the_jobs() -> None:
    running = limits({"StatefulSet": 1, "Deployment": 1, "Job": 0}) + 2 * OPERATOR_LIMIT
    jobs = limits({"StatefulSet": 0, "Deployment": 0, "Job": 1})
    sized = BY_SIZE["demo"]
    surge = max(quantity(box.memory_limit) * count for box, count in ((sized.neuros, 1), (sized.bridge, 2)))
    assert running + max(jobs, surge) <= quantity("4Gi")


@pytest.mark.parametrize("size", SIZES)
def test_no_container_may_take_more_than_4_gb(size: str) -> None:
    for _, container in containers(everything(a_stack({"size": size}))):
        assert quantity(container["resources"]["limits"]["memory"]) <= GREATEST


def test_every_size_is_at_least_the_one_before() -> None:
    for smaller, larger in pairwise(BY_SIZE.values()):
        assert smaller.service_replicas <= larger.service_replicas
        for name in ("kafka", "timescaledb", "redis", "chromadb"):
            one, other = getattr(smaller, name), getattr(larger, name)
            assert quantity(one.storage) <= quantity(other.storage)
            assert not_above(one.box, other.box)
        for name in ("neuros", "biometric", "bridge"):
            assert not_above(getattr(smaller, name), getattr(larger, name))


def not_above(one: Box, other: Box) -> bool:
    return all(quantity(getattr(one, name)) <= quantity(getattr(other, name)) for name in Box.__slots__)


def test_an_unset_side_moves_along() -> None:
    assert resources(BOX, {"requests": {"memory": "1Gi"}}).limits["memory"] == "1Gi"
    assert resources(BOX, {"limits": {"cpu": "50m"}}).requests["cpu"] == "50m"
    assert resources(BOX, {"limits": {"cpu": 2}}).as_dict() == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "2", "memory": "256Mi"},
    }


def test_the_memory_limit_is_there_as_a_number() -> None:
    assert resources(JOB_BOX).memory_limit_bytes == 256 << 20
    assert resources(BOX, {"limits": {"memory": "1.5G"}}).memory_limit_bytes == 1_500_000_000


AMOUNT = st.sampled_from(["1m", "10m", "1", "64Mi", "200M", "1Gi", 3])
SIDE = st.dictionaries(st.sampled_from(["cpu", "memory", "ephemeral-storage"]), AMOUNT)


@given(requests=SIDE, limits=SIDE)
def test_a_request_never_exceeds_its_limit(requests: dict[str, Any], limits: dict[str, Any]) -> None:
    both = requests.keys() & limits.keys()
    wished = {name: value for name, value in requests.items() if name not in both}
    made = resources(BOX, {"requests": wished, "limits": limits})
    for name in made.requests.keys() & made.limits.keys():
        assert quantity(made.requests[name]) <= quantity(made.limits[name])
    for name, value in wished.items():
        assert made.requests[name] == str(value)
    for name, value in limits.items():
        assert made.limits[name] == str(value)
