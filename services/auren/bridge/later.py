"""Why a delivery waits, how soon it is tried again, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

PATIENCE: Final = timedelta(hours=24)
"""How long a delivery is tried, from when the bridge took it. Terra itself repeats for as long."""

GONE_PATIENCE: Final = timedelta(minutes=15)
"""How long a document that the vendor does not have may still come: a notice can be faster than the vendor's stores.
Past that it was deleted in between, and its deletion has a notice of its own."""

TO_FETCH: Final = "to-fetch"
UNKNOWN_USER: Final = "unknown-user"
NOT_CONNECTED: Final = "not-connected"
VENDOR_AWAY: Final = "vendor-away"
HELD_BACK: Final = "held-back"
"""A limit is reached, a breaker is open, our own credentials are missing: the vendor was not, or must not be, asked."""
GONE: Final = "gone"
PENDING_SCORE: Final = "pending-score"
TOKENS_UNREADABLE: Final = "tokens-unreadable"
DEFECT: Final = "defect"


@dataclass(frozen=True, slots=True)
class Wait:
    """Delays double from the first to the longest one."""

    first_seconds: float
    longest_seconds: float
    patience: timedelta = PATIENCE


_PERSON: Final = Wait(10.0, 60.0)
"""A person may connect at any moment, in another process, and then wants to see something: looking is cheap."""

WAITS: Final[Mapping[str, Wait]] = {
    UNKNOWN_USER: _PERSON,
    NOT_CONNECTED: _PERSON,
    # The breaker spares a vendor that is away, so nobody has to wait for long after it is back.
    VENDOR_AWAY: Wait(30.0, 600.0),
    # As long as the vendor says, or our own limits.
    HELD_BACK: Wait(1.0, 1.0),
    GONE: Wait(30.0, 300.0, GONE_PATIENCE),
    # WHOOP takes minutes, and sends another notice when it is done.
    PENDING_SCORE: Wait(60.0, 1800.0),
    # Somebody has to mend the keyring.
    TOKENS_UNREADABLE: Wait(60.0, 600.0),
    DEFECT: Wait(30.0, 3600.0),
}


class LaterError(Exception):
    """Not now: `reason` is one of WAITS, `seconds` the least time to wait, `detail` says more, without data of people.

    The reason stands in the table, and both in the dead letter that a delivery becomes when patience ends.
    """

    def __init__(self, reason: str, seconds: float = 0.0, detail: str = "") -> None:
        """See the class."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.seconds = seconds


def delay(reason: str, attempts: int, least_seconds: float = 0.0) -> timedelta:
    """How long to wait after `attempts` (from 1), and no less than asked for."""
    wait = WAITS[reason]
    doubled = wait.first_seconds * 2.0 ** min(attempts - 1, 12)
    return timedelta(seconds=max(least_seconds, min(wait.longest_seconds, doubled)))
