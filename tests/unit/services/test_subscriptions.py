"""Oura's webhook subscriptions: what is made, renewed, moved and ended, and what is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import httpx
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from auren.auth import UnauthorizedError
from auren.bridge.chores import ChoreFailedError, IdleError
from auren.bridge.chores.subscriptions import RENEW_BEFORE, WANTED, OuraSubscriptions, Remembered, plan
from auren.bridge.credentials import CLIENT_ID as CLIENT_ID_FILE
from auren.bridge.credentials import CLIENT_SECRET as CLIENT_SECRET_FILE
from auren.bridge.credentials import Credentials
from auren.bridge.vendors import RetryLaterError, UnusableError, UpstreamFailedError
from auren.bridge.vendors.exchange import http_client
from auren.bridge.vendors.subscriptions import Subscription, SubscriptionApi
from auren.bridge.webhooks.oura import OuraWebhook
from auren.telemetry import Metrics
from tests.unit.services.vendor_double import CLIENT_ID, CLIENT_SECRET, Fault, VendorDouble

URL = "https://bridge.example.org"
HERE = f"{URL}/webhooks/oura"
FORMER = "https://former.example.org/webhooks/oura"
FOREIGN = "https://other-stack.example.org/webhooks/oura"


class Memory:
    """Stands for the table."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    async def all(self) -> frozenset[str]:
        return frozenset(self.ids)

    async def add(self, ids: Iterable[str]) -> None:
        self.ids |= set(ids)

    async def remove(self, ids: Iterable[str]) -> None:
        self.ids -= set(ids)


class Bench:
    """The chore between a double of Oura and a bridge that answers its challenge."""

    def __init__(self, folder: Path, public_url: str = URL) -> None:
        self.folder, self.double, self.memory = folder, VendorDouble(), Memory()
        self.oura = self.double.subscriptions
        (folder / CLIENT_ID_FILE).write_text(CLIENT_ID)
        (folder / CLIENT_SECRET_FILE).write_text(CLIENT_SECRET)
        self.metrics = Metrics("collector")
        self.client = http_client(httpx.ASGITransport(self.double.app))
        self.webhook = OuraWebhook(Credentials(folder), URL)
        self.oura.challenge = self.challenge
        self.challenges = 0
        self.job = self.at(public_url)

    def at(self, public_url: str) -> OuraSubscriptions:
        """The chore of a bridge at another address."""
        credentials = Credentials(self.folder)
        api = SubscriptionApi("https://oura.example.org/", self.client, credentials)
        metrics = self.metrics = Metrics("collector")
        return OuraSubscriptions(api, credentials, public_url, cast(Remembered, self.memory), metrics)

    async def challenge(self, address: str, token: str) -> bool:
        """As `serve` answers it at its address; nobody is at others."""
        self.challenges += 1
        query = urlencode({"verification_token": token, "challenge": "c"}).encode()
        try:
            return address == self.webhook.callback and self.webhook.challenge(query) == {"challenge": "c"}
        except UnauthorizedError:
            return False

    def kinds(self, address: str = HERE) -> list[tuple[str, str]]:
        """What an address is told of."""
        made = self.oura.made.values()
        return sorted((s["data_type"], s["event_type"]) for s in made if s["callback_url"] == address)

    def methods(self) -> list[str]:
        return [method for method, _ in self.double.requests]

    def gauge(self, state: str) -> str:
        name = f'auren_collector_oura_subscriptions{{state="{state}"}} '
        text = generate_latest(self.metrics.registry).decode()
        return next(line.removeprefix(name) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_every_kind_that_a_decoder_reads_is_subscribed_to_and_remembered(bench: Bench) -> None:
    await bench.job.run()
    assert bench.kinds() == sorted(WANTED)
    assert len(WANTED) == 21
    assert ("sleep", "delete") in WANTED
    assert bench.memory.ids == set(bench.oura.made)
    assert bench.challenges == 21
    assert (bench.gauge("active"), bench.gauge("taken")) == ("21.0", "0.0")


async def test_what_is_there_is_left_as_it_is(bench: Bench) -> None:
    await bench.job.run()
    bench.double.requests.clear()
    await bench.job.run()
    assert bench.methods() == ["GET"]
    assert bench.gauge("active") == "21.0"


async def test_what_ends_soon_is_renewed_and_nothing_else(bench: Bench) -> None:
    await bench.job.run()
    first, second, *_ = bench.oura.made.values()
    first["expiration_time"] = (datetime.now(UTC) + RENEW_BEFORE - timedelta(hours=1)).isoformat()
    second["expiration_time"] = (datetime.now(UTC) + RENEW_BEFORE + timedelta(hours=1)).isoformat()
    bench.double.requests.clear()
    await bench.job.run()
    assert bench.double.requests[1:] == [("PUT", f"/v2/webhook/subscription/renew/{first['id']}")]
    assert datetime.fromisoformat(first["expiration_time"]) > datetime.now(UTC) + timedelta(days=80)


async def test_one_that_has_ended_before_its_renewal_is_made_anew(bench: Bench) -> None:
    await bench.job.run()
    gone = next(iter(bench.oura.made.values()))
    gone["expiration_time"] = "2025-01-01T00:00:00"
    bench.double.faults.append(Fault(200, body=json.dumps(list(bench.oura.made.values())).encode()))
    del bench.oura.made[gone["id"]]
    await bench.job.run()
    assert bench.kinds() == sorted(WANTED)
    assert bench.memory.ids == set(bench.oura.made)


async def test_others_subscriptions_are_never_touched(bench: Bench) -> None:
    foreign = [bench.oura.add(FOREIGN, "sleep", "update", timedelta(hours=1)), bench.oura.add(HERE, "tag", "create")]
    foreign += [bench.oura.add(FOREIGN, "daily_stress", "create")]
    before = {made: dict(bench.oura.made[made]) for made in foreign}
    with capture_logs() as logs:
        await bench.job.run()
    assert {made: bench.oura.made[made] for made in foreign} == before
    assert bench.memory.ids.isdisjoint(foreign)
    assert bench.kinds() == sorted({*WANTED, ("tag", "create")} - {("sleep", "update")})
    assert (bench.gauge("active"), bench.gauge("taken")) == ("20.0", "1.0")
    assert [line["kinds"] for line in logs] == [["sleep/update"]]


async def test_ours_move_with_our_address_and_others_do_not(bench: Bench) -> None:
    await bench.job.run()
    foreign = bench.oura.add(FOREIGN, "sleep", "update")
    for made in bench.oura.made.values():
        if made["callback_url"] == HERE:
            made["callback_url"] = FORMER
    bench.double.requests.clear()
    await bench.job.run()
    assert bench.methods() == ["GET", *["PUT"] * 21]
    assert bench.kinds() == sorted(WANTED)
    assert bench.oura.made[foreign]["callback_url"] == FOREIGN
    assert bench.gauge("active") == "21.0"


async def test_a_former_one_beside_the_present_one_is_ended(bench: Bench) -> None:
    await bench.job.run()
    bench.memory.ids.add(former := bench.oura.add(FORMER, "sleep", "update"))
    await bench.job.run()
    assert former not in bench.oura.made
    assert bench.memory.ids == set(bench.oura.made)


async def test_one_of_ours_that_no_decoder_reads_any_more_is_ended(bench: Bench) -> None:
    await bench.job.run()
    bench.memory.ids.add(unread := bench.oura.add(HERE, "daily_stress", "update"))
    await bench.job.run()
    assert unread not in bench.oura.made


async def test_what_was_made_before_a_crash_is_found_at_our_address(bench: Bench) -> None:
    await bench.job.run()
    bench.memory.ids.clear()
    bench.double.requests.clear()
    await bench.job.run()
    assert bench.methods() == ["GET"]
    assert bench.memory.ids == set(bench.oura.made)


async def test_what_is_gone_at_oura_is_forgotten_and_made_again(bench: Bench) -> None:
    await bench.job.run()
    former = set(bench.memory.ids)
    bench.oura.made.clear()
    await bench.job.run()
    assert bench.kinds() == sorted(WANTED)
    assert bench.memory.ids.isdisjoint(former)


async def test_a_challenge_that_nobody_answers_is_a_clear_message(bench: Bench) -> None:
    async def nobody(*_: object) -> bool:
        bench.challenges += 1
        return False

    bench.oura.challenge = nobody
    with pytest.raises(ChoreFailedError) as failed:
        await bench.job.run()
    assert str(failed.value) == (
        "3 webhook subscriptions could not be made: Oura answered 400. Oura asks "
        f"{HERE} for a challenge meanwhile, which must reach the bridge and be answered there"
    )
    assert bench.challenges == 3, "the reason would be the same for all"
    assert bench.gauge("active") == "0.0"


async def test_one_that_is_refused_keeps_none_of_the_others(bench: Bench) -> None:
    bench.double.faults.append(Fault(200, body=b"[]", path="/v2/webhook/subscription"))
    bench.double.faults.append(Fault(422, path="/v2/webhook/subscription"))
    with pytest.raises(ChoreFailedError, match="1 webhook subscriptions could not be made: Oura answered 422"):
        await bench.job.run()
    assert len(bench.kinds()) == 20
    await bench.job.run()
    assert bench.kinds() == sorted(WANTED)


async def test_a_vendor_that_does_not_answer_is_not_asked_for_the_others(bench: Bench) -> None:
    bench.double.faults.append(Fault(200, body=b"[]"))
    bench.double.faults.append(Fault(504))
    with pytest.raises(ChoreFailedError, match="Oura asks"):
        await bench.job.run()
    assert bench.methods() == ["GET", "POST"]


async def test_a_new_client_secret_is_used_and_the_former_one_still_answers(bench: Bench) -> None:
    (bench.folder / f"{CLIENT_SECRET_FILE}-previous").write_text("former")
    await bench.job.run()
    assert bench.kinds() == sorted(WANTED)


async def test_without_an_address_or_credentials_it_says_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(IdleError, match="AUREN_PUBLIC_URL"):
        await bench.at("").run()
    (tmp_path / CLIENT_ID_FILE).unlink()
    with pytest.raises(IdleError, match="no client credentials"):
        await bench.at(URL).run()
    assert bench.double.requests == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(429, {"Retry-After": "7"}), RetryLaterError),
        (Fault(503), UpstreamFailedError),
        (Fault(401), UnusableError),
        (Fault(403), UnusableError),
        (Fault(200, body=b'{"detail": "?"}'), UnusableError),
    ],
)
async def test_without_the_list_nothing_is_done(bench: Bench, fault: Fault, error: type[Exception]) -> None:
    bench.memory.ids.add("remembered")
    bench.double.faults.append(fault)
    with pytest.raises(error):
        await bench.job.run()
    assert bench.methods() == ["GET"]
    assert bench.memory.ids == {"remembered"}


def listed(expires: str) -> Subscription:
    data_type, event_type = WANTED[0]
    return Subscription("1", HERE, event_type, data_type, expires)


@pytest.mark.parametrize(
    ("expires", "soon"),
    [
        ("2025-03-10T11:59:00", True),
        ("2025-03-10T12:01:00", False),
        ("2025-03-10T13:30:00+02:00", True),
        ("2025-03-10T12:01:00.123456Z", False),
        ("2024-01-01T00:00:00Z", True),
        ("", True),
        ("in a while", True),
    ],
)
def test_when_one_ends(expires: str, soon: bool) -> None:
    now = datetime(2025, 3, 3, 12, tzinfo=UTC)
    assert bool(plan([listed(expires)], (), HERE, now).soon_over) is soon


async def test_an_id_that_is_none_never_becomes_a_path(bench: Bench) -> None:
    await bench.job.run()
    strange = bench.oura.made.pop(next(iter(bench.oura.made)))
    strange |= {"id": "../../renew", "expiration_time": ""}
    bench.oura.made["strange"] = strange
    bench.double.requests.clear()
    with pytest.raises(UnusableError):
        await bench.job.run()
    assert bench.methods() == ["GET"]
