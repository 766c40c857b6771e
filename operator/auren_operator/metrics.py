"""What the operator measures of itself, in Prometheus' terms. Labels hold names of stacks, kinds and codes only."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

HEAL_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

reconciles = Counter("auren_operator_reconcile_total", "Reconciles by result", ["result"])
reconcile_seconds = Histogram("auren_operator_reconcile_seconds", "Duration of one reconcile", buckets=HEAL_BUCKETS)
queue_depth = Gauge("auren_operator_queue_depth", "Stacks waiting for a worker")
queue_seconds = Histogram("auren_operator_queue_seconds", "Time a stack waits for a worker", buckets=HEAL_BUCKETS)
heal_seconds = Histogram(
    "auren_operator_heal_seconds",
    "From noticing that a child is gone until it exists again",
    ["kind"],
    buckets=HEAL_BUCKETS,
)
healed = Counter("auren_operator_healed_total", "Children made again or set back", ["kind", "what"])
api_requests = Counter("auren_operator_api_requests_total", "Requests to the API server", ["verb", "kind", "code"])
api_seconds = Histogram(
    "auren_operator_api_seconds", "Duration of requests to the API server", ["verb"], buckets=HEAL_BUCKETS
)
stack_ready = Gauge("auren_operator_stack_ready", "1 when the stack is Ready", ["namespace", "stack"])
component_ready = Gauge(
    "auren_operator_component_ready", "1 when the component is Ready", ["namespace", "stack", "component"]
)
watch_events = Counter("auren_operator_watch_events_total", "Events received", ["kind"])
watch_age_seconds = Gauge("auren_operator_watch_age_seconds", "Age of the newest event from any watch")
loop_lag_seconds = Gauge("auren_operator_loop_lag_seconds", "How late the event loop last woke up")
leader = Gauge("auren_operator_leader", "1 while this process holds the Lease")


def forget_stack(namespace: str, stack: str) -> None:
    """Drop the series of a stack that is gone, so that dashboards do not show it as broken forever."""
    stack_ready.remove_by_labels({"namespace": namespace, "stack": stack})
    component_ready.remove_by_labels({"namespace": namespace, "stack": stack})
