"""The model's metrics. No label names a user, a session or anything that was said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from auren.neuros.models.port import Outcome
from auren.telemetry import Metrics

DURATION_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0)

NOT_ASKED: Final = frozenset({Outcome.NO_KEY, Outcome.BREAKER_OPEN, Outcome.BUDGET_SPENT})
"""The model was not asked: these take no time that would say something about it."""


class Measures:
    """One for the process: it registers the metrics."""

    def __init__(self, metrics: Metrics, breaker_state: Callable[[], int]) -> None:
        """`breaker_state`: 0 closed, 1 half-open, 2 open."""
        self._calls = metrics.counter(
            "model_calls", "Replies asked of the language model, by how it ended", ("outcome",)
        )
        self._requests = metrics.counter("model_requests", "HTTP requests to the language model, repeated ones too")
        self._tokens = metrics.counter("model_tokens", "Tokens as the server counted them", ("direction",))
        self._duration = metrics.histogram(
            "model_call_duration_seconds", "From asking to the end of a reply", buckets=DURATION_SECONDS
        )
        self._first = metrics.histogram(
            "model_first_sentence_seconds", "From asking to the first whole sentence", buckets=DURATION_SECONDS
        )
        gauge = metrics.gauge("model_breaker_state", "0 closed, 1 half-open, 2 open")
        gauge.set_function(breaker_state)
        for outcome in Outcome:
            self._calls.labels(outcome.value)
        self._input, self._output = self._tokens.labels("input"), self._tokens.labels("output")

    def request(self) -> None:
        """A request is sent."""
        self._requests.inc()

    def first(self, seconds: float) -> None:
        """The first sentence is complete."""
        self._first.observe(seconds)

    def spent(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """What the server counted."""
        self._input.inc(input_tokens or 0)
        self._output.inc(output_tokens or 0)

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """A reply ended."""
        self._calls.labels(outcome.value).inc()
        if outcome not in NOT_ASKED:
            self._duration.observe(seconds)
