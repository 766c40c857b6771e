"""`python -m auren.bridge dlq`: look at dead letters, and send them to their topic once more.

It reads with the Kafka settings of the process beside it (`AUREN_KAFKA_*`), from the oldest letter to the last one
that was there at the start, without a consumer group: nothing is committed, and no right on a group is needed. Of a
letter it remembers a few bytes, so a topic of millions is read in the memory of a container.

A replay gives the same result however often it is done: the records go out with their first ids and times, so events
keep their ids and versions. It brings nobody back: whoever reads the topic checks `erased_users` against that first
time, as for every other record. Letters stay where they are until their retention ends. A mark beside them says which
ones were sent; those are left out from then on, unless one asks for them. One that fails again is a new letter, which
names the old one. A crash between acknowledgement and mark has a letter sent twice, which changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog
from aiokafka.errors import KafkaError

from auren.bridge.dead_letters import ORIGINS, Letter, Place, Wanted, letter, mark, marked, original_headers, place
from auren.events import Headers
from auren.kafka import Producer, Record, RefusedError
from auren.link import UnavailableError, describe
from auren.settings import KafkaSettings, load
from auren.topic_reader import TopicReader
from auren.topics import TOPICS, WEBHOOKS_DLQ, Topic

CLIENT_ID: Final = "auren-dlq"
CONNECT_SECONDS: Final = 15.0
PORTION_LETTERS: Final = 200
PORTION_BYTES: Final = 1024 * 1024
"""A replay waits for the acknowledgement of so much before it reads on."""

PRIVATE_HEADERS: Final = frozenset({"ce_subject"})
"""Headers that name a person."""

LINE: Final = "{place:<10} {died_at:<25} {provider:<10} {stage:<8} {attempts:>8} {size_bytes:>10}  {error}"


class Source(Protocol):
    """The dead letter topic, as TopicReader reads it."""

    @property
    def bounds(self) -> Mapping[int, tuple[int, int]]:
        """By partition: the oldest offset, and the one after the newest."""

    def records(self, partition: int, first: int, end: int) -> AsyncIterator[Record]:
        """The records from offset `first` to before `end`."""


class Sender(Protocol):
    """What a replay needs of `auren.kafka.Producer`."""

    async def send(self, topic: Topic, value: bytes, key: bytes | None = None, headers: Headers | None = None) -> None:
        """One record; returns when it is acknowledged."""

    async def send_all(self, topic: Topic, records: Sequence[tuple[bytes | None, bytes, Headers]]) -> None:
        """Some records; returns when all are acknowledged."""


@dataclass(slots=True)
class Choice:
    """Chosen letters by partition: offsets, ascending. `left_out` were wanted, but have been replayed before."""

    offsets: dict[int, array[int]] = field(default_factory=dict)
    left_out: set[Place] = field(default_factory=set)
    size_bytes: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.offsets.values()))

    def __contains__(self, one: object) -> bool:
        return isinstance(one, Place) and one.offset in self.offsets.get(one.partition, ())


async def choose(source: Source, wanted: Wanted, *, again: bool = False, limit: int | None = None) -> Choice:
    """The letters that are wanted, without those replayed before unless `again`; the first `limit` by their places."""
    replayed: set[Place] = set()
    found: dict[int, tuple[array[int], array[int]]] = {}
    for partition, (first, end) in sorted(source.bounds.items()):
        offsets, sizes = found.setdefault(partition, (array("q"), array("q")))
        async for record in source.records(partition, first, end):
            replayed |= marked(record)
            one = letter(record)
            if one is not None and wanted.accepts(one):
                offsets.append(record.offset)
                sizes.append(len(one.body))
    # A mark may stand anywhere behind its letter, in any partition: only now all are known.
    choice = Choice()
    for partition, (offsets, sizes) in found.items():
        for offset, size in zip(offsets, sizes, strict=True):
            if not again and Place(partition, offset) in replayed:
                choice.left_out.add(Place(partition, offset))
            elif limit is None or len(choice) < limit:
                choice.offsets.setdefault(partition, array("q")).append(offset)
                choice.size_bytes += size
    return choice


async def letters(source: Source, choice: Choice) -> AsyncIterator[Letter]:
    """The chosen letters; one that its topic's retention has taken away meanwhile is not among them."""
    for partition, offsets in choice.offsets.items():
        chosen = set(offsets)
        async for record in source.records(partition, offsets[0], offsets[-1] + 1):
            one = letter(record) if record.offset in chosen else None
            if one is not None:
                yield one


async def _portions(source: Source, choice: Choice) -> AsyncIterator[list[Letter]]:
    portion: list[Letter] = []
    size = 0
    async for one in letters(source, choice):
        if portion and (len(portion) == PORTION_LETTERS or size + len(one.body) > PORTION_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += len(one.body)
    if portion:
        yield portion


async def replay(source: Source, sender: Sender, topic: Topic, choice: Choice) -> AsyncIterator[int]:
    """Send the chosen letters of `topic` to where they came from; yields how many were acknowledged, again and again.

    Raises UnavailableError or RefusedError: what was yielded before is in the topic.
    """
    async for portion in _portions(source, choice):
        records = [(one.key, one.body, original_headers(one, topic.name)) for one in portion]
        await sender.send_all(ORIGINS[topic.name], records)
        yield len(portion)
        await sender.send(topic, b"", headers=mark(one.place for one in portion))


async def _list(options: argparse.Namespace, source: Source) -> int:
    choice = await choose(source, _wanted(options), again=options.replayed, limit=options.limit)
    if not options.json:
        print(_line({name: name for name in ("place", "died_at", "provider", "stage", "attempts", "error")}))
    async for one in letters(source, choice):
        summary = one.summary()
        print(json.dumps(summary) if options.json else _line(summary))
    _tell(f"{len(choice)} dead letters; {len(choice.left_out)} that were replayed are left out (--replayed shows them)")
    return 0


def _line(summary: Mapping[str, Any]) -> str:
    error = f"{summary['error']} (replay of {summary['replayed_from']})" if summary.get("replayed_from") else None
    shown = {"size_bytes": "bytes", **summary} | ({"error": error} if error else {})
    return LINE.format(**{name: visible(str(value)) for name, value in shown.items()})


def visible(text: str) -> str:
    """Text for a terminal: what would move its cursor or colour it becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


async def _show(options: argparse.Namespace, source: Source) -> int:
    choice = Choice({options.place.partition: array("q", [options.place.offset])})
    first, end = source.bounds.get(options.place.partition, (0, 0))
    found = [one async for one in letters(source, choice)] if first <= options.place.offset < end else []
    if not found:
        return _fail(f"there is no letter at {options.place}")
    if options.body:
        _tell("this shows a person's data")
    print("\n".join(_description(found[0], private=options.body)), flush=True)
    if options.body:
        sys.stdout.buffer.write(b"\n" + found[0].body)
        sys.stdout.buffer.flush()
    return 0


def _description(one: Letter, *, private: bool) -> list[str]:
    """Lines `name: value`, as the headers of a message; what names a person only where that is asked for."""
    hidden = "(a person's, --body shows it)"
    key = "" if one.key is None else visible(one.key.decode("utf-8", "replace")) if private else hidden
    lines = [f"place: {one.place}", f"died_at: {one.died_at.isoformat()}", f"size_bytes: {len(one.body)}"]
    if key:
        lines.append(f"key: {key}")
    for name, value in one.headers:
        shown = value.decode("utf-8", "replace") if private or name not in PRIVATE_HEADERS else hidden
        lines.append(f"{visible(name)}: {visible(shown)}")
    return lines


async def _replay(options: argparse.Namespace, source: Source, producer: Producer) -> int:
    choice = await choose(source, _wanted(options), again=options.again, limit=options.limit)
    if choice.left_out:
        _tell(f"{len(choice.left_out)} that were replayed before are left out (--again takes them too)")
    missing = [one for one in options.places if one not in choice and one not in choice.left_out]
    if missing and options.limit is None:
        return _fail(f"there is no such letter at {', '.join(map(str, missing))}")
    origin = ORIGINS[options.topic].name
    print(f"{len(choice)} dead letters ({choice.size_bytes} bytes) of {options.topic} would go to {origin}", flush=True)
    if options.dry_run or not len(choice):
        return 0
    if not options.yes and not await asyncio.to_thread(_confirmed):
        return _fail("nothing was sent; --yes sends without asking")
    return await _send(source, producer, options.topic, choice)


def _confirmed() -> bool:
    return sys.stdin.isatty() and input("Send them? [y/N] ").strip().lower() in {"y", "yes"}


async def _send(source: Source, producer: Producer, topic: str, choice: Choice) -> int:
    acknowledged, trouble = 0, ""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await producer.link.wait()
        async for count in replay(source, producer, _topic(topic), choice):
            acknowledged += count
    except (UnavailableError, RefusedError, TimeoutError) as error:
        trouble = str(error) or describe(error)
    print(f"{acknowledged} of {len(choice)} acknowledged", flush=True)
    return _fail(f"stopped: {trouble}; replay once more for the rest") if trouble else 0


def _topic(name: str) -> Topic:
    return next(topic for topic in TOPICS if topic.name == name)


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        places=frozenset(getattr(options, "places", ())),
        provider=options.provider,
        stage=options.stage,
        error=options.error,
        since=options.since,
        until=options.until,
    )


def _tell(message: str) -> None:
    """For whoever sits there: not part of the answer."""
    print(f"dlq: {message}", file=sys.stderr, flush=True)


def _fail(message: str) -> int:
    _tell(message)
    return 1


def iso_time(text: str) -> datetime:
    """An ISO 8601 time; UTC where it names no zone. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def positive(text: str) -> int:
    """A count from 1. Raises ValueError."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m auren.bridge dlq", description="Dead letters: look, and replay.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    topics = f"one of {', '.join(sorted(ORIGINS))} (%(default)s), as far as the Kafka user may read it"
    common.add_argument("--topic", choices=sorted(ORIGINS), default=WEBHOOKS_DLQ.name, help=topics, metavar="TOPIC")
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("--provider", default="", help="e.g. whoop")
    filters.add_argument("--stage", default="", help="where it failed, e.g. decode")
    filters.add_argument("--error", default="", help="a part of the reason")
    filters.add_argument("--since", type=iso_time, metavar="TIME", help="died at or after (ISO 8601, UTC by default)")
    filters.add_argument("--until", type=iso_time, metavar="TIME", help="died before")
    filters.add_argument("--limit", type=positive, metavar="N", help="the first N of them by partition and offset")
    found = commands.add_parser("list", parents=[common, filters], help="a line for each letter, without people's data")
    found.add_argument("--json", action="store_true", help="a JSON object a line")
    found.add_argument("--replayed", action="store_true", help="those that were replayed, too")
    shown = commands.add_parser("show", parents=[common], help="one letter's headers")
    shown.add_argument("place", type=place, metavar="PARTITION:OFFSET")
    shown.add_argument("--body", action="store_true", help="also the raw body and who it is about: a person's data")
    sent = commands.add_parser("replay", parents=[common, filters], help="send letters to the topic they came from")
    sent.add_argument("places", type=place, nargs="*", metavar="PARTITION:OFFSET", help="only these (default: all)")
    sent.add_argument("--again", action="store_true", help="also those that were replayed before")
    how = sent.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="do not ask")
    how.add_argument("--dry-run", action="store_true", help="only say how many")
    return parser


async def _run(options: argparse.Namespace, settings: KafkaSettings) -> int:
    try:
        async with TopicReader(settings, CLIENT_ID, _topic(options.topic)) as source:
            if options.command == "list":
                return await _list(options, source)
            if options.command == "show":
                return await _show(options, source)
            producer = Producer(settings, CLIENT_ID)
            await producer.start()
            try:
                return await _replay(options, source, producer)
            finally:
                await producer.stop()
    except BrokenPipeError:  # standard output, not Kafka
        raise
    except (KafkaError, OSError, TimeoutError) as error:
        return _fail(f"{options.topic} cannot be read: {describe(error)}")


def main(arguments: Sequence[str]) -> int:
    """The command line: 0, or 1 with one line that says what is wrong."""
    options = parser().parse_args(arguments)
    settings = load(KafkaSettings)
    # Standard output belongs to the answer, and what the connections have to say is in the errors.
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return asyncio.run(_run(options, settings))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
