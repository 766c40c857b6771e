"""What a person has experienced with an exercise, to be remembered: what followed it, and not that it was why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from auren.neuros.interventions.outcomes import Effect, Outcome
from auren.neuros.interventions.records import Intervention
from auren.neuros.memory.items import Item
from auren.neuros.wording import title

Learn = Callable[[str, Sequence[Item]], Awaitable[int]]
"""Keeps memories of a user; raises UnavailableError."""

CONFIDENCE: Final = 0.5
"""One occasion, and much else happens in an hour."""

_FOLLOWED: Final[Mapping[Effect, str]] = {
    "better": "was better than before",
    "same": "was as before",
    "worse": "was no better than before",
}


def offer(intervention: Intervention) -> Item:
    """That an exercise was offered, for the next days."""
    text = f"The exercise {intervention.title} was offered, because {intervention.reason}."
    return Item(
        kind="intervention", text=text, source="derived", said_at=intervention.at, protocol=intervention.protocol
    )


def experience(name: str, protocol: str, outcome: Outcome, at: datetime) -> Iterator[Item]:
    """An item for each metric of which an effect is known. The same experience again is the same memory."""
    for metric, window in sorted(outcome.items()):
        effect = window.effect(metric)
        if effect is not None:
            text = f"After the exercise {name}, the {title(metric)} {_FOLLOWED[effect]}."
            yield Item(
                kind="outcome", text=text, source="derived", said_at=at, confidence=CONFIDENCE, protocol=protocol
            )
