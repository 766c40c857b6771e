"""The dead letter tool on a real broker, with no more rights than the bridge has."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient

from auren import events
from auren.bridge.dead_letters import REPLAYED_FROM
from auren.events import Delivery
from auren.topics import EVENTS, EVENTS_DLQ, TERRA_DLQ, WEBHOOKS, WEBHOOKS_DLQ, Topic
from tests.api.services.platform import Platform, new_user

USER = "biometric-bridge"
SEEN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: bytes
    err: str

    def lines(self) -> list[dict[str, Any]]:
        """The objects of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]


class Tool:
    """The command line as a process, with the environment that the bridge has in a stack."""

    def __init__(self, platform: Platform, secrets: Path, user: str = USER) -> None:
        secrets.mkdir(mode=0o700)
        (secrets / "auren_kafka_password").write_text(platform.passwords[user])
        self._environment = {
            "AUREN_SECRETS_DIR": str(secrets),
            "AUREN_KAFKA_BOOTSTRAP": platform.kafka.bootstrap,
            "AUREN_KAFKA_USERNAME": user,
        }

    async def __call__(self, *arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "auren.bridge", "dlq", *arguments,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return Ended(process.returncode or 0, out, err.decode())


@pytest.fixture
def tool(platform: Platform, tmp_path: Path) -> Tool:
    """The tool as the bridge's user."""
    return Tool(platform, tmp_path / "secrets")


def push(user: str, metric: str = "resting_heart_rate") -> Delivery:
    """A delivery of days ago."""
    sample = {"date": "2025-03-01 07:30:00 +0000", "qty": 55, "source": "Watch"}
    document = {"data": {"metrics": [{"name": metric, "units": "count/min", "data": [sample]}]}}
    body = json.dumps(document).encode()
    return Delivery(id=str(uuid.uuid4()), provider="healthkit", received_at=SEEN, body=body, user_id=user)


async def bury(platform: Platform, topic: Topic, deliveries: Sequence[Delivery], error: str) -> None:
    """Put them where a collector puts what fails."""
    async with AIOKafkaProducer(
        bootstrap_servers=platform.kafka.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=platform.kafka.admin_username,
        sasl_plain_password=platform.kafka.admin_password,
        max_request_size=topic.max_message_bytes,
        compression_type="lz4",
    ) as producer:
        for delivery in deliveries:
            headers = events.dead_letter_headers(
                delivery.headers(), stage="decode", error=error, attempts=3, first_seen=SEEN
            )
            await producer.send_and_wait(topic.name, delivery.body, headers=headers)


def reason() -> str:
    """A reason that is one test's own: the topic is everybody's."""
    return f"reason {uuid.uuid4().hex}"


async def test_list_and_show_tell_of_what_is_there(platform: Platform, tool: Tool) -> None:
    user, error = new_user(), reason()
    deliveries = [push(user), push(user)]
    before = groups(platform)
    await bury(platform, WEBHOOKS_DLQ, deliveries, error)
    listed = await tool("list", "--json", "--error", error)
    assert listed.code == 0, listed.err
    first, second = listed.lines()
    assert first["provider"] == second["provider"] == "healthkit"
    assert (first["stage"], first["error"], first["attempts"]) == ("decode", error, "3")
    assert first["size_bytes"] == len(deliveries[0].body)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(first["died_at"])) < timedelta(minutes=5)
    assert user.encode() not in listed.out
    assert error.encode() in (await tool("list", "--error", error, "--limit", "1")).out
    nothing = await tool("list", "--json", "--error", error, "--until", SEEN.isoformat())
    assert (nothing.code, nothing.out) == (0, b"")
    shown = await tool("show", first["place"], "--body")
    headers, _, body = shown.out.partition(b"\n\n")
    assert f"ce_subject: {user}" in headers.decode()
    assert body == deliveries[0].body
    assert (await tool("show", "0:9999999")).code == 1
    # Nobody was made a member of a group, and nothing was committed.
    assert groups(platform) == before


def groups(platform: Platform) -> set[str]:
    """Every consumer group that the broker knows."""
    options = {
        "bootstrap.servers": platform.kafka.bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": platform.kafka.admin_username,
        "sasl.password": platform.kafka.admin_password,
    }
    listed = AdminClient(options).list_consumer_groups(request_timeout=15).result()
    return {group.group_id for group in listed.valid}


async def test_a_replay_makes_the_events_that_the_delivery_would_have_made(platform: Platform, tool: Tool) -> None:
    user, error = new_user(), reason()
    delivery = push(user)
    await bury(platform, WEBHOOKS_DLQ, [delivery], error)
    collector = platform.service("auren.bridge", "collect", user=USER)
    dry = await tool("replay", "--error", error, "--dry-run")
    assert dry.out.startswith(b"1 dead letters")
    assert (await tool("replay", "--error", error)).code == 1, "nobody is there to be asked"
    assert await platform.records(WEBHOOKS, user, 0) == []
    replayed = await tool("replay", "--error", error, "--yes")
    assert replayed.code == 0, replayed.err
    assert replayed.out.endswith(b"1 of 1 acknowledged\n")
    (record,) = await platform.records(WEBHOOKS, user, 1)
    (letter,) = await platform.records(WEBHOOKS_DLQ, user, 1)
    assert record.value == delivery.body
    place = f"{WEBHOOKS_DLQ.name}:{letter.partition}:{letter.offset}"
    assert list(record.headers) == [*delivery.headers(), (REPLAYED_FROM, place.encode())]
    (found,) = await platform.records(EVENTS, user, 1, seconds=60)
    event = events.decode(found.value or b"")
    assert event.version == int(SEEN.timestamp() * 1000)
    assert event.received_at == SEEN
    # Done once more it is the same event; and without being asked for it is not done once more.
    again = await tool("replay", "--error", error, "--yes")
    assert (again.code, again.out.split(b" ")[0]) == (0, b"0")
    assert (await tool("list", "--json", "--error", error)).out == b""
    assert len((await tool("list", "--json", "--error", error, "--replayed")).lines()) == 1
    assert (await tool("replay", "--error", error, "--yes", "--again")).code == 0
    both = [events.decode(r.value or b"") for r in await platform.records(EVENTS, user, 2, seconds=60)]
    assert both == [event, event]
    collector.server.stop()


async def test_what_fails_again_is_a_new_letter_that_names_the_old_one(platform: Platform, tool: Tool) -> None:
    user, error = new_user(), reason()
    broken = Delivery(id="1", provider="healthkit", received_at=SEEN, body=b"{broken", user_id=user)
    await bury(platform, WEBHOOKS_DLQ, [broken], error)
    collector = platform.service("auren.bridge", "collect", user=USER)
    (old,) = (await tool("list", "--json", "--error", error)).lines()
    assert (await tool("replay", old["place"], "--yes")).code == 0
    await platform.records(WEBHOOKS_DLQ, user, 2, seconds=60)
    listed = (await tool("list", "--json", "--since", old["died_at"])).lines()
    (new,) = [one for one in listed if one["replayed_from"] == f"{WEBHOOKS_DLQ.name}:{old['place']}"]
    assert new["error"] == "not a Health Auto Export document"
    assert old["place"] not in {one["place"] for one in listed}
    collector.server.stop()


async def test_a_replay_does_not_bring_back_who_was_erased(platform: Platform, tool: Tool) -> None:
    user, error = new_user(), reason()
    await bury(platform, WEBHOOKS_DLQ, [push(user)], error)
    connection = await asyncpg.connect(platform.postgres.dsn(platform.database))
    await connection.execute("INSERT INTO erased_users VALUES ($1, now())", user)
    await connection.close()
    collector = platform.service("auren.bridge", "collect", user=USER)
    assert (await tool("replay", "--error", error, "--yes")).code == 0
    assert len(await platform.records(WEBHOOKS, user, 1)) == 1
    await asyncio.to_thread(
        collector.server.wait_until,
        lambda: 'outcome="erased",provider="healthkit"}' in collector.metrics(),
        "leaving it out",
    )
    assert await platform.records(EVENTS, user, 0) == []
    collector.server.stop()


async def test_many_and_large_letters_are_all_replayed_once(platform: Platform, tool: Tool) -> None:
    user, error = new_user(), reason()
    small = [Delivery(id=f"s{n}", provider="terra", received_at=SEEN, body=b"{}", user_id=user) for n in range(500)]
    large = [
        Delivery(id=f"l{n}", provider="terra", received_at=SEEN, body=os.urandom(16 * 2**20), user_id=user)
        for n in range(2)
    ]
    await bury(platform, WEBHOOKS_DLQ, [*small[:250], large[0], *small[250:], large[1]], error)
    replayed = await tool("replay", "--error", error, "--yes")
    assert replayed.out.endswith(b"502 of 502 acknowledged\n"), replayed.err
    sent = {dict(r.headers)["ce_id"].decode(): r.value for r in await platform.records(WEBHOOKS, user, 502)}
    assert sent == {delivery.id: delivery.body for delivery in [*small, *large]}
    assert (await tool("list", "--json", "--error", error)).out == b""


async def test_rights_are_the_brokers(platform: Platform, tool: Tool, tmp_path: Path) -> None:
    refused = await tool("list", "--topic", EVENTS_DLQ.name)
    assert (refused.code, refused.out) == (1, b"")
    assert refused.err == "dlq: biometric-events.dlq cannot be read: TopicAuthorizationFailedError\n"
    allowed = await tool("list", "--topic", TERRA_DLQ.name)
    assert allowed.code == 0, allowed.err
    others = Tool(platform, tmp_path / "others", "biometric-production")
    assert (await others("list", "--topic", EVENTS_DLQ.name)).code == 0


async def test_kafka_away_is_one_line(platform: Platform, tool: Tool) -> None:
    platform.kafka.server.kill()
    try:
        ended = await tool("list")
    finally:
        platform.kafka.server.start()
    assert (ended.code, ended.out) == (1, b"")
    assert ended.err.startswith("dlq: biometric-webhooks.dlq cannot be read: ")
    assert ended.err.count("\n") == 1
