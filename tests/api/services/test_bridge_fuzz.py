"""Whatever comes to the real bridge, it answers as its document says, and what it accepts is in the topic."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.core.result import Ok

from auren.bridge.credentials import CLIENT_SECRET, SIGNING_SECRET
from auren.topics import WEBHOOKS
from tests.api.services.platform import Platform, Service
from tests.unit.services.http_fuzz import PROOFS, Case, Keys, ask, chosen, config

USER = "biometric-bridge"
EXAMPLES = 40
"""Of each operation."""


@pytest.fixture
def secret(tmp_path: Path) -> bytes:
    """What every vendor signs with."""
    secret = secrets.token_hex(16)
    for provider, name in {"oura": CLIENT_SECRET, "whoop": CLIENT_SECRET, "terra": SIGNING_SECRET}.items():
        (tmp_path / provider).mkdir()
        (tmp_path / provider / name).write_text(secret)
    return secret.encode()


@pytest.fixture
def bridge(platform: Platform, secret: bytes, tmp_path: Path) -> Service:
    """A bridge that has all it needs."""
    environment = {"AUREN_PROVIDERS_DIR": str(tmp_path), "AUREN_PUBLIC_URL": "https://bridge.example.org"}
    service = platform.service("auren.bridge", "serve", user=USER, environment=environment)
    service.wait_ready()
    return service


def accepted(bridge: Service, keys: Keys) -> list[str]:
    """Fuzz every operation of the bridge's document; the ids of the deliveries that it accepted."""
    url = bridge.url("").removesuffix("/")
    document = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config(EXAMPLES))
    ids: list[str] = []
    statuses: set[int] = set()
    for operation in document.get_all_operations():
        assert isinstance(operation, Ok)

        @given(operation.ok().as_strategy())
        @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
        def fuzz(case: Case) -> None:
            answer = ask(case, chosen(case, PROOFS), keys, url)
            statuses.add(answer.status_code)
            if answer.status_code in (200, 202) and case.method == "POST" and case.path.startswith("/webhooks/"):
                ids.append(answer.json()["id"])

        fuzz()
    assert {401, 503 if not ids else 202} <= statuses
    return ids


async def in_topic(platform: Platform, count: int) -> set[str]:
    """The ids of all deliveries in the log."""
    headers = [dict(record.headers) for record in await platform.records(WEBHOOKS, "", count)]
    return {found["ce_id"].decode() for found in headers if "ce_id" in found}  # other tests write what is none


async def test_what_is_accepted_is_in_the_topic_and_nothing_is_while_kafka_is_away(
    platform: Platform, bridge: Service, secret: bytes
) -> None:
    keys = Keys(secret, lambda scope: platform.token("anna", scope))
    before = await in_topic(platform, 0)
    ids = accepted(bridge, keys)
    assert len(ids) == len(set(ids)) >= EXAMPLES // 4
    assert await in_topic(platform, len(before) + len(ids)) - before == set(ids)
    platform.kafka.server.kill()
    assert accepted(bridge, keys) == []
    platform.kafka.server.start()
    bridge.wait_ready()
    ids += accepted(bridge, keys)
    # One that was answered 503 may be there all the same: it was not accepted, so it may come again.
    assert await in_topic(platform, len(before) + len(ids)) - before >= set(ids)
