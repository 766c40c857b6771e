"""Notices of Oura and WHOOP: the document is fetched and becomes events, and each way to fail has its own end."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import structlog

from auren.bridge.errands import AWAY_SECONDS, LIGHT_AT_ONCE
from auren.bridge.fetching import HOLD_SECONDS
from auren.bridge.later import GONE_PATIENCE, PATIENCE
from auren.bridge.tokens import UnknownKeyError
from auren.bridge.vendors import RetryLaterError
from auren.events import Event
from auren.link import UnavailableError
from tests.unit.services.collecting import NOW, Works, arrived
from tests.unit.services.vendor_documents import (
    SLEEP_ID,
    oura_notice,
    oura_sleep,
    whoop_notice,
    whoop_recovery,
    whoop_sleep,
)
from tests.unit.services.vendor_double import Fault

USER = "anna"
OURA_SLEEP = f"/v2/usercollection/sleep/{SLEEP_ID}"
WHOOP_SLEEP = f"/v2/activity/sleep/{SLEEP_ID}"
WHOOP_RECOVERY = "/v2/cycle/93845/recovery"


@pytest.fixture
def works() -> Works:
    """Anna is connected with both vendors, which have a night of hers."""
    works = Works()
    works.people.users |= {("oura", "a1B2-oura"): USER, ("whoop", "456"): USER}
    for vendor in (works.oura, works.whoop):
        vendor.double.connect(USER)
    works.oura.double.documents[USER, OURA_SLEEP] = oura_sleep()
    works.whoop.double.documents |= {(USER, WHOOP_SLEEP): whoop_sleep(), (USER, WHOOP_RECOVERY): whoop_recovery()}
    return works


async def notified(works: Works, provider: str, *notices: dict[str, Any]) -> None:
    await works.collector.handle([arrived(provider, notice) for notice in notices])


async def turn(works: Works, after: float = 0.0) -> None:
    await works.errands.turn(NOW + timedelta(seconds=after))


def due(works: Works) -> list[float]:
    """In how many seconds each parked delivery is due."""
    return sorted((parked.due_at - NOW).total_seconds() for parked in works.park.parked.values())


def kinds(works: Works) -> dict[tuple[str, str], Event]:
    """The last event of each kind and document."""
    return {(event.kind, event.document_id): event for event in works.log.events()}


async def test_what_oura_names_is_fetched_and_becomes_events(works: Works) -> None:
    await notified(works, "oura", oura_notice())
    await turn(works)
    assert works.park.parked == {}
    found = kinds(works)
    night = found["sleep", f"sleep/{SLEEP_ID}"]
    assert (night.user_id, night.version) == (USER, 1740902370000)
    assert {key for key, _, _ in works.log.sent} == {USER.encode()}
    assert works.metric('fetches_total{outcome="fetched",provider="oura"}') == 1
    assert works.metric('documents_total{provider="oura",type="sleep"}') == 1
    assert works.metric('deliveries_total{outcome="decoded",provider="oura"}') == 1


async def test_whoops_recovery_comes_through_its_sleep(works: Works) -> None:
    await notified(works, "whoop", whoop_notice(type="recovery.updated"))
    await turn(works)
    [event] = works.log.events()
    assert event.document_id == f"recovery/{SLEEP_ID}"
    assert {reading.metric: reading.value for reading in event.readings}["resting_heart_rate"] == 54
    assert list(works.whoop.double.asked()) == [WHOOP_SLEEP, WHOOP_RECOVERY]


async def test_deletions_need_no_vendor(works: Works) -> None:
    await notified(works, "whoop", whoop_notice(type="sleep.deleted"))
    await notified(works, "oura", oura_notice(event_type="delete"))
    await turn(works)
    assert sorted(kinds(works)) == [("deletion", f"recovery/{SLEEP_ID}"), ("deletion", f"sleep/{SLEEP_ID}")]
    assert {event.provider for event in works.log.events()} == {"oura", "whoop"}
    assert (works.oura.double.requests, works.whoop.double.requests) == ([], [])
    assert works.park.parked == {}


async def test_a_burst_about_one_document_is_one_question(works: Works) -> None:
    created, updated = oura_notice(event_type="create"), oura_notice(event_time="2025-03-02T08:10:00+00:00")
    await notified(works, "oura", created, updated, created)
    await turn(works)
    assert works.oura.double.asked() == {OURA_SLEEP: 1}
    assert works.park.parked == {}
    versions = {event.version for event in works.log.events() if event.kind == "sleep"}
    assert versions == {1740902370000, 1740903000000}


async def test_each_person_is_asked_for_with_their_own_token(works: Works) -> None:
    works.people.users["oura", "other"] = "ben"
    works.oura.double.connect("ben")
    works.oura.double.documents["ben", OURA_SLEEP] = oura_sleep(average_heart_rate=70)
    await notified(works, "oura", oura_notice(), oura_notice(user_id="other"))
    await turn(works)
    assert works.oura.double.asked() == {OURA_SLEEP: 2}
    assert {event.user_id for event in works.log.events()} == {"anna", "ben"}


async def test_a_document_that_is_not_there_yet_is_asked_for_again(works: Works) -> None:
    document = works.oura.double.documents.pop((USER, OURA_SLEEP))
    await notified(works, "oura", oura_notice())
    await turn(works)
    assert (works.park.reasons, due(works)) == (["gone"], [30.0])
    works.oura.double.documents[USER, OURA_SLEEP] = document
    await turn(works, 30)
    assert works.log.events()
    assert works.park.parked == {}


async def test_a_document_that_stays_away_is_done_and_no_dead_letter(works: Works) -> None:
    works.oura.double.documents.clear()
    await notified(works, "oura", oura_notice())
    while works.park.parked:
        await turn(works, due(works)[0])
    assert works.oura.double.asked()[OURA_SLEEP] == 7
    assert (works.log.sent, works.log.dead) == ([], [])
    assert works.metric('deliveries_total{outcome="gone",provider="oura"}') == 1


async def test_an_old_notice_of_a_document_that_is_gone_is_done_at_once(works: Works) -> None:
    works.oura.double.documents.clear()
    await notified(works, "oura", oura_notice())
    await turn(works, GONE_PATIENCE.total_seconds())
    assert works.park.parked == {}
    assert works.log.dead == []


async def test_a_person_who_must_connect_again_is_looked_for_every_minute(works: Works) -> None:
    works.oura.double.revoke(USER)
    await notified(works, "oura", oura_notice())
    delays = []
    for _ in range(6):
        before = due(works)[0]
        await turn(works, before)
        delays.append(due(works)[0] - before)
    assert delays == [10, 20, 40, 60, 60, 60]
    assert works.park.reasons == ["not-connected"]
    works.oura.double.connect(USER)
    await turn(works, due(works)[0])
    assert works.log.events()


async def test_a_person_who_never_connects_again_is_a_dead_letter_after_a_day(works: Works) -> None:
    works.oura.double.revoke(USER)
    await notified(works, "oura", oura_notice())
    await turn(works)
    await turn(works, PATIENCE.total_seconds())
    [dead] = works.log.dead
    assert (dead["stage"], dead["error"]) == ("wait", "not-connected: not connected")
    assert works.park.parked == {}


async def test_a_missing_scope_is_a_dead_letter_at_once(works: Works) -> None:
    works.oura.double.revoke(USER)
    works.oura.double.connect(USER, scopes={"workout"})
    await notified(works, "oura", oura_notice())
    await turn(works)
    [dead] = works.log.dead
    assert (dead["stage"], dead["topic"]) == ("fetch", "biometric-webhooks.dlq")
    assert dead["error"] == "a scope is missing, or the subscription at the vendor has ended"
    assert works.metric('fetches_total{outcome="refused",provider="oura"}') == 1


async def test_retry_after_is_honoured_and_meanwhile_nobody_is_asked(works: Works) -> None:
    works.oura.double.remaining, works.oura.double.retry_after = 1, 90
    ids = [f"doc-{number}" for number in range(LIGHT_AT_ONCE + 10)]
    path = "/v2/usercollection/sleep/"
    works.oura.double.documents |= {(USER, path + name): oura_sleep(id=name) for name in ids}
    await notified(works, "oura", *(oura_notice(object_id=name) for name in ids))
    await turn(works)
    asked = works.oura.double.asked().total()
    assert asked <= LIGHT_AT_ONCE + 1  # those that were under way already; no other one began
    assert set(works.park.reasons) == {"held-back"}
    assert {parked.attempts for parked in works.park.parked.values()} == {1}
    assert 90.0 in due(works)
    assert works.oura.limits.pauses[0] == 90.0
    works.oura.double.remaining = None
    await turn(works, 90)
    assert works.park.parked == {}
    assert len({event.document_id for event in works.log.events()}) == len(ids)


async def test_a_vendor_that_holds_us_back_holds_up_no_other(works: Works) -> None:
    works.whoop.limits.refuse = True
    await notified(works, "whoop", whoop_notice(), whoop_notice(type="workout.updated"))
    await turn(works)
    assert due(works) == [3.0, 3.0]
    await notified(works, "oura", oura_notice())
    await notified(works, "whoop", whoop_notice(type="workout.updated", trace_id="another"))
    await turn(works)
    assert {event.provider for event in works.log.events()} == {"oura"}
    assert works.park.reasons.count("to-fetch") == 1  # not even taken
    works.whoop.limits.refuse = False
    await turn(works, HOLD_SECONDS)
    assert {event.provider for event in works.log.events()} == {"oura", "whoop"}


async def test_a_vendor_that_fails_is_tried_again_ever_more_seldom(works: Works) -> None:
    works.oura.double.faults.extend([Fault(503)] * 2)
    await notified(works, "oura", oura_notice())
    await turn(works)
    assert (works.park.reasons, due(works)) == (["vendor-away"], [30.0])
    await turn(works, 30)
    assert due(works) == [90.0]
    await turn(works, 90)
    assert works.log.events()
    assert works.metric('fetches_total{outcome="vendor-away",provider="oura"}') == 2


async def test_what_the_vendor_refuses_is_a_dead_letter(works: Works) -> None:
    works.oura.double.faults.append(Fault(422))
    await notified(works, "oura", oura_notice(), oura_notice(object_id="a.b"))
    await turn(works)
    assert sorted(dead["error"] for dead in works.log.dead) == ["no id of a document", "the vendor answered 422"]
    assert {dead["stage"] for dead in works.log.dead} == {"fetch"}
    assert works.park.parked == {}


async def test_a_document_that_cannot_be_read_is_a_dead_letter(works: Works) -> None:
    works.oura.double.documents[USER, OURA_SLEEP] = {"id": SLEEP_ID, "bedtime_start": "anna's night"}
    await notified(works, "oura", oura_notice())
    await turn(works)
    [dead] = works.log.dead
    assert (dead["stage"], dead["error"]) == ("decode", "nothing can be read: sleep:date")


async def test_a_score_that_whoop_still_computes_is_waited_for(works: Works) -> None:
    pending = whoop_sleep(score_state="PENDING_SCORE", score=None)
    works.whoop.double.documents[USER, WHOOP_SLEEP] = pending
    await notified(works, "whoop", whoop_notice())
    await turn(works)
    assert (works.park.reasons, due(works), works.log.sent) == (["pending-score"], [60.0], [])
    works.whoop.double.documents[USER, WHOOP_SLEEP] = whoop_sleep()
    await turn(works, 60)
    assert [event.kind for event in works.log.events()] == ["sleep"]


async def test_tokens_that_do_not_open_wait_and_are_told_of_once(works: Works) -> None:
    works.oura.failure = UnknownKeyError("encrypted with a key that is not in the keyring")
    with structlog.testing.capture_logs() as written:
        await notified(works, "oura", oura_notice(), oura_notice(object_id="2"))
        await turn(works)
        await turn(works, 60)
    assert works.park.reasons == ["tokens-unreadable"] * 2
    assert [line["log_level"] for line in written] == ["error"]
    works.oura.failure = None
    await turn(works, 3600)
    assert works.log.events()


async def test_while_the_tokens_table_is_away_nothing_is_an_attempt(works: Works) -> None:
    works.oura.failure = UnavailableError("database", "away")
    await notified(works, "oura", oura_notice())
    with pytest.raises(UnavailableError):
        await turn(works)
    [parked] = works.park.parked.values()
    assert (parked.reason, parked.attempts, due(works)) == ("to-fetch", 1, [AWAY_SECONDS])


async def test_our_missing_credentials_hold_deliveries_back(works: Works) -> None:
    works.oura.failure = RetryLaterError(300, "no client credentials")
    await notified(works, "oura", oura_notice())
    await turn(works)
    assert (works.park.reasons, due(works)) == (["held-back"], [300.0])
    await turn(works, PATIENCE.total_seconds())
    assert [dead["error"] for dead in works.log.dead] == ["held-back: no client credentials"]


async def test_an_unknown_person_who_connects_is_found_within_a_minute(works: Works) -> None:
    works.people.users.clear()
    await notified(works, "whoop", whoop_notice())
    for _ in range(20):
        await turn(works, due(works)[0])
    before = due(works)[0]
    works.people.users["whoop", "456"] = USER
    await turn(works, before)
    assert works.log.events()
    assert works.park.parked == {}


async def test_nothing_is_fetched_for_a_person_who_was_erased(works: Works) -> None:
    await notified(works, "oura", oura_notice())
    works.erased[USER] = NOW
    await turn(works)
    assert (works.oura.double.requests, works.log.sent, works.park.parked) == ([], [], {})
    assert works.metric('deliveries_total{outcome="erased",provider="oura"}') == 1


async def test_logs_and_metrics_name_neither_people_nor_documents(works: Works) -> None:
    works.oura.double.faults.append(Fault(403, body=json.dumps({"detail": USER}).encode()))
    with structlog.testing.capture_logs() as written:
        await notified(works, "oura", oura_notice(), oura_notice(object_id="secret-document"))
        await turn(works)
    assert works.log.dead
    for secret in (USER, "secret-document", SLEEP_ID, "a1B2-oura"):
        assert secret not in str(written)
        assert secret not in str([dead["error"] for dead in works.log.dead])
