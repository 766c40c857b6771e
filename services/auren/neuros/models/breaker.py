"""The model's circuit breaker: purgatory's, with one probe at a time while it is half open. One for each process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from purgatory import SyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED as CIRCUIT_CLOSED
from purgatory.domain.model import HALF_OPENED as CIRCUIT_HALF_OPEN
from purgatory.domain.model import OpenedState

from auren.link import CLOSED, HALF_OPEN, OPEN
from auren.neuros.models.port import ModelUnavailableError, Outcome

FAILURES: Final = 5  # in a row open it: one lost connection is no outage, five are
OPEN_SECONDS: Final = 30.0  # the model is left alone before the next probe

COUNTED: Final = frozenset(
    {Outcome.CONNECTION, Outcome.TIMEOUT, Outcome.RATE_LIMITED, Outcome.SERVER_ERROR, Outcome.MISCONFIGURED}
)
"""What speaks against the server. A refused, cut or useless reply does not: one person could provoke it for all."""


class Breaker:
    """Used from one event loop."""

    def __init__(self) -> None:
        """Closed."""
        factory = SyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=OPEN_SECONDS)
        self._circuit = factory.get_breaker("model")
        self._probing = False
        self._era = 0  # a call that began before the last change of state says nothing about the state after it

    @property
    def state(self) -> int:
        """0 closed, 1 half-open (a probe may begin or is under way), 2 open: the value of a gauge."""
        circuit = self._circuit.context
        if circuit.state == CIRCUIT_CLOSED:
            return CLOSED
        waiting = circuit.opened_at is not None and time.time() <= circuit.opened_at + circuit.ttl
        return OPEN if waiting else HALF_OPEN

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one call. Raises ModelUnavailableError (BREAKER_OPEN) instead of it while the model is left alone.

        A ModelUnavailableError of the kinds in COUNTED counts against the model, the other kinds are answers of it.
        Any other error, cancellation too, says nothing.
        """
        era = self._enter()
        try:
            yield
        except ModelUnavailableError as error:
            self._judge(era, error if error.outcome in COUNTED else None)
            raise
        except BaseException:
            if era == self._era:
                self._probing = False  # without a verdict the next call probes
            raise
        self._judge(era, None)

    def _enter(self) -> int:
        try:
            self._circuit.__enter__()
        except OpenedState:
            raise _left_alone() from None
        if self._circuit.context.state == CIRCUIT_HALF_OPEN:
            if self._probing:
                raise _left_alone()
            self._probing = True
        return self._era

    def _judge(self, era: int, failure: ModelUnavailableError | None) -> None:
        if era != self._era:
            return
        before = self._circuit.context.state
        self._circuit.__exit__(type(failure) if failure else None, failure, None)
        self._probing = False
        if self._circuit.context.state != before:
            self._era += 1


def _left_alone() -> ModelUnavailableError:
    return ModelUnavailableError("it is left alone after failures", Outcome.BREAKER_OPEN)
