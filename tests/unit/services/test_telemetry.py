"""Logs are JSON lines without people; metrics are named in one way and label no person."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import asyncpg
import httpx
import pytest
import structlog
from pydantic import SecretStr

from auren.link import UnavailableError
from auren.settings import LogSettings
from auren.telemetry import Metrics, MetricsServer, configure_logging, logger, person


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def configure(key: str = "ab" * 32) -> None:
    configure_logging(LogSettings(stack="demo", log_key=SecretStr(key)), "bridge")


def test_every_line_is_json_libraries_included(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logger("auren.test").info("taken", size=3)
    logging.getLogger("somebody.else").warning("careful: %s", 7)
    ours, theirs = lines(capsys)
    assert ours.pop("time")
    assert ours == {
        "message": "taken",
        "size": 3,
        "level": "info",
        "logger": "auren.test",
        "service": "bridge",
        "stack": "demo",
    }
    assert (theirs["message"], theirs["logger"]) == ("careful: 7", "somebody.else")


def test_a_traceback_has_frames_but_neither_locals_nor_details(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    payload = "heart rate 61"
    try:
        raise ValueError("bad value\nDETAIL: Key (user_id)=(anna)")
    except ValueError:
        logger("auren.test").exception("failed")
    (line,) = lines(capsys)
    assert payload not in json.dumps(line)
    assert "anna" not in json.dumps(line)
    (error,) = line["exception"] if isinstance(line["exception"], list) else []
    assert error.keys() == {"type", "frames"}
    assert error["type"] == "ValueError"
    assert any("test_telemetry.py" in frame for frame in error["frames"])


def test_only_our_own_exceptions_speak_and_the_server_gives_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    for raised in (UnavailableError("kafka", "away"), asyncpg.DataError("invalid input: anna")):
        try:
            raise raised
        except (UnavailableError, asyncpg.DataError):
            logger("auren.test").exception("failed")
    ours, theirs = (json.loads(json.dumps(line["exception"]))[0] for line in lines(capsys))
    assert (ours["type"], ours["message"]) == ("UnavailableError", "kafka: away")
    assert "message" not in theirs
    assert theirs["sqlstate"] == "22000"


def test_people_are_keyed_hashes() -> None:
    configure("ab" * 32)
    anna = person("anna")
    assert anna == person("anna") != person("bert")
    assert "anna" not in anna
    configure("cd" * 32)
    assert person("anna") != anna
    configure("")
    assert person("anna") == person("bert")


def test_metrics_are_named_by_service_and_name_no_person() -> None:
    metrics = Metrics("bridge")
    metrics.counter("deliveries", "Deliveries", ("provider",)).labels("oura").inc()
    metrics.gauge("in_flight_bytes", "Bytes").set(3)
    metrics.histogram("append_duration_seconds", "Time").observe(0.2)
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
    finally:
        server.close()
    assert 'auren_bridge_deliveries_total{provider="oura"} 1.0' in text
    assert "auren_bridge_in_flight_bytes 3.0" in text
    assert 'auren_bridge_append_duration_seconds_bucket{le="0.25"} 1.0' in text
    with pytest.raises(ValueError, match="user_id"):
        metrics.counter("pushes", "Pushes", ("user_id",))
