"""The collector: counted is what was sent, and the log names nothing of a person's document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from prometheus_client import generate_latest

from auren.bridge.collector import Collector
from auren.bridge.decoders import healthkit
from auren.events import Delivery
from auren.link import UnavailableError
from auren.telemetry import Metrics
from tests.unit.services.test_consumer import Arrived

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Log:
    """Stands for the producer: refuses as often as the test says."""

    def __init__(self) -> None:
        self.refusals = 0
        self.sent: list[Any] = []

    async def send_all(self, _topic: object, records: Sequence[Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("kafka", "away")
        self.sent += records


async def nobody(_users: Sequence[str]) -> Mapping[str, datetime]:
    return {}


def delivered(document: object) -> Arrived:
    body = json.dumps(document).encode()
    delivery = Delivery(id="1", provider="healthkit", received_at=NOW, body=body, user_id="anna")
    return Arrived(0, value=body, headers=delivery.headers())


async def test_what_could_not_be_sent_is_not_counted_and_names_stay_out_of_the_log() -> None:
    log, metrics = Log(), Metrics("collector")
    collector = Collector(log, {"healthkit": healthkit.decode}, nobody, metrics)  # type: ignore[arg-type]
    sample = {"date": "2026-03-01 11:00:00 +0000", "qty": 61}
    known = {"name": "resting_heart_rate", "units": "count/min", "data": [sample]}
    private = {"name": "annas secret", "units": "", "data": [{"qty": 1}, {"qty": 2}]}
    record = delivered({"data": {"metrics": [known, private]}})
    log.refusals = 1
    with structlog.testing.capture_logs() as written:
        with pytest.raises(UnavailableError):
            await collector.handle([record])
        assert 'auren_collector_events_total{kind="readings"' not in generate_latest(metrics.registry).decode()
        await collector.handle([record])
    text = generate_latest(metrics.registry).decode()
    assert 'auren_collector_events_total{kind="readings",provider="healthkit"} 1.0' in text
    assert 'auren_collector_deliveries_total{outcome="decoded",provider="healthkit"} 1.0' in text
    assert len(log.sent) == 1
    (line,) = [entry for entry in written if entry["event"] == "left out"]
    assert (line["unknown"], line["skipped"]) == (2, 0)
    assert "secret" not in str(written)
