"""Bounded admission: how many bytes of deliveries may be in memory at once."""

from __future__ import annotations

from typing import Final

from auren.link import UnavailableError

MAX_BYTES_IN_FLIGHT: Final = 64 * 1024 * 1024
LEAST_CHARGE_BYTES: Final = 4096
"""What a request takes besides its body (task, protocol, headers), so that many small ones are bounded too."""


class Admission:
    """Counts the bytes of all deliveries that are read but not answered."""

    def __init__(self, limit: int = MAX_BYTES_IN_FLIGHT) -> None:
        """`limit` in bytes."""
        self.limit = limit
        self.in_flight = 0

    def ticket(self) -> Ticket:
        """A ticket for one request. Raises UnavailableError when there is no room."""
        return Ticket(self)


class Ticket:
    """What one request has taken; leaving the block gives it back."""

    def __init__(self, admission: Admission) -> None:
        """Takes the least charge at once."""
        self._admission = admission
        self._body = 0
        self._charged = 0
        self._charge(LEAST_CHARGE_BYTES)

    def add(self, size: int) -> None:
        """Account for `size` more bytes of body. Raises UnavailableError when there is no room."""
        self._body += size
        self._charge(max(self._body, LEAST_CHARGE_BYTES))

    def _charge(self, total: int) -> None:
        more = total - self._charged
        if self._admission.in_flight + more > self._admission.limit:
            raise UnavailableError("memory", "too many bytes in flight")
        self._admission.in_flight += more
        self._charged = total

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.in_flight -= self._charged
        self._charged = 0
