"""Reconciliation: what each vendor is asked, what becomes of the answers, and when a round ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prometheus_client import generate_latest

from auren.bridge.chores import reconcile
from auren.bridge.chores.progress import Due, Progress
from auren.bridge.chores.reconcile import MARGIN, Listed, Reach, Reconciliation
from auren.bridge.chores.timetable import WHOOP_REQUESTS, sources
from auren.bridge.decoders import Document, oura, whoop
from auren.bridge.decoders.values import milliseconds
from auren.bridge.outbox import Outbox
from auren.bridge.settings import CollectorSettings
from auren.bridge.tokens import UnknownKeyError
from auren.bridge.vendors import NotAllowedError
from auren.bridge.vendors.breaker import Breaker
from auren.bridge.vendors.calls import Api
from auren.bridge.vendors.clients import Vendors
from auren.bridge.vendors.exchange import http_client
from auren.bridge.vendors.oura import OuraApi
from auren.bridge.vendors.whoop import LISTS, QUOTAS, WhoopApi
from auren.kafka import Producer
from auren.link import UnavailableError
from auren.telemetry import Metrics
from tests.unit.services.collecting import Log
from tests.unit.services.test_vendors import CountedLimits
from tests.unit.services.test_vendors_breaker import Time
from tests.unit.services.vendor_documents import (
    UPDATED_MS,
    body,
    oura_activity,
    oura_heart_rate,
    oura_readiness,
    oura_sleep,
    oura_vo2_max,
    whoop_cycle,
    whoop_recovery,
    whoop_sleep,
    whoop_workout,
)
from tests.unit.services.vendor_double import Fault, VendorDouble

NOW = datetime(2025, 3, 3, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REACH = Reach(lookback=3 * DAY, backfill=30 * DAY)


@dataclass
class Rows:
    """Stands for the table: people with tokens, and how far they are reconciled."""

    people: list[str] = field(default_factory=lambda: ["anna"])
    until: dict[tuple[str, str, str], datetime] = field(default_factory=dict)

    async def due(self, provider: str, before: Mapping[str, datetime], limit: int) -> list[Due]:
        found = [
            Due(user, data_type, self.until.get((provider, user, data_type)))
            for user in self.people
            for data_type in before
        ]
        never = datetime.min.replace(tzinfo=UTC)
        waiting = [due for due in found if due.until is None or due.until < before[due.data_type]]
        return sorted(waiting, key=lambda due: due.until or never)[:limit]

    async def count(self, provider: str, before: Mapping[str, datetime]) -> int:
        return len(await self.due(provider, before, 1_000_000))

    async def save(self, provider: str, user_id: str, data_type: str, until: datetime) -> None:
        self.until[provider, user_id, data_type] = until


@dataclass
class Given:
    """Tokens of the double's people; `errors` by person."""

    double: VendorDouble
    errors: dict[str, Exception] = field(default_factory=dict)

    async def access_token(self, user_id: str, *, stale: str | None = None) -> str:
        if user_id in self.errors:
            raise self.errors[user_id]
        return next(grant.access for grant in self.double.grants if grant.person == user_id)


class Bench:
    """The chore with both vendors behind one double, and all that it touches in the test's hands."""

    def __init__(self, *people: str, most_requests: int = 1000) -> None:
        self.clock, self.now = Time(), NOW
        self.double, self.rows, self.log = VendorDouble(), Rows([*people] or ["anna"]), Log()
        for person in self.rows.people:
            self.double.connect(person)
        self.tokens, self.limits = Given(self.double), CountedLimits()
        client = http_client(httpx.ASGITransport(self.double.app))
        api = Api("https://vendor.example.org", client, self.tokens, self.limits, Breaker("vendor", self.clock))
        every = dict.fromkeys(oura.READERS, 6 * HOUR)
        sources = (
            Listed("oura", {**every, oura.HEART_RATE: HOUR}, OuraApi(api).page, oura.decode_document, most_requests),
            Listed(
                "whoop", dict.fromkeys(whoop.READERS, HOUR), WhoopApi(api).page, whoop.decode_document, most_requests
            ),
        )
        self.metrics = Metrics("collector")
        self.job = Reconciliation(
            sources,
            cast(Progress, self.rows),
            Outbox(cast(Producer, self.log), self.metrics),
            REACH,
            300.0,
            self.metrics,
            lambda: self.now,
            self.clock,
        )

    def put(self, path: str, *documents: dict[str, Any], person: str = "anna") -> None:
        self.double.lists.documents[person, path].extend(documents)

    def outcomes(self) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == "auren_collector_reconciliations_total":
                    found[sample.labels["provider"], sample.labels["outcome"]] = sample.value
        return found

    def asked(self, path: str) -> list[Mapping[str, str]]:
        return [query for _, asked, query in self.double.lists.asked if asked == path]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_whoops_documents_are_those_that_a_webhook_would_have_brought(bench: Bench) -> None:
    bench.put("/v2/activity/sleep", whoop_sleep())
    bench.put("/v2/activity/workout", whoop_workout(id="w-1"))
    bench.put("/v2/recovery", whoop_recovery())
    await bench.job.run()
    found = {event.document_id: event for event in bench.log.events()}
    fetched: dict[str, bytes] = {"sleep": body(whoop_sleep()), "recovery": body(whoop_recovery())}
    for data_type, raw in fetched.items():
        wanted = Document("anna", data_type, whoop_sleep()["id"], 1, NOW)
        (event,) = whoop.decode_document(wanted, raw).events
        same = found[event.document_id]
        assert (same.event_id, same.version, same.readings) == (event.event_id, UPDATED_MS, event.readings)
    assert found["workout/w-1"].version == UPDATED_MS


async def test_cycles_come_although_no_webhook_names_them(bench: Bench) -> None:
    bench.put("/v2/cycle", whoop_cycle())
    await bench.job.run()
    (event,) = bench.log.events()
    assert event.document_id == "cycle/93845"
    assert "strain" in {reading.metric for reading in event.readings}


async def test_ouras_documents_are_as_new_as_the_question_less_the_margin(bench: Bench) -> None:
    bench.put("/v2/usercollection/sleep", oura_sleep())
    bench.put("/v2/usercollection/daily_readiness", oura_readiness())
    bench.put("/v2/usercollection/daily_activity", oura_activity())
    bench.put("/v2/usercollection/vO2_max", oura_vo2_max())
    bench.put("/v2/usercollection/heartrate", oura_heart_rate())
    await bench.job.run()
    found = bench.log.events()
    assert {event.document_id.partition("/")[0] for event in found} == {
        "sleep",
        "daily_readiness",
        "daily_activity",
        "vo2_max",
        "heartrate",
    }
    assert {event.version for event in found} == {milliseconds(NOW - MARGIN)}
    assert {event.received_at for event in found} == {NOW}


@pytest.mark.parametrize(("minutes", "newer"), [(-10, "poll"), (-4, "notice"), (0, "notice"), (10, "notice")])
async def test_of_a_poll_and_a_notice_the_newer_one_stands(bench: Bench, minutes: int, newer: str) -> None:
    bench.put("/v2/usercollection/daily_readiness", oura_readiness())
    await bench.job.run()
    (polled,) = bench.log.events()
    noticed = Document("anna", "daily_readiness", "r-1", milliseconds(NOW + timedelta(minutes=minutes)), NOW)
    (event,) = oura.decode_document(noticed, body(oura_readiness())).events
    assert event.event_id == polled.event_id
    assert newer == ("notice" if event.version >= polled.version else "poll")


async def test_who_has_just_connected_is_read_from_the_backfill_on_in_slices(bench: Bench) -> None:
    await bench.job.run()
    assert [(query["start"], query["end"]) for query in bench.asked("/v2/cycle")] == [
        ("2025-02-01T12:00:00Z", "2025-02-11T12:00:00Z"),
        ("2025-02-11T12:00:00Z", "2025-02-21T12:00:00Z"),
        ("2025-02-21T12:00:00Z", "2025-03-03T12:00:00Z"),
    ]
    assert bench.asked("/v2/usercollection/heartrate")[0]["start_datetime"] == "2025-02-01T12:00:00Z"
    assert [(query["start_date"], query["end_date"]) for query in bench.asked("/v2/usercollection/sleep")] == [
        ("2025-01-31", "2025-02-13"),
        ("2025-02-10", "2025-02-23"),
        ("2025-02-20", "2025-03-05"),
    ]
    assert set(bench.rows.until.values()) == {NOW}


async def test_the_next_round_goes_on_where_the_last_one_ended(bench: Bench) -> None:
    await bench.job.run()
    bench.double.lists.asked.clear()
    await bench.job.run()
    assert bench.double.lists.asked == []
    bench.now += 2 * HOUR
    await bench.job.run()
    assert [query["start"] for query in bench.asked("/v2/cycle")] == ["2025-02-28T12:00:00Z"]
    assert len(bench.asked("/v2/usercollection/heartrate")) == 1
    assert bench.asked("/v2/usercollection/sleep") == []


async def test_after_a_long_absence_no_more_than_the_backfill_is_read(bench: Bench) -> None:
    bench.rows.until["whoop", "anna", "cycle"] = NOW - 400 * DAY
    await bench.job.run()
    assert bench.asked("/v2/cycle")[0]["start"] == "2025-02-01T12:00:00Z"


async def test_all_pages_are_read(bench: Bench) -> None:
    days = [f"2025-02-{day:02}T22:00:00.000Z" for day in range(22, 29)]
    bench.double.lists.page = 3
    bench.put("/v2/cycle", *[whoop_cycle(id=number, start=day, end=None) for number, day in enumerate(days)])
    bench.rows.until["whoop", "anna", "cycle"] = NOW - 20 * DAY
    await bench.job.run()
    assert sorted({event.document_id for event in bench.log.events()}) == [f"cycle/{n}" for n in range(7)]
    assert {query.get("nextToken") for query in bench.asked("/v2/cycle")} == {None, "page+/=3", "page+/=6"}


async def test_pages_that_do_not_end_are_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MOST_PAGES", 3)
    bench.double.lists.endless = True
    await bench.job.run()
    assert bench.outcomes() == {("oura", "unusable"): 8, ("whoop", "unusable"): 4}
    assert bench.rows.until == {}


async def test_a_round_ends_when_a_limit_is_reached_and_the_next_goes_on(bench: Bench) -> None:
    bench.double.remaining = 5
    await bench.job.run()
    assert len(bench.double.lists.asked) == 5
    assert bench.outcomes() == {("oura", "done"): 1, ("oura", "held-back"): 1, ("whoop", "held-back"): 1}
    assert len(bench.rows.until) == 2, "what was read of the second kind counts"
    bench.double.remaining = None
    await bench.job.run()
    assert len(bench.rows.until) == 12


async def test_our_own_limit_ends_a_round(bench: Bench) -> None:
    bench.limits.refuse = True
    await bench.job.run()
    assert bench.double.lists.asked == []
    assert bench.outcomes() == {("oura", "held-back"): 1, ("whoop", "held-back"): 1}


async def test_a_round_has_so_many_requests_and_then_others_their_turn() -> None:
    bench = Bench("anna", "berta", most_requests=4)
    for _ in range(2):
        await bench.job.run()
    assert sum("/usercollection/" in path for _, path, _ in bench.double.lists.asked) == 8


async def test_a_round_has_its_time(bench: Bench) -> None:
    async def slow(*_: object) -> None:
        bench.clock.now += 30

    bench.limits.spend = slow  # type: ignore[method-assign]
    await bench.job.run()
    assert len(bench.asked("/v2/usercollection/sleep")) == 3
    assert sum("/usercollection/" in path for _, path, _ in bench.double.lists.asked) == 3


async def test_a_person_whose_connection_is_broken_is_passed_over() -> None:
    bench = Bench("anna", "berta")
    bench.tokens.errors["anna"] = NotAllowedError("not connected", connection_broken=True)
    await bench.job.run()
    assert {person for person, _, _ in bench.double.lists.asked} == {"berta"}
    assert bench.outcomes()["oura", "not-connected"] == 1
    assert bench.outcomes()["whoop", "not-connected"] == 1
    await bench.job.run()
    assert bench.outcomes()["oura", "not-connected"] == 1, "not again so soon"
    del bench.tokens.errors["anna"]
    bench.now += 7 * HOUR
    await bench.job.run()
    assert ("oura", "anna", "sleep") in bench.rows.until


async def test_tokens_that_do_not_open_hold_nobody_up() -> None:
    bench = Bench("anna", "berta")
    bench.tokens.errors["anna"] = UnknownKeyError("unknown")
    await bench.job.run()
    assert bench.outcomes()["whoop", "tokens-unreadable"] == 1
    assert ("whoop", "berta", "sleep") in bench.rows.until


async def test_a_missing_scope_leaves_the_other_kinds(bench: Bench) -> None:
    bench.double.grants.clear()
    bench.double.connect("anna", {"daily", "read:sleep"})
    await bench.job.run()
    assert bench.outcomes()["oura", "refused"] == 4  # session, workout, spo2, heart rates
    assert ("oura", "anna", "sleep") in bench.rows.until
    assert ("oura", "anna", "heartrate") not in bench.rows.until


async def test_a_vendor_that_fails_on_one_person_ends_the_round_and_not_the_next_one() -> None:
    bench = Bench("anna", "berta")
    bench.double.faults.append(Fault(503, path="/v2/usercollection/"))
    await bench.job.run()
    assert bench.outcomes()["oura", "vendor-away"] == 1
    assert not any(provider == "oura" for provider, _, _ in bench.rows.until)
    await bench.job.run()
    assert sum(provider == "oura" for provider, _, _ in bench.rows.until) == 15


async def test_a_page_of_which_nothing_can_be_read_stops_nothing(bench: Bench) -> None:
    bench.put("/v2/cycle", {"id": 1, "created_at": "2025-03-01T00:00:00Z", "score_state": "?"})
    await bench.job.run()
    assert bench.outcomes()["whoop", "unreadable-page"] == 1
    assert bench.rows.until["whoop", "anna", "cycle"] == NOW


async def test_what_is_no_list_is_not_taken_for_an_empty_one(bench: Bench) -> None:
    bench.double.faults.append(Fault(200, body=b"{}", path="/v2/cycle"))
    await bench.job.run()
    assert bench.outcomes()["whoop", "unusable"] == 1
    assert ("whoop", "anna", "cycle") not in bench.rows.until


async def test_nothing_counts_as_reconciled_before_its_events_are_durable(bench: Bench) -> None:
    bench.put("/v2/usercollection/daily_activity", oura_activity())
    bench.rows.until["oura", "anna", "daily_activity"] = NOW - DAY
    bench.log.refusals = 1
    with pytest.raises(UnavailableError):
        await bench.job.run()
    assert bench.rows.until["oura", "anna", "daily_activity"] == NOW - DAY
    await bench.job.run()
    assert bench.rows.until["oura", "anna", "daily_activity"] == NOW
    assert len(bench.log.events()) == 1


async def test_the_gauge_says_how_many_wait(bench: Bench) -> None:
    bench.limits.refuse = True
    await bench.job.run()
    text = generate_latest(bench.metrics.registry).decode()
    assert 'auren_collector_reconciliations_waiting{provider="oura"} 8.0' in text
    assert 'auren_collector_reconciliations_waiting{provider="whoop"} 4.0' in text


async def test_a_limit_of_one_vendor_is_none_of_the_other(bench: Bench) -> None:
    bench.double.faults.append(Fault(429, path="/v2/usercollection/"))
    await bench.job.run()
    assert bench.limits.pauses == [60]
    assert bench.outcomes() == {("oura", "held-back"): 1, ("whoop", "done"): 4}


def test_what_no_webhook_tells_is_asked_for_often_and_all_else_seldom() -> None:
    settings = CollectorSettings.model_construct(reconcile_seconds=21600.0, poll_seconds=3600.0)
    nobody = SimpleNamespace(page=None)
    of_oura, of_whoop = sources(settings, cast(Vendors, SimpleNamespace(oura=nobody, whoop=nobody)))
    assert {name for name, every in of_oura.every.items() if every == HOUR} == {"heartrate"}
    assert {name for name, every in of_whoop.every.items() if every == HOUR} == {"cycle"}
    assert set(of_oura.every) == {"heartrate", *oura.READERS}
    assert {*of_oura.every.values(), *of_whoop.every.values()} == {HOUR, 6 * HOUR}
    assert set(of_whoop.every) == set(LISTS) == set(whoop.READERS)


def test_the_rounds_of_a_day_leave_more_than_half_of_whoops_quota() -> None:
    rounds = DAY.total_seconds() / CollectorSettings.model_fields["reconcile_round_seconds"].default
    a_day = next(quota for quota in QUOTAS if quota.seconds == DAY.total_seconds())
    assert WHOOP_REQUESTS * rounds < a_day.requests / 2
