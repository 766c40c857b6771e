"""A circuit breaker: after failures in a row an upstream is left alone, then asked by ONE call whether it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from auren.bridge.vendors import RetryLaterError, UpstreamFailedError
from auren.health import UnhealthyError
from auren.link import CLOSED, HALF_OPEN, OPEN
from auren.telemetry import Metrics

Clock = Callable[[], float]

FAILURES: Final = 5  # in a row open it: one lost connection is no outage, five are
OPEN_SECONDS: Final = 30.0  # an upstream is left alone before the next probe
PROBE_WAIT_SECONDS: Final = 5.0  # what others are told to wait while the probe is under way


class Breaker:
    """One per upstream and process, used from one event loop."""

    def __init__(
        self, name: str, clock: Clock = time.monotonic, failures: int = FAILURES, open_seconds: float = OPEN_SECONDS
    ) -> None:
        """`name` of the upstream, as people know it. `clock` gives seconds."""
        self.name = name
        self._most = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._probe_at: float | None = None  # None: closed
        self._probing = False
        self._era = 0  # a call that began before the last change of state says nothing about the state after it

    @property
    def state(self) -> int:
        """0 closed, 1 half-open (a probe may begin or is under way), 2 open: the value of a gauge."""
        if self._probe_at is None:
            return CLOSED
        return HALF_OPEN if self._clock() >= self._probe_at else OPEN

    @contextmanager
    def attempt(self, failures: tuple[type[Exception], ...] = (UpstreamFailedError,)) -> Iterator[None]:
        """Around one call. An error of `failures` counts against the upstream.

        Any other error, cancellation too, says nothing about it. Raises RetryLaterError instead of the call.
        """
        era = self._enter()
        try:
            yield
        except failures:
            self._judge(era, failed=True)
            raise
        except BaseException:
            if era == self._era:
                self._probing = False  # without a verdict the next call probes
            raise
        self._judge(era, failed=False)

    def _enter(self) -> int:
        if self._probe_at is not None:
            wait = self._probe_at - self._clock()
            if wait > 0 or self._probing:
                raise RetryLaterError(max(wait, PROBE_WAIT_SECONDS), f"{self.name} is left alone after failures")
            self._probing = True
        return self._era

    def _judge(self, era: int, *, failed: bool) -> None:
        if era != self._era:
            return
        self._failures = self._failures + 1 if failed else 0
        probe, self._probing = self._probing, False
        if failed and (probe or self._failures >= self._most):
            self._probe_at, self._era = self._clock() + self._open_seconds, self._era + 1
        elif not failed and probe:
            self._probe_at, self._era = None, self._era + 1


class Breakers:
    """Every breaker of the process, as a gauge and in the health report. One for the process: it registers the gauge.

    Kafka and the database are behind links (auren.link), which break and probe in the same way by themselves.
    """

    def __init__(self, metrics: Metrics, clock: Clock = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._gauge = metrics.gauge("breaker_state", "0 closed, 1 half-open, 2 open", ("upstream",))
        self._made: dict[str, Breaker] = {}

    def of(self, upstream: str) -> Breaker:
        """The breaker of an upstream, made when it is first asked for."""
        if upstream not in self._made:
            breaker = self._made[upstream] = Breaker(upstream, self._clock)
            self.watch(upstream, lambda: breaker.state)
        return self._made[upstream]

    def watch(self, upstream: str, state: Callable[[], int]) -> None:
        """Show what breaks by itself."""
        self._gauge.labels(upstream).set_function(state)

    async def check(self) -> None:
        """For the health report: raises UnhealthyError with the upstreams that are left alone.

        One that may be asked again is not: without work for it nobody would ask, and it would stay unhealthy for ever.
        """
        left_alone = sorted(name for name, breaker in self._made.items() if breaker.state == OPEN)
        if left_alone:
            raise UnhealthyError("open after failures: " + ", ".join(left_alone))
