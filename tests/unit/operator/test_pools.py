"""The database's connections are enough for every pod that may exist, and none is left lying about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auren_operator.api.pools import GREATEST_POOL, LEAST, LEAST_PER_POD, RESERVED_CONNECTIONS, SURGE, pools
from auren_operator.api.rules import violations
from tests.unit.operator.built import a_stack

SERVICE: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.fixed_dictionaries({"enabled": st.just(False)}),
    st.fixed_dictionaries({"replicas": st.integers(1, 50)}),
    st.fixed_dictionaries({"autoscaling": st.fixed_dictionaries({"maxReplicas": st.integers(1, 50)})}),
    st.just({}),
)
SPEC = st.fixed_dictionaries(
    {
        "size": st.sampled_from(["demo", "small", "medium", "large"]),
        "neuros": SERVICE,
        "biometric": SERVICE,
        "bridge": SERVICE,
        "timescaledb": st.fixed_dictionaries({"maxConnections": st.integers(10, 1000)}),
    }
)


@given(SPEC)
def test_all_pods_together_stay_within_the_servers_connections(spec: dict[str, object]) -> None:
    if violations(spec):
        return
    stack = a_stack(spec)
    sizes = pools(stack)
    used = (
        pods(stack.neuros.greatest_replicas) * sizes.neuros
        + pods(stack.biometric.greatest_replicas) * sizes.biometric
        + pods(stack.bridge.greatest_replicas) * (sizes.bridge_serve + sizes.bridge_collect)
    )
    assert used + RESERVED_CONNECTIONS <= stack.timescaledb.max_connections
    assert all(getattr(sizes, container) >= least for container, least in LEAST.items())
    assert max(sizes.neuros, sizes.biometric, sizes.bridge_serve, sizes.bridge_collect) <= GREATEST_POOL


@given(SPEC)
def test_a_refused_spec_would_really_not_fit(spec: dict[str, object]) -> None:
    if not violations(spec):
        return
    room = {**spec, "timescaledb": {"maxConnections": 1000}}
    stack = a_stack(room)
    services = {"neuros": stack.neuros, "biometric": stack.biometric, "bridge": stack.bridge}
    least = RESERVED_CONNECTIONS
    least += sum(LEAST_PER_POD[name] * pods(service.greatest_replicas) for name, service in services.items())
    assert violations({**spec, "timescaledb": {"maxConnections": least}} if least >= 10 else room) == []
    assert spec["timescaledb"]["maxConnections"] < least  # type: ignore[index]  # the strategy makes a mapping


def pods(greatest_replicas: int) -> int:
    return greatest_replicas + SURGE if greatest_replicas else 0


def test_what_is_free_is_used() -> None:
    demo = pools(a_stack({"size": "demo"}))
    assert 2 * (demo.neuros + demo.biometric + demo.bridge_serve + demo.bridge_collect) > 50 - RESERVED_CONNECTIONS - 2


def test_more_connections_make_no_pool_too_large() -> None:
    most = pools(a_stack({"timescaledb": {"maxConnections": 1000}}))
    assert {most.neuros, most.biometric, most.bridge_serve, most.bridge_collect} == {GREATEST_POOL}
