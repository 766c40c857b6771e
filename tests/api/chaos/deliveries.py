"""What is delivered, as a function of the number of the delivery, and what must become of it.

Every delivery can be told from all others in the log, in the events and in the tables: a push of healthkit and a
workout of Terra hold one heart rate of a second that no other one has, a notice names a document of its own.

WHOOP is asked for few documents: its quota of 100 requests a minute is part of the product, so most of its notices are
deletions, which need no answer of the vendor. Oura has no such limit, but each document is a request to the double in
the test's process, so most of its notices are deletions too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from auren.bridge.simulated_vendors import SIGNATURES, milliseconds
from tests.unit.services.vendor_documents import oura_workout, whoop_workout

Document = dict[str, Any]

PEOPLE: Final = 20
TURN: Final = ("healthkit", "terra", "healthkit", "terra", "oura", "healthkit", "terra", "healthkit", "terra", "whoop")
OURA_DOCUMENT_EVERY: Final = 100
WHOOP_DOCUMENT_EVERY: Final = 1000
UNREADABLE_EVERY: Final = 500
STRANGER_EVERY: Final = 6000


class Ending(StrEnum):
    """What becomes of a delivery."""

    READING = "one reading"
    DOCUMENT = "a document that was fetched"
    DELETION = "a deletion"
    DEAD = "a dead letter"
    PARKED = "parked: a person whom no connection names"


class Key(NamedTuple):
    """What tells an effect from all others: the time of a reading, or the document's id in events."""

    provider: str
    user: str
    name: str


@dataclass(frozen=True)
class Person:
    """One person, connected with every provider. `token` is the phone's."""

    user: str
    oura: str
    whoop: int
    token: str


@dataclass(frozen=True)
class Plan:
    """What the test and the sender agree on. `marker`: eight hexadecimal digits in everything that no log may hold."""

    marker: str
    began: str
    people: list[Person]
    secrets: dict[str, str]
    port: int
    seed: int
    rate: float
    seconds: float
    patience_seconds: float
    """How long after the last first attempt the vendors go on repeating."""

    @property
    def count(self) -> int:
        """Deliveries in all, repeats not counted."""
        return int(self.rate * self.seconds)

    def write(self, file: Path) -> None:
        """Keep it where the sender finds it; it holds tokens."""
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `write` has written."""
        found = json.loads(file.read_text())
        return cls(**found | {"people": [Person(**one) for one in found["people"]]})

    def delivery(self, number: int) -> Delivery:
        """The delivery of that number."""
        person = self.people[number * 7 % len(self.people)]
        return MAKERS[TURN[number % len(TURN)]](self, number, person)

    def second(self, number: int) -> datetime:
        """A moment that only this delivery knows, days before the test."""
        return datetime.fromisoformat(self.began) + timedelta(seconds=number)

    def object_id(self, number: int) -> str:
        """A vendor's id of a document: a UUID that begins with the marker."""
        return f"{self.marker}-0000-4000-8000-{number:012d}"

    def value(self, number: int) -> float:
        """Heart beats a minute."""
        return 50.0 + number % 83


@dataclass(frozen=True)
class Delivery:
    """One delivery: what is sent, and what it leads to."""

    provider: str
    body: bytes
    person: Person
    ending: Ending
    key: Key
    value: float = 0.0
    document: tuple[str, Document] | None = None
    """Path and content at the vendor."""

    def headers(self, secrets: dict[str, str], now: datetime) -> dict[str, str]:
        """Signed at `now`."""
        key = secrets.get(self.provider) or self.person.token
        return SIGNATURES[self.provider](key.encode(), self.body, milliseconds(now))

    @property
    def digest(self) -> bytes:
        """Finds the delivery of a body."""
        return digest(self.body)


def digest(body: bytes) -> bytes:
    """Short name of a body."""
    return hashlib.sha256(body).digest()[:16]


def instant(moment: datetime) -> str:
    """The name of a reading's moment."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _body(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _healthkit(plan: Plan, number: int, person: Person) -> Delivery:
    """A push of one heart rate; now and then with a text in its place, which nobody can read."""
    moment, value = plan.second(number), plan.value(number)
    unreadable = number % UNREADABLE_EVERY == 0
    sample = {
        "date": moment.strftime("%Y-%m-%d %H:%M:%S %z"),
        "qty": "unreadable" if unreadable else value,
        "source": plan.marker,
    }
    metric = {"name": "heart_rate", "units": "count/min", "data": [sample]}
    return Delivery(
        provider="healthkit",
        body=_body({"data": {"metrics": [metric], "workouts": []}}),
        person=person,
        ending=Ending.DEAD if unreadable else Ending.READING,
        key=Key("healthkit", person.user, instant(moment)),
        value=value,
    )


def _terra(plan: Plan, number: int, person: Person) -> Delivery:
    """A workout of one second."""
    moment, value = plan.second(number), plan.value(number)
    activity = {
        "metadata": {
            "start_time": moment.isoformat(),
            "end_time": (moment + timedelta(seconds=1)).isoformat(),
            "summary_id": plan.object_id(number),
            "type": 8,
            "upload_type": 1,
        },
        "heart_rate_data": {"detailed": {"hr_samples": [{"timestamp": moment.isoformat(), "bpm": value}]}},
        "device_data": {"name": plan.marker},
    }
    who = {"user_id": f"terra-{person.user}", "reference_id": person.user, "provider": "GARMIN", "active": True}
    return Delivery(
        provider="terra",
        body=_body({"type": "activity", "user": who, "data": [activity], "version": "2022-03-16"}),
        person=person,
        ending=Ending.READING,
        key=Key("terra", person.user, instant(moment)),
        value=value,
    )


def _oura(plan: Plan, number: int, person: Person) -> Delivery:
    name = plan.object_id(number)
    stranger = number % STRANGER_EVERY == TURN.index("oura")
    fetched = not stranger and number % OURA_DOCUMENT_EVERY < len(TURN)
    notice = {
        "event_type": "update" if fetched else "delete",
        "data_type": "workout",
        "object_id": name,
        "event_time": instant(plan.second(number)),
        "user_id": f"{person.oura}-stranger" if stranger else person.oura,
    }
    path = f"/v2/usercollection/workout/{name}"
    return Delivery(
        provider="oura",
        body=_body(notice),
        person=person,
        ending=Ending.PARKED if stranger else Ending.DOCUMENT if fetched else Ending.DELETION,
        key=Key("oura", person.user, f"workout/{name}"),
        document=(path, oura_workout(id=name, label=plan.marker)) if fetched else None,
    )


def _whoop(plan: Plan, number: int, person: Person) -> Delivery:
    name = plan.object_id(number)
    fetched = number % WHOOP_DOCUMENT_EVERY < len(TURN)
    notice = {
        "user_id": person.whoop,
        "id": name,
        "type": "workout.updated" if fetched else "workout.deleted",
        "trace_id": name,
    }
    path = f"/v2/activity/workout/{name}"
    return Delivery(
        provider="whoop",
        body=_body(notice),
        person=person,
        ending=Ending.DOCUMENT if fetched else Ending.DELETION,
        key=Key("whoop", person.user, f"workout/{name}"),
        document=(path, whoop_workout(id=name)) if fetched else None,
    )


MAKERS: Final = {"healthkit": _healthkit, "terra": _terra, "oura": _oura, "whoop": _whoop}
