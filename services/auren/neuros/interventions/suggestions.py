"""What suits a mode, from NEUROS' protocols: the one place where this room and the protocols meet."""

from __future__ import annotations

from datetime import timedelta

from auren.modes import Mode
from auren.neuros.interventions.decision import Suggestion
from auren.neuros.protocols import NAMES, suited


def suggest(mode: Mode) -> Suggestion | None:
    """The first protocol for a mode."""
    for protocol in suited(mode):
        return Suggestion(
            protocol=NAMES[protocol],
            title=protocol.title,
            duration=timedelta(minutes=protocol.duration_minutes),
            measured=protocol.measured,
        )
    return None
