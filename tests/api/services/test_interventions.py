"""Interventions on real stores: one switch leads to one, whoever dies meanwhile, and only where it is wanted."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from auren.modes import Evidence, Mode, switches
from auren.modes.switches import ModeSwitch, switch_id
from auren.neuros.interventions.records import Intervention, decode, intervention_id
from auren.neuros.protocols import PROTOCOLS
from auren.topics import EVENTS, INTERVENTIONS, MODE_SWITCHES, MODE_SWITCHES_DLQ, NEUROS_GROUP
from tests.api.processes import Servers
from tests.api.services.measurements import event, publish, publish_raw, query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.waiting import until

USER = "neuros-advanced"
CHAT = "chat:neuros"
ON = {"interventions": {"enabled": True, "quiet_hours": None, "daily_cap": 48}}
NO_COOLDOWN = {"AUREN_INTERVENTIONS_COOLDOWN_SECONDS": "0", "AUREN_DATABASE_POOL_SIZE": "4"}


def start(platform: Platform, **environment: str) -> Service:
    return platform.service("tests.api.services.intervening", user=USER, environment=NO_COOLDOWN | environment)


@pytest.fixture(scope="module")
def shared(prepared_platform: Platform) -> Iterator[Service]:
    """A process with the interventions of NEUROS."""
    with Servers("interventions") as servers:
        prepared_platform.servers = servers
        yield start(prepared_platform)


@pytest.fixture
def neuros(shared: Service, platform: Platform) -> Service:
    """It runs, with all it needs."""
    shared.server.start()
    shared.wait_ready()
    return shared


def switch(
    user: str, mode: Mode = Mode.REFLEX, previous: Mode = Mode.BASELINE, *, seconds_ago: float = 0
) -> ModeSwitch:
    came_from, at = uuid.uuid4(), datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return ModeSwitch(
        switch_id=switch_id(came_from),
        user_id=user,
        at=at,
        mode=mode,
        previous=previous,
        rule="hrv-low",
        reason="HRV (RMSSD) is 22 ms, below 25 ms",
        confidence=0.9,
        evidence=(Evidence("hrv_rmssd", 22, "ms", at, "below", 25),),
        off=(),
        event_id=came_from,
    )


async def send(platform: Platform, *found: ModeSwitch | tuple[bytes, bytes]) -> None:
    """Append switches, or (key, value) as they are, in order."""
    async with AIOKafkaProducer(
        bootstrap_servers=platform.kafka.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=platform.kafka.admin_username,
        sasl_plain_password=platform.kafka.admin_password,
    ) as producer:
        for one in found:
            key, value = one if isinstance(one, tuple) else (one.user_id.encode(), switches.encode(one))
            headers = [] if isinstance(one, tuple) else switches.headers(one)
            await producer.send_and_wait(MODE_SWITCHES.name, value, key, headers=headers)


def prefer(platform: Platform, neuros: Service, user: str, wanted: dict[str, Any] | None = None) -> httpx.Response:
    return httpx.put(neuros.url("/preferences"), json=wanted or ON, headers=platform.bearer(user, CHAT), timeout=60)


def erase(platform: Platform, neuros: Service, user: str) -> httpx.Response:
    return httpx.delete(neuros.url("/erase"), headers=platform.bearer(user, CHAT), timeout=60)


def opted_in(platform: Platform, neuros: Service) -> str:
    user = new_user()
    assert prefer(platform, neuros, user).status_code == 200
    return user


async def consumed(platform: Platform, *topics: Any) -> None:
    """Wait until the group has committed all that these topics hold."""
    for topic in topics or (MODE_SWITCHES,):
        async with platform.reader(topic, NEUROS_GROUP) as (consumer, partitions):

            async def read() -> bool:
                ends = await consumer.end_offsets(partitions)
                at = [await consumer.committed(p) or 0 for p in partitions]
                return all(found >= ends[p] for found, p in zip(at, partitions, strict=True))

            await until(read, 120)


async def offered(platform: Platform, user: str) -> list[Intervention]:
    """What the topic holds of a person, once the outbox is empty."""

    async def empty() -> bool:
        return not await query(platform, "SELECT FROM intervention_outbox WHERE user_id = $1", user)

    await until(empty, 120)
    return [decode(record.value or b"") for record in await platform.records(INTERVENTIONS, user, 0)]


def listed(platform: Platform, neuros: Service, user: str, path: str = "/interventions") -> dict[str, Any]:
    answer = neuros.get(path, platform.bearer(user, CHAT))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def count(service: Service, outcome: str) -> float:
    lines = [x for x in service.metrics().splitlines() if x.startswith("auren_neuros_switches_total{")]
    return sum(float(line.split()[-1]) for line in lines if f'"{outcome}"' in line)


async def test_a_switch_leads_to_one_record_a_row_and_an_entry_of_the_list(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    one = switch(user)
    await send(platform, one, one)  # the same switch twice, as after a lost commit
    await consumed(platform)
    (record,) = await platform.records(INTERVENTIONS, user, 1)
    intervention = decode(record.value or b"")
    assert record.key == user.encode()
    headers = dict(record.headers)
    assert headers["ce_type"] == b"ai.aupex.auren.intervention.v1"
    assert headers["ce_id"].decode() == str(intervention.id) == str(intervention_id(one.switch_id))
    assert (intervention.mode, intervention.level, intervention.protocol) == (Mode.REFLEX, "high", "breathing-4-7-8")
    assert intervention.evidence == one.evidence
    (shown,) = listed(platform, neuros, user)["interventions"]
    assert shown["id"] == str(intervention.id)
    assert shown["reason"] == one.reason
    assert {one["metric"] for one in shown["outcome"]} == set(PROTOCOLS["breathing-4-7-8"].measured)
    assert {one["after"] for one in shown["outcome"]} == {None}
    assert count(neuros, "duplicate") >= 1
    assert user not in neuros.server.log.read_text()


async def test_nobody_is_disturbed_who_has_not_asked_for_it(platform: Platform, neuros: Service) -> None:
    silent, refused, before = new_user(), new_user(), count(neuros, "not-opted-in")
    off = {"interventions": {"enabled": False, "quiet_hours": None}}
    assert prefer(platform, neuros, refused, off).status_code == 200
    assert listed(platform, neuros, silent, "/preferences")["interventions"]["enabled"] is False
    await send(platform, switch(silent), switch(refused))
    await consumed(platform)
    assert await offered(platform, silent) == await offered(platform, refused) == []
    assert count(neuros, "not-opted-in") == before + 2


async def test_quiet_hours_and_the_cap_of_the_persons_day(platform: Platform, neuros: Service) -> None:
    sleeping, capped = new_user(), new_user()
    now = datetime.now(UTC)
    hours = {
        "from": (now - timedelta(hours=1)).strftime("%H:%M"),
        "to": (now + timedelta(hours=1)).strftime("%H:%M"),
        "timezone": "UTC",
    }
    prefer(platform, neuros, sleeping, {"interventions": {"enabled": True, "quiet_hours": hours}})
    prefer(platform, neuros, capped, {"interventions": {**ON["interventions"], "daily_cap": 2}})
    await send(platform, switch(sleeping), *(switch(capped) for _ in range(4)))
    await consumed(platform)
    assert await offered(platform, sleeping) == []
    assert len(await offered(platform, capped)) == 2


async def test_the_cooldown_holds_between_replicas_too(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    neuros.server.stop()
    patient = start(platform, AUREN_INTERVENTIONS_COOLDOWN_SECONDS="3600")
    patient.wait_ready()
    await send(platform, switch(user), switch(user, Mode.SENTINEL, Mode.REFLEX))
    await consumed(platform)
    assert [found.mode for found in await offered(platform, user)] == [Mode.REFLEX]
    patient.server.kill()
    patient.server.start()
    await send(platform, switch(user, Mode.GUARDIAN, Mode.SENTINEL))
    await consumed(platform)
    assert len(await offered(platform, user)) == 1


async def test_what_comes_too_late_or_is_over_is_not_told(platform: Platform, neuros: Service) -> None:
    late, over = opted_in(platform, neuros), opted_in(platform, neuros)
    await query(
        platform,
        "INSERT INTO people (user_id, revision, clock, mode, mode_since, state)"
        " VALUES ($1, 1, now(), 'baseline', now(), 'null')",
        over,
    )
    await send(platform, switch(late, seconds_ago=3600), switch(over))
    await consumed(platform)
    assert await offered(platform, late) == await offered(platform, over) == []


async def test_what_nobody_answered_is_withdrawn_when_its_cause_is_over(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    await send(platform, switch(user))
    await consumed(platform)
    async with following(platform, neuros, user) as tell:
        assert (await tell())["mode"] == "reflex"
    await send(platform, switch(user, Mode.BASELINE, Mode.REFLEX))
    await consumed(platform)
    (shown,) = listed(platform, neuros, user)["interventions"]
    assert shown["withdrawn_at"] is not None
    await send(platform, switch(user, Mode.SENTINEL))
    async with following(platform, neuros, user) as tell:
        assert (await tell())["mode"] == "sentinel"  # and not the first one


async def test_poison_is_put_aside_and_the_next_switch_is_handled(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    key = user.encode()
    unstorable = json.loads(switches.encode(switch(user)))
    unstorable["reason"] = "a \0 byte"
    bad = [b"", b"\xff\xfe", b"{}", json.dumps(unstorable).encode()]
    await publish_raw(platform, [(b"\0", b"{}", []), (b"", b"{}", []), (key, b"no event", [])])
    await send(platform, *((key, value) for value in bad), switch(user))
    await consumed(platform, MODE_SWITCHES, EVENTS)
    assert len(await offered(platform, user)) == 1
    letters = await platform.records(MODE_SWITCHES_DLQ, user, len(bad))
    assert sorted(letter.value or b"" for letter in letters) == sorted(bad)
    for letter in letters:
        assert dict(letter.headers)["stage"] == b"neuros.interventions"
    assert neuros.ready()


async def test_killed_again_and_again_each_switch_leads_to_one_record(platform: Platform, neuros: Service) -> None:
    """Two replicas, of which one is killed at a random moment and comes back: seven times."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    users = [opted_in(platform, neuros) for _ in range(12)]
    other = start(platform)
    other.wait_ready()
    sent: list[ModeSwitch] = []
    for victim in (neuros, other, other, neuros, other, neuros, other):
        batch = [switch(user, chance.choice([Mode.REFLEX, Mode.SENTINEL])) for user in users]
        sending = asyncio.create_task(send(platform, *batch))
        await asyncio.sleep(chance.uniform(0, 0.6))
        victim.server.kill()
        await sending
        sent += batch
        victim.server.start()
    await consumed(platform)
    for user in users:
        found = await offered(platform, user)
        wanted = [intervention_id(one.switch_id) for one in sent if one.user_id == user]
        assert sorted(one.id for one in found) == sorted(wanted)
        rows = await query(platform, "SELECT id FROM interventions WHERE user_id = $1", user)
        assert sorted(row["id"] for row in rows) == sorted(wanted)


async def test_a_replica_that_joins_and_one_that_leaves_lose_and_repeat_nothing(
    platform: Platform, neuros: Service
) -> None:
    users = [opted_in(platform, neuros) for _ in range(6)]
    sent: list[ModeSwitch] = []

    async def all_of(rounds: int) -> None:
        for _ in range(rounds):
            sent.extend(batch := [switch(user) for user in users])
            await send(platform, *batch)

    for _ in range(3):
        sending = asyncio.create_task(all_of(4))
        other = start(platform)
        other.wait_ready()
        await sending
        sending = asyncio.create_task(all_of(4))
        other.server.stop()
        await sending
    await consumed(platform)
    for user in users:
        wanted = sorted(intervention_id(one.switch_id) for one in sent if one.user_id == user)
        assert sorted(one.id for one in await offered(platform, user)) == wanted


async def test_kafka_and_the_database_away_delay_and_lose_nothing(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    await query(platform, "CHECKPOINT")  # the tests' server writes what is committed later than it says so
    platform.postgres.server.kill()
    await send(platform, one := switch(user))
    platform.postgres.server.start()
    platform.kafka.server.kill()
    platform.kafka.server.start()
    # A broker that has just started does not tell the end of its log yet.
    await platform.records(INTERVENTIONS, user, 1, seconds=120)
    await consumed(platform)
    assert [found.id for found in await offered(platform, user)] == [intervention_id(one.switch_id)]


@asynccontextmanager
async def following(platform: Platform, service: Service, user: str) -> AsyncIterator[Callable[[], Any]]:
    """A socket's view: a function that waits for the next intervention."""
    async with (
        httpx.AsyncClient(timeout=90) as client,
        client.stream("GET", service.url("/follow"), headers=platform.bearer(user, CHAT)) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.aiter_lines()

        async def tell() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(await anext(lines))
            return found

        yield tell


async def test_every_socket_on_every_replica_is_told_once(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    other = start(platform)
    other.wait_ready()
    async with following(platform, neuros, user) as here, following(platform, other, user) as there:
        sent = [switch(user, mode) for mode in (Mode.REFLEX, Mode.SENTINEL, Mode.GUARDIAN)]
        for one in sent:
            await send(platform, one)
            wanted = str(intervention_id(one.switch_id))
            assert (await here())["id"] == (await there())["id"] == wanted

    async def noted() -> bool:
        rows = await query(platform, "SELECT delivered_at FROM interventions WHERE user_id = $1", user)
        # The last one may not be noted: whoever left did not ask for the next.
        return sum(row["delivered_at"] is not None for row in rows) >= 2

    await until(noted)
    other.server.stop()


async def test_who_comes_back_gets_what_is_not_answered(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    await send(platform, first := switch(user), second := switch(user, Mode.SENTINEL, Mode.REFLEX))
    await consumed(platform)
    ids = [str(intervention_id(one.switch_id)) for one in (first, second)]
    async with following(platform, neuros, user) as tell:
        assert [(await tell())["id"] for _ in ids] == ids
    answer = neuros.post(f"/interventions/{ids[0]}/acknowledge", {"outcome": "done"}, platform.bearer(user, CHAT))
    assert answer.status_code == 200
    assert answer.json()["acknowledged_as"] == "done"
    async with following(platform, neuros, user) as tell:
        assert (await tell())["id"] == ids[1]


async def test_without_redis_sockets_are_told_all_the_same(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    other = start(platform)
    other.wait_ready()
    platform.redis.server.stop()
    async with following(platform, neuros, user) as here, following(platform, other, user) as there:
        await send(platform, switch(user))
        assert (await here())["id"] == (await there())["id"]
        platform.redis.server.start()
        await send(platform, one := switch(user, Mode.SENTINEL))
        wanted = str(intervention_id(one.switch_id))
        assert (await here())["id"] == (await there())["id"] == wanted


async def test_what_came_of_it_is_measured_from_events(platform: Platform, neuros: Service) -> None:
    user, bystander = opted_in(platform, neuros), new_user()
    await send(platform, switch(user))
    await consumed(platform)
    over = datetime.now(UTC) + timedelta(minutes=6)  # as a phone may send it whose clock goes ahead
    await publish(
        platform,
        [
            event(user, [81, 78], start=over - timedelta(minutes=5), document="d1"),
            event(bystander, [50], start=over, document="d2"),
        ],
    )
    await publish(platform, [event(user, [77], start=over, document="d3")] * 2)
    await consumed(platform, EVENTS)
    (shown,) = listed(platform, neuros, user)["interventions"]
    assert {"metric": "heart_rate", "before": None, "after": 77, "effect": None} in shown["outcome"]


async def test_what_followed_an_exercise_that_was_done_is_remembered(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)
    await query(
        platform,
        "INSERT INTO readings (time, user_id, metric, source, value, provider, document_id, version, event_id,"
        " received_at) VALUES (now() - interval '5 minutes', $1, 'heart_rate', 'oura/ring', 90, 'oura', 'd0', 1,"
        " gen_random_uuid(), now())",
        user,
    )
    await send(platform, switch(user))
    await consumed(platform)
    (shown,) = listed(platform, neuros, user)["interventions"]
    done = neuros.post(f"/interventions/{shown['id']}/acknowledge", {"outcome": "done"}, platform.bearer(user, CHAT))
    assert done.status_code == 200
    over = datetime.now(UTC) + timedelta(minutes=6)
    await publish(platform, [event(user, [70], start=over, document="d1")])
    await consumed(platform, EVENTS)
    learnt = neuros.get("/learnt", platform.bearer(user, CHAT)).json()
    assert learnt == [
        f"The exercise {shown['title']} was offered, because {shown['reason']}.",
        f"After the exercise {shown['title']}, the heart rate was better than before.",
    ]


async def test_nothing_of_somebody_erased_is_kept_or_made(platform: Platform, neuros: Service) -> None:
    user, bystander = opted_in(platform, neuros), opted_in(platform, neuros)
    await send(platform, switch(user), switch(bystander))
    await consumed(platform)
    assert len(await offered(platform, user)) == 1
    await query(platform, "INSERT INTO erased_users (user_id) VALUES ($1)", user)
    answer = erase(platform, neuros, user)
    assert answer.json() == {"preferences": 1, "intervention_outbox": 0, "interventions": 1}
    before = count(neuros, "erased")
    await send(platform, switch(user))
    await consumed(platform)
    assert count(neuros, "erased") == before + 1
    again = prefer(platform, neuros, user)
    assert again.status_code == 410
    assert again.json()["type"] == "urn:auren:problem:erased"
    for table in ("interventions", "intervention_outbox", "preferences"):
        assert not await query(platform, f"SELECT FROM {table} WHERE user_id = $1", user)
    assert len(listed(platform, neuros, bystander)["interventions"]) == 1


async def test_an_erasure_waits_for_who_writes_about_the_person(platform: Platform, neuros: Service) -> None:
    user = opted_in(platform, neuros)

    async def rush() -> None:
        for _ in range(20):
            await asyncio.to_thread(prefer, platform, neuros, user)

    rushing = asyncio.create_task(rush())
    await send(platform, *(switch(user) for _ in range(10)))
    await query(platform, "INSERT INTO erased_users (user_id) VALUES ($1)", user)
    await asyncio.to_thread(erase, platform, neuros, user)
    await rushing
    await consumed(platform)
    for table in ("interventions", "intervention_outbox", "preferences"):
        assert not await query(platform, f"SELECT FROM {table} WHERE user_id = $1", user)


async def test_pages_newest_first_and_nobody_elses(platform: Platform, neuros: Service) -> None:
    user, other = opted_in(platform, neuros), opted_in(platform, neuros)
    sent = [switch(user) for _ in range(5)]
    await send(platform, *sent, foreign := switch(other))
    await consumed(platform)
    found: list[str] = []
    path = "/interventions?limit=2"
    while True:
        page = listed(platform, neuros, user, path)
        found += [one["id"] for one in page["interventions"]]
        if page["next"] is None:
            break
        path = f"/interventions?limit=2&before={page['next']}"
    assert found == [str(intervention_id(one.switch_id)) for one in reversed(sent)]
    theirs = intervention_id(foreign.switch_id)
    answer = neuros.post(f"/interventions/{theirs}/acknowledge", {}, platform.bearer(user, CHAT))
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:auren:problem:unknown-intervention"
    assert listed(platform, neuros, user, f"/interventions?before={theirs}")["interventions"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/preferences", {}, "body.interventions"),
        ("PUT", "/preferences", {"interventions": {"enabled": "perhaps"}}, "body.interventions.enabled"),
        ("POST", f"/interventions/{uuid.UUID(int=1)}/acknowledge", {"outcome": "liked"}, "body.outcome"),
        ("POST", "/interventions/one/acknowledge", {}, "path.id"),
        ("GET", "/interventions?before=x", None, "query.before"),
        ("GET", "/interventions?limit=0", None, "query.limit"),
    ],
)
def test_a_wrong_request_names_the_field(
    platform: Platform, neuros: Service, method: str, path: str, body: dict[str, Any] | None, field: str
) -> None:
    headers = platform.bearer(new_user(), CHAT)
    answer = httpx.request(method, neuros.url(path), json=body, headers=headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_without_a_token_or_its_scope_nothing_is_told(platform: Platform, neuros: Service) -> None:
    for method, path in (
        ("GET", "/interventions"),
        ("GET", "/preferences"),
        ("PUT", "/preferences"),
        ("POST", f"/interventions/{uuid.UUID(int=1)}/acknowledge"),
    ):
        assert httpx.request(method, neuros.url(path), json=ON).status_code == 401
        headers = platform.bearer(new_user(), "read:biometrics")
        assert httpx.request(method, neuros.url(path), json=ON, headers=headers).status_code == 403
