"""The days before: what a wearable sends of them when an account is connected, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from auren.bridge.simulated_people import DAY, MINUTE, Person, midnight
from auren.bridge.simulated_vendors import PAST, PAST_PARTS, Sent, deliver_past


@dataclass(frozen=True, slots=True)
class Past:
    """One delivery about one day that ended with `evening`."""

    provider: str
    person: Person
    part: int
    evening: datetime

    def delivery(self, now: datetime, key: bytes) -> Sent:
        """As it is sent at `now` (UTC): signed with the time of sending, telling of its day."""
        return deliver_past(self.provider, self.person, self.part, self.evening, now, key)


@dataclass(frozen=True, slots=True)
class History:
    """All deliveries about the `days` days before that of `now` (UTC), of the providers that deliver data."""

    providers: Sequence[str]
    people: Sequence[Person]
    days: int
    now: datetime

    def __len__(self) -> int:
        return self.days * len(self.people) * sum(PAST_PARTS[provider] for provider in self._with_data())

    def __iter__(self) -> Iterator[Past]:
        for ago in range(self.days, 0, -1):
            evening = midnight(self.now) - timedelta(days=ago) + DAY - MINUTE
            for person in self.people:
                for provider in self._with_data():
                    yield from (Past(provider, person, part, evening) for part in range(PAST_PARTS[provider]))

    def _with_data(self) -> list[str]:
        return [provider for provider in self.providers if provider in PAST]
