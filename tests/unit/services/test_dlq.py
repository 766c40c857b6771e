"""The dead letter tool: what is chosen, that a replay sends what came, once, and that nothing of a person is shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from hypothesis import given
from hypothesis import strategies as st

from auren import events
from auren.bridge import dlq
from auren.bridge.dead_letters import ADDED, REPLAYED, REPLAYED_FROM, Letter, Place, Wanted, letter, mark, marked, place
from auren.bridge.dead_letters import original_headers as original
from auren.bridge.dlq import Choice, choose
from auren.events import Delivery, Headers
from auren.kafka import Record
from auren.link import UnavailableError
from auren.topics import TERRA_DLQ, WEBHOOKS, WEBHOOKS_DLQ, Topic
from tests.unit.services.test_consumer import Arrived

DIED = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEEN = DIED - timedelta(hours=24)


def dead(
    offset: int,
    partition: int = 0,
    *,
    provider: str = "whoop",
    stage: str = "fetch",
    error: str = "WHOOP answers 404",
    died: datetime = DIED,
    body: bytes = b"{}",
    added: Iterable[tuple[str, bytes]] = (),
) -> Arrived:
    """A delivery about anna that failed."""
    delivery = Delivery(id=f"d{offset}", provider=provider, received_at=SEEN, body=body, user_id="anna")
    headers = events.dead_letter_headers(
        [*delivery.headers(), *added], stage=stage, error=error, attempts=5, first_seen=SEEN
    )
    return Arrived(offset, partition, WEBHOOKS_DLQ.name, int(died.timestamp() * 1000), None, body, headers)


def mark_record(offset: int, partition: int, *places: Place) -> Arrived:
    return Arrived(offset, partition, WEBHOOKS_DLQ.name, 0, None, b"", mark(places))


class Shelf:
    """Stands for TopicReader: records by partition, in order, and perhaps with gaps."""

    def __init__(self, *records: Arrived) -> None:
        self.held: dict[int, list[Arrived]] = {0: []}
        for record in records:
            self.held.setdefault(record.partition, []).append(record)

    @property
    def bounds(self) -> Mapping[int, tuple[int, int]]:
        return {
            partition: (found[0].offset, found[-1].offset + 1) if found else (5, 5)
            for partition, found in self.held.items()
        }

    async def records(self, partition: int, first: int, end: int) -> AsyncIterator[Record]:
        assert self.bounds[partition][0] <= first <= end <= self.bounds[partition][1]
        for record in self.held[partition]:
            if first <= record.offset < end:
                yield record

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


class Outbox:
    """Stands for the producer: takes everything, until it has taken as many calls as the test says."""

    def __init__(self, calls: int = 1000) -> None:
        self.calls = calls
        self.sent: list[tuple[str, bytes | None, bytes, Headers]] = []
        self.portions: list[int] = []

    @property
    def link(self) -> Any:
        async def wait() -> None:
            """Connected."""

        return SimpleNamespace(wait=wait)

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def send(self, topic: Topic, value: bytes, key: bytes | None = None, headers: Headers | None = None) -> None:
        await self.send_all(topic, [(key, value, headers or [])])

    async def send_all(self, topic: Topic, records: Sequence[tuple[bytes | None, bytes, Headers]]) -> None:
        if not self.calls:
            raise UnavailableError("kafka", "TopicAuthorizationFailedError")
        self.calls -= 1
        self.sent += [(topic.name, *record) for record in records]
        if topic is WEBHOOKS:
            self.portions.append(len(records))


def places(choice: Choice) -> list[str]:
    return [str(Place(partition, offset)) for partition, offsets in choice.offsets.items() for offset in offsets]


SHELF = (
    dead(3),
    dead(4, provider="terra", stage="decode", error="No decoder, for this"),
    dead(7, provider="terra", died=DIED + timedelta(hours=1)),
    dead(0, 1, provider="oura", error="unknown user", died=DIED - timedelta(hours=1)),
)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (Wanted(), ["0:3", "0:4", "0:7", "1:0"]),
        (Wanted(provider="terra"), ["0:4", "0:7"]),
        (Wanted(provider="ter"), []),
        (Wanted(stage="decode"), ["0:4"]),
        (Wanted(error="no decoder"), ["0:4"]),
        (Wanted(error="404"), ["0:3", "0:7"]),
        (Wanted(provider="terra", stage="fetch"), ["0:7"]),
        (Wanted(since=DIED), ["0:3", "0:4", "0:7"]),
        (Wanted(since=DIED + timedelta(milliseconds=1)), ["0:7"]),
        (Wanted(until=DIED), ["1:0"]),
        (Wanted(until=DIED + timedelta(milliseconds=1)), ["0:3", "0:4", "1:0"]),
        (Wanted(places=frozenset({Place(0, 7), Place(1, 0), Place(2, 2)})), ["0:7", "1:0"]),
        (Wanted(places=frozenset({Place(0, 7), Place(1, 0)}), provider="oura"), ["1:0"]),
    ],
    ids=repr,
)
async def test_every_part_of_the_wish_counts(wanted: Wanted, chosen: list[str]) -> None:
    assert places(await choose(Shelf(*SHELF), wanted)) == chosen


async def test_only_so_many_are_chosen_and_sizes_are_theirs() -> None:
    shelf = Shelf(dead(1, body=b"x" * 10), dead(2, body=b"y" * 5), dead(3, 1, body=b"z"))
    choice = await choose(shelf, Wanted(), limit=2)
    assert (places(choice), len(choice), choice.size_bytes) == (["0:1", "0:2"], 2, 15)
    assert places(await choose(Shelf(), Wanted())) == []


async def test_what_was_replayed_is_left_out_wherever_its_mark_stands() -> None:
    shelf = Shelf(mark_record(0, 0, Place(1, 0)), *SHELF, mark_record(1, 1, Place(0, 3), Place(0, 7)))
    choice = await choose(shelf, Wanted())
    assert places(choice) == ["0:4"]
    assert choice.left_out == {Place(1, 0), Place(0, 3), Place(0, 7)}
    assert (await choose(shelf, Wanted(provider="oura"))).left_out == {Place(1, 0)}
    # The limit is for what is chosen, and marks are no letters.
    assert places(await choose(shelf, Wanted(), limit=1)) == ["0:4"]
    again = await choose(shelf, Wanted(), again=True)
    assert (places(again), again.left_out) == (["0:3", "0:4", "0:7", "1:0"], set())


NAMES = st.text(min_size=1, max_size=12)
HEADERS = st.lists(st.tuples(NAMES | st.sampled_from([*ADDED, REPLAYED, REPLAYED_FROM]), st.binary(max_size=40)))


@given(HEADERS)
def test_marks_and_letters_are_told_apart_whatever_the_headers(headers: Headers) -> None:
    record = Arrived(1, headers=headers)
    names = {name for name, _ in headers}
    is_mark = REPLAYED in names and not names & ADDED
    assert (letter(record) is None) == is_mark
    if not is_mark:
        assert marked(record) == set()


@given(
    st.lists(st.builds(Place, st.integers(0, 99), st.integers(0, 2**63 - 1))),
    st.sampled_from(["", " x:1 1 :", " \u0661:\u0662"]),
)
def test_a_mark_tells_its_places_and_nothing_else(found: list[Place], noise: str) -> None:
    ((name, value),) = mark(found)
    assert marked(Arrived(1, headers=[(name, value + noise.encode())])) == set(found)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=40)).filter(lambda h: h[0] not in ADDED | {REPLAYED_FROM})))
def test_a_replay_has_the_headers_that_came(headers: Headers) -> None:
    came = [*headers, ("ce_time", b"2026-02-28T12:00:00+00:00")]
    buried = events.dead_letter_headers(came, stage="decode", error="e", attempts=1, first_seen=SEEN)
    one = Letter(Place(2, 17), DIED, b"key", b"body", buried)
    assert original(one, "t.dlq") == [*came, (REPLAYED_FROM, b"t.dlq:2:17")]
    # It fails once more, and is replayed once more.
    again = events.dead_letter_headers(original(one, "t.dlq"), stage="s", error="e", attempts=1, first_seen=DIED)
    second = replace(one, place=Place(0, 40), headers=again)
    assert second.replayed_from == "t.dlq:2:17"
    assert original(second, "t.dlq") == [*came, (REPLAYED_FROM, b"t.dlq:0:40")]


def test_a_replay_is_the_same_delivery() -> None:
    record = dead(3, added=[("traceparent", b"00-1")])
    found = letter(record)
    assert found is not None
    again = events.delivery(found.body, original(found, WEBHOOKS_DLQ.name))
    assert again == Delivery(id="d3", provider="whoop", received_at=SEEN, body=b"{}", user_id="anna")
    assert ("traceparent", b"00-1") in original(found, WEBHOOKS_DLQ.name)


def test_terras_own_records_keep_their_age() -> None:
    headers = events.dead_letter_headers([], stage="fetch", error="gone", attempts=1, first_seen=SEEN)
    one = Letter(Place(0, 1), DIED, None, b"{}", headers)
    assert dict(original(one, TERRA_DLQ.name))["ce_time"].decode() == SEEN.isoformat()
    foreign = replace(one, headers=[])
    assert original(foreign, TERRA_DLQ.name) == [(REPLAYED_FROM, b"terra-biometric-events.dlq:0:1")]


def test_a_foreign_record_is_a_letter_too() -> None:
    found = letter(Arrived(1, value=None, headers=[("stage", b"\xff"), ("ce_source", b"/providers/oura")]))
    assert found is not None
    assert found.body == b""
    assert found.summary()["provider"] == "oura"
    assert found.summary()["stage"] == "\ufffd"
    bare = letter(Arrived(1))
    assert bare is not None
    assert bare.summary()["provider"] == bare.summary()["error"] == ""


@pytest.mark.parametrize("text", ["", ":", "1", "1:", ":1", "a:1", "1:b", "-1:2", "1:2:3", "1.0:2"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        place(text)
    assert place(str(Place(3, 17))) == Place(3, 17)


async def replayed(shelf: Shelf, outbox: Outbox, wanted: Wanted = Wanted()) -> list[int]:  # noqa: B008 - it is frozen
    choice = await choose(shelf, wanted)
    return [count async for count in dlq.replay(shelf, outbox, WEBHOOKS_DLQ, choice)]


async def test_a_replay_sends_to_the_first_topic_and_marks_what_was_acknowledged() -> None:
    shelf, outbox = Shelf(*SHELF), Outbox()
    assert await replayed(shelf, outbox, Wanted(provider="terra")) == [2]
    first, second, last = outbox.sent
    assert [sent[:3] for sent in (first, second)] == [(WEBHOOKS.name, None, b"{}")] * 2
    assert [dict(sent[3])["ce_id"] for sent in (first, second)] == [b"d4", b"d7"]
    assert last == (WEBHOOKS_DLQ.name, None, b"", [("replayed", b"0:4 0:7")])


async def test_a_replay_goes_portion_by_portion() -> None:
    big = b"x" * (dlq.PORTION_BYTES // 2)
    shelf = Shelf(
        *(dead(number) for number in range(dlq.PORTION_LETTERS + 1)), *(dead(n, 1, body=big) for n in range(3))
    )
    outbox = Outbox()
    assert await replayed(shelf, outbox) == outbox.portions == [dlq.PORTION_LETTERS, 2, 2]
    sent_to = [topic for topic, *_ in outbox.sent]
    assert sent_to.count(WEBHOOKS.name) == dlq.PORTION_LETTERS + 4
    assert sent_to.count(WEBHOOKS_DLQ.name) == 3
    # A letter larger than a portion goes alone.
    outbox = Outbox()
    assert await replayed(Shelf(dead(1, body=b"x" * dlq.PORTION_BYTES * 2), dead(2)), outbox) == [1, 1]


async def test_what_was_not_acknowledged_is_neither_counted_nor_marked() -> None:
    shelf = Shelf(*(dead(number) for number in range(2 * dlq.PORTION_LETTERS)))
    outbox, counts = Outbox(calls=2), []
    choice = await choose(shelf, Wanted())
    with pytest.raises(UnavailableError):  # noqa: PT012 - what came before the error is the point
        async for count in dlq.replay(shelf, outbox, WEBHOOKS_DLQ, choice):
            counts.append(count)
    assert counts == [dlq.PORTION_LETTERS]
    (marks,) = [headers for topic, _, _, headers in outbox.sent if topic == WEBHOOKS_DLQ.name]
    assert len(dict(marks)["replayed"].split()) == dlq.PORTION_LETTERS


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Shelf, Outbox]:
    """What the command line finds instead of Kafka."""
    private = dead(9, 1, body=b"anna's body\x1b[2J", error="bad\x1b[31m\nnews", added=[("vendor-x\x07", b"1")])
    shelf, outbox = Shelf(*SHELF, replace(private, key=b"anna")), Outbox()
    monkeypatch.setattr(dlq, "TopicReader", lambda *_: shelf)
    monkeypatch.setattr(dlq, "Producer", lambda *_: outbox)
    monkeypatch.setenv("AUREN_KAFKA_BOOTSTRAP", "localhost:1")
    monkeypatch.setenv("AUREN_KAFKA_SECURITY", "PLAINTEXT")
    monkeypatch.setenv("AUREN_SECRETS_DIR", str(tmp_path))
    return shelf, outbox


def test_list_is_a_line_a_letter_and_names_nobody(
    kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dlq.main(["list"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split()[0] for line in lines] == ["place", "0:3", "0:4", "0:7", "1:0", "1:9"]
    assert " ".join(lines[2].split()) == "0:4 2026-03-01T12:00:00+00:00 terra decode 5 2 No decoder, for this"
    assert lines[5].endswith("bad?[31m?news")
    assert "anna" not in printed.out + printed.err
    assert "5 dead letters" in printed.err


def test_list_in_json_says_the_same(kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]) -> None:
    assert dlq.main(["list", "--json", "--provider", "terra", "--since", "2026-03-01T12:30Z"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == {
        "place": "0:7",
        "died_at": "2026-03-01T13:00:00+00:00",
        "first_seen": SEEN.isoformat(),
        "provider": "terra",
        "stage": "fetch",
        "error": "WHOOP answers 404",
        "attempts": "5",
        "size_bytes": 2,
        "replayed_from": "",
    }


def test_list_leaves_out_what_was_replayed_unless_asked(
    kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]
) -> None:
    kafka[0].held[1].append(mark_record(10, 1, Place(0, 3), Place(0, 4), Place(0, 7)))
    assert dlq.main(["list", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 2
    assert "3 that were replayed are left out" in printed.err
    assert dlq.main(["list", "--json", "--replayed"]) == 0
    assert capsys.readouterr().out.count("\n") == 5


def test_list_says_what_failed_again(kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]) -> None:
    kafka[0].held[1].append(dead(11, 1, error="again", added=[(REPLAYED_FROM, b"biometric-webhooks.dlq:0:3")]))
    assert dlq.main(["list", "--error", "again"]) == 0
    assert "again (replay of biometric-webhooks.dlq:0:3)" in capsys.readouterr().out


def test_show_hides_the_person_until_the_body_is_asked_for(
    kafka: tuple[Shelf, Outbox], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert dlq.main(["show", "1:9"]) == 0
    printed = capsysbinary.readouterr()
    assert b"anna" not in printed.out + printed.err
    assert b"\x1b" not in printed.out
    assert b"\x07" not in printed.out
    for line in (b"place: 1:9", b"ce_id: d9", b"ce_subject: (a person's", b"key: (a person's", b"stage: fetch"):
        assert line in printed.out
    assert dlq.main(["show", "1:9", "--body"]) == 0
    printed = capsysbinary.readouterr()
    assert b"\nce_subject: anna\n" in printed.out
    assert b"\nkey: anna\n" in printed.out
    assert printed.out.endswith(b"\n\nanna's body\x1b[2J")
    assert b"a person's data" in printed.err


@pytest.mark.parametrize("where", ["0:2", "0:5", "0:8", "1:10", "4:0"])
def test_show_says_that_there_is_none(
    kafka: tuple[Shelf, Outbox], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dlq.main(["show", where]) == 1
    assert capsys.readouterr().err == f"dlq: there is no letter at {where}\n"


def test_a_mark_is_no_letter_to_show(kafka: tuple[Shelf, Outbox]) -> None:
    kafka[0].held[1].append(mark_record(10, 1, Place(0, 3)))
    assert dlq.main(["show", "1:10"]) == 1


def test_replay_sends_only_what_was_agreed_to(
    kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "2 dead letters (4 bytes) of biometric-webhooks.dlq would go to biometric-webhooks\n"
    for arguments, code in ((["--dry-run"], 0), ([], 1)):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
        assert dlq.main(["replay", "--provider", "terra", *arguments]) == code
        assert capsys.readouterr().out == said
        assert not kafka[1].sent
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    for answer, code, sent in (("", 1, 0), ("n", 1, 0), ("Y", 0, 3)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert dlq.main(["replay", "--provider", "terra"]) == code
        assert len(kafka[1].sent) == sent
    assert capsys.readouterr().out.endswith(said + "2 of 2 acknowledged\n")


def test_replay_of_places_takes_these(kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]) -> None:
    assert dlq.main(["replay", "0:3", "1:0", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("2 of 2 acknowledged\n")
    assert [dict(sent[3])["ce_id"] for sent in kafka[1].sent[:-1]] == [b"d3", b"d0"]
    assert dlq.main(["replay", "0:3", "0:6", "5:5", "--yes"]) == 1
    assert capsys.readouterr().err == "dlq: there is no such letter at 0:6, 5:5\n"
    assert len(kafka[1].sent) == 3


def test_replay_does_nothing_twice_unless_asked(
    kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]
) -> None:
    kafka[0].held[1].append(mark_record(10, 1, Place(0, 3)))
    assert dlq.main(["replay", "0:3", "--yes"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("0 dead letters")
    assert "1 that were replayed before are left out" in printed.err
    assert not kafka[1].sent
    assert dlq.main(["replay", "0:3", "--yes", "--again"]) == 0
    assert len(kafka[1].sent) == 2


def test_a_replay_that_stops_says_how_far_it_came(
    kafka: tuple[Shelf, Outbox], capsys: pytest.CaptureFixture[str]
) -> None:
    kafka[1].calls = 0
    assert dlq.main(["replay", "--yes"]) == 1
    printed = capsys.readouterr()
    assert printed.out.endswith("0 of 5 acknowledged\n")
    assert printed.err == "dlq: stopped: kafka: TopicAuthorizationFailedError; replay once more for the rest\n"


@pytest.mark.parametrize("error", [KafkaConnectionError("x"), TopicAuthorizationFailedError("x"), TimeoutError()])
def test_a_topic_that_cannot_be_read_is_one_line(
    kafka: tuple[Shelf, Outbox], error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(Shelf, "__aenter__", fail)
    assert dlq.main(["list"]) == 1
    said = f"dlq: biometric-webhooks.dlq cannot be read: {type(error).__name__}\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["drop"],
        ["list", "--topic", "biometric-webhooks"],
        ["list", "--since", "yesterday"],
        ["list", "--limit", "0"],
        ["show"],
        ["show", "7"],
        ["replay", "7"],
        ["replay", "--yes", "--dry-run"],
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dlq.main(arguments)
    assert ended.value.code == 2


def test_times_without_a_zone_are_utc() -> None:
    assert dlq.iso_time("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert dlq.iso_time("2026-03-01T12:00+02:00") == datetime(2026, 3, 1, 10, tzinfo=UTC)
