"""Dead letters as the tool `dlq` sees them: what is in one, which are meant, and what goes back to the topic.

A dead letter topic `<topic>.dlq` holds two kinds of records. A letter is a record that failed, with the headers of
`events.dead_letter_headers`. A mark is written by a replay: its header `replayed` lists the places of letters that went
back to their topic and were acknowledged. Nothing is ever taken out of the topic; its retention does that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from auren.events import Headers
from auren.kafka import Record
from auren.topics import TOPICS

ADDED: Final = frozenset({"stage", "error", "attempts", "first_seen"})
"""What `events.dead_letter_headers` adds."""

REPLAYED: Final = "replayed"
REPLAYED_FROM: Final = "replayed-from"
"""On a record that was sent once more: topic and place of its letter. It stays when the record fails again."""

ORIGINS: Final = {f"{topic.name}.dlq": topic for topic in TOPICS if not topic.name.endswith(".dlq")}
"""By the name of a dead letter topic: the topic whose records it holds."""


class Place(NamedTuple):
    """Where a letter is in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def place(text: str) -> Place:
    """The place of `PARTITION:OFFSET`. Raises ValueError."""
    partition, colon, offset = text.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise ValueError("a place is PARTITION:OFFSET")
    return Place(int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that failed. `died_at` is when it was put into the topic; `provider` is empty where none is named."""

    place: Place
    died_at: datetime
    key: bytes | None
    body: bytes
    headers: Headers

    @property
    def provider(self) -> str:
        """As the delivery's or the event's headers name it."""
        return self.text("provider") or self.text("ce_source").removeprefix("/providers/")

    @property
    def replayed_from(self) -> str:
        """The letter that this one is a failed replay of; empty for the first failure."""
        return self.text(REPLAYED_FROM)

    def text(self, name: str) -> str:
        """A header; empty where there is none."""
        return next((value.decode("utf-8", "replace") for header, value in self.headers if header == name), "")

    def summary(self) -> dict[str, Any]:
        """What `list` tells of it. It names no person; `size_bytes` is that of the body."""
        return {
            "place": str(self.place),
            "died_at": self.died_at.isoformat(timespec="seconds"),
            "first_seen": self.text("first_seen"),
            "provider": self.provider,
            "stage": self.text("stage"),
            "error": self.text("error"),
            "attempts": self.text("attempts"),
            "size_bytes": len(self.body),
            "replayed_from": self.replayed_from,
        }


def letter(record: Record) -> Letter | None:
    """The letter of a record; None for a mark."""
    if _is_mark(record):
        return None
    return Letter(
        place=Place(record.partition, record.offset),
        died_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        key=record.key,
        body=record.value or b"",
        headers=[(name, value or b"") for name, value in record.headers],
    )


def _is_mark(record: Record) -> bool:
    names = {name for name, _ in record.headers}
    return REPLAYED in names and not names & ADDED


def mark(places: Iterable[Place]) -> Headers:
    """The headers of the mark that these letters have been replayed; the record has neither key nor value."""
    return [(REPLAYED, " ".join(map(str, places)).encode())]


def marked(record: Record) -> set[Place]:
    """The letters that a record marks as replayed: none unless it is a mark."""
    if not _is_mark(record):
        return set()
    words = (dict(record.headers)[REPLAYED] or b"").decode("ascii", "replace").split()
    found = set()
    for word in words:
        try:
            found.add(place(word))
        except ValueError:  # not ours: it marks nothing
            continue
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant: all that every given part agrees to. `error` is a part of the text, in any case."""

    places: frozenset[Place] = frozenset()
    provider: str = ""
    stage: str = ""
    error: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def accepts(self, letter: Letter) -> bool:
        """Whether a letter is meant; `since` is the first moment of it, `until` the first one after it."""
        return (
            (not self.places or letter.place in self.places)
            and self.provider in ("", letter.provider)
            and self.stage in ("", letter.text("stage"))
            and self.error.lower() in letter.text("error").lower()
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at < self.until)
        )


def original_headers(letter: Letter, topic: str) -> Headers:
    """The headers that a replay sends: those that the record came with, and which letter of `topic` it was.

    `ce_id` and `ce_time` are the first delivery's, so events keep their ids and versions, and somebody who was erased
    in between stays erased. Terra's own records have no `ce_time`: they get the time when they were first seen.
    """
    kept = [(name, value) for name, value in letter.headers if name not in ADDED | {REPLAYED_FROM}]
    first_seen = letter.text("first_seen")
    if first_seen and not letter.text("ce_time"):
        kept.append(("ce_time", first_seen.encode()))
    return [*kept, (REPLAYED_FROM, f"{topic}:{letter.place}".encode())]
