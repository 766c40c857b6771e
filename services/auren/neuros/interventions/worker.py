"""From `neuros-mode-switches` to interventions, and from `biometric-events` to what came of them.

Offsets are committed after `Worker.handle` has returned, so a switch may be read twice, also by two replicas at once.
The intervention's id follows from the switch, and is in the table with its outbox row or not at all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

from auren import events
from auren.events import USER_ID_PATTERN, Event, Headers, InvalidRecordError, dead_letter_headers
from auren.kafka import Producer, Record
from auren.link import UnavailableError
from auren.modes import Mode, switches
from auren.modes.switches import ModeSwitch
from auren.neuros.interventions import outcomes
from auren.neuros.interventions.decision import (
    LONGEST,
    Policy,
    Refusal,
    Situation,
    decide,
    refused_at_once,
)
from auren.neuros.interventions.experience import Learn, experience, offer
from auren.neuros.interventions.outcomes import OPEN
from auren.neuros.interventions.records import Intervention, intervention_id
from auren.neuros.interventions.sockets import Sockets
from auren.neuros.interventions.store import PERMANENT, ErasedError, Person, Store
from auren.neuros.memory.items import Item
from auren.outbox import Outbox
from auren.telemetry import Metrics, logger
from auren.topics import EVENTS, MODE_SWITCHES, MODE_SWITCHES_DLQ

STAGE: Final = "neuros.interventions"
_USER_ID: Final = re.compile(USER_ID_PATTERN)

_log = logger(__name__)


class PoisonError(Exception):
    """A switch that can never be handled; the message holds no value of it."""


class Worker:
    """The consumer's work on one batch of records."""

    def __init__(
        self,
        policy: Policy,
        store: Store,
        sockets: Sockets,
        dead_letters: Producer,
        outbox: Outbox,
        metrics: Metrics,
        learn: Learn | None = None,
    ) -> None:
        """All are owned by the service; `metrics` gets what happened, `learn` what came of exercises that were done."""
        self._learn = learn
        self._policy = policy
        self._store = store
        self._sockets = sockets
        self._dead_letters = dead_letters
        self._outbox = outbox
        self._switches = metrics.counter("switches", "Switches of modes by what became of them", ("outcome",))
        self._measured = metrics.counter("outcomes_measured", "Changes of what came of interventions")
        self._unreadable = metrics.counter("events_unreadable", "Events of people with an intervention that are none")

    async def handle(self, records: Sequence[Record]) -> None:
        """Make the effect of records durable. Raises UnavailableError while the database or Kafka is away."""
        for record in records:
            if record.topic == MODE_SWITCHES.name:
                self._switches.labels(await self._switch(record)).inc()
        await self._measure([record for record in records if record.topic == EVENTS.name])

    async def _switch(self, record: Record) -> str:
        """Handle one switch; what became of it."""
        try:
            try:
                switch = switches.decode(record.value or b"")
                return await self._decided(switch, datetime.now(UTC))
            except (InvalidRecordError, ZoneInfoNotFoundError, *PERMANENT) as error:
                reason = str(error) if isinstance(error, InvalidRecordError) else type(error).__name__
                raise PoisonError(reason) from error
        except PoisonError as poison:
            await self._dead_letters.send_all(MODE_SWITCHES_DLQ, [_letter(record, str(poison))])
            _log.warning("switch put aside", reason=str(poison), partition=record.partition, offset=record.offset)
            return "poison"

    async def _decided(self, switch: ModeSwitch, now: datetime) -> str:
        refusal = refused_at_once(switch, self._policy, now)
        if refusal is not None:
            if refusal.reason == "calm" and abs(now - switch.at) < LONGEST:
                await self._store.withdraw(switch.user_id, switch.at, now)
            return refusal.reason
        try:
            async with self._store.person(switch.user_id) as person:
                decision = await self._decide(person, switch, now)
        except ErasedError:
            return "erased"
        if isinstance(decision, Refusal):
            return decision.reason
        if decision is None:
            return "duplicate"
        self._outbox.wake()
        await self._sockets.tell(decision)
        await self._remember(switch.user_id, [offer(decision)])
        return "offered"

    async def _decide(self, person: Person, switch: ModeSwitch, now: datetime) -> Intervention | Refusal | None:
        """The decision, stored where it is an intervention; None where it was there already."""
        if await person.has(intervention_id(switch.switch_id)):
            return None
        decision = decide(switch, await _situation(person, now), self._policy, now)
        if isinstance(decision, Intervention):
            suggestion = self._policy.suggest(switch.mode)
            if suggestion is None:
                raise RuntimeError("an intervention was decided without anything to suggest")
            before = await person.before(suggestion.measured, now)
            await person.add(decision, switch.at, outcomes.begin(suggestion, now, before))
        return decision

    async def _measure(self, records: Sequence[Record]) -> None:
        """Follow what came of open interventions; events of anybody else are not even decoded."""
        now = datetime.now(UTC)
        oldest = (now - OPEN).timestamp() * 1000
        by_user: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            user_id = (record.key or b"").decode("utf-8", "replace")
            if record.timestamp > oldest and _USER_ID.fullmatch(user_id):
                by_user[user_id].append(record)
        if not by_user:
            return
        learnt: dict[str, list[Item]] = defaultdict(list)
        async with self._store.open_outcomes(by_user, now) as found:
            for one in found.rows:
                after = one.outcome
                for event in self._events(by_user[one.user_id]):
                    after = outcomes.follow(after, event)
                if after is not one.outcome:
                    await found.change(one.id, after)
                    self._measured.inc()
                    if one.done:
                        learnt[one.user_id] += experience(one.title, one.protocol, after, now)
        for user_id, items in learnt.items():
            await self._remember(user_id, items)

    async def _remember(self, user_id: str, items: Sequence[Item]) -> None:
        """The outcome is in its table; a memory of it that is lost is only missed."""
        if self._learn is None or not items:
            return
        try:
            await self._learn(user_id, items)
        except UnavailableError as error:
            _log.warning("an exercise's outcome is not remembered", reason=error.reason)

    def _events(self, records: Sequence[Record]) -> list[Event]:
        """What is no event is the biometric service's to put aside."""
        found = []
        for record in records:
            try:
                found.append(events.decode(record.value or b""))
            except InvalidRecordError:
                self._unreadable.inc()
        return found


async def _situation(person: Person, now: datetime) -> Situation:
    preferences = await person.preferences()
    if preferences is None or not preferences.enabled:
        return Situation(preferences)
    mode = await person.mode()
    return Situation(
        preferences=preferences,
        mode=Mode(mode) if mode else None,
        last_at=await person.last_at(),
        today=await person.since(preferences.day_began(now)),
    )


def _letter(record: Record, reason: str) -> tuple[bytes | None, bytes, Headers]:
    seen = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    headers = dead_letter_headers(record.headers, stage=STAGE, error=reason, attempts=1, first_seen=seen)
    return record.key, record.value or b"", headers
