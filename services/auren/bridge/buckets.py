"""Token buckets in this process: how often one address may deliver for one provider, and one user's phone may push.

They guard the bridge, not a quota: each replica counts for itself, and what is refused costs almost nothing.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from auren.http import ProblemError

MOST_BUCKETS: Final = 20_000
"""Buckets that are remembered; the one that was used longest ago is forgotten, which is in its owner's favour."""

BURST_SECONDS: Final = 5.0
"""A bucket holds what comes in so many seconds at its rate."""


class Buckets:
    """One bucket for each pair of what is counted and who it is."""

    def __init__(
        self, per_second: float, per_user_per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Rates for one address of one provider, and for one user. `clock` gives seconds."""
        self._rates = {"user": per_user_per_second}
        self._per_second = per_second
        self._clock = clock
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def spend(self, what: str, who: str) -> None:
        """Count one delivery. Raises ProblemError (429, with Retry-After) when the bucket is empty."""
        rate = self._rates.get(what, self._per_second)
        now = self._clock()
        full_at = max(self._full_at.get((what, who), now), now) + 1 / rate
        if full_at - now > BURST_SECONDS:
            wait = {"Retry-After": str(math.ceil(full_at - now - BURST_SECONDS) or 1)}
            raise ProblemError(429, "too-many", "too many deliveries", headers=wait)
        self._full_at[what, who] = full_at
        self._full_at.move_to_end((what, who))
        if len(self._full_at) > MOST_BUCKETS:
            self._full_at.popitem(last=False)
