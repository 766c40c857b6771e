"""What suits a mode, from NEUROS' protocols: the one place where this room and the protocols meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from auren.modes import Mode
from auren.neuros.interventions.decision import Suggestion
from auren.neuros.protocols import Protocol


def suggesting(protocols: Mapping[str, Protocol]) -> Callable[[Mode], Suggestion | None]:
    """A function that gives the first of these protocols for a mode, None where there is none."""

    def suggest(mode: Mode) -> Suggestion | None:
        for name, protocol in protocols.items():
            if mode in protocol.modes:
                return Suggestion(
                    protocol=name,
                    title=protocol.title,
                    duration=timedelta(minutes=protocol.duration_minutes),
                    measured=protocol.measured,
                )
        return None

    return suggest
