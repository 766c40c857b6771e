"""The stores' rendered configuration and start scripts, on the real servers, with the mounts and user of their pods."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.places import on_path
from tests.api.processes import Servers
from tests.api.stack_pods import KafkaCluster, a_stack, config, manifest
from tests.api.store_pods import Network, StorePod, redis_image, timescaledb_image


@pytest.fixture
def network() -> Iterator[Network]:
    """A network for the pods of one test."""
    with Servers("store-pods") as servers:
        yield Network(servers)


@pytest.mark.parametrize("component", ["kafka", "timescaledb", "redis"])
def test_start_scripts_are_sound_posix_shell(component: str) -> None:
    stack, facts, _ = a_stack()
    command = [str(on_path("shellcheck")), "--shell=sh", "--severity=style", "-"]
    result = subprocess.run(command, input=config(stack, facts, component)["start.sh"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_redis_asks_for_its_password_and_keeps_its_data(network: Network) -> None:
    stack, facts, secrets = a_stack()
    pod = StorePod(network, redis_image(), manifest(stack, facts, "redis", "StatefulSet"))
    files = config(stack, facts, "redis")
    pod.start(files, secrets)
    password = secrets["demo-redis"]["password"]

    def ask(password: str, *command: str) -> str:
        return pod.execute("redis-cli", "-a", password, "--no-auth-warning", *command).stdout.strip()

    assert ask(password, "set", "pulse", "52") == "OK"
    assert "NOAUTH" in pod.execute("redis-cli", "get", "pulse").stdout
    assert ask(password, "config", "get", "maxmemory-policy").split() == ["maxmemory-policy", "volatile-lru"]
    pod.stop()

    secrets["demo-redis"]["password"] = "another"
    pod.start(files, secrets)
    assert ask("another", "get", "pulse") == "52"
    assert "WRONGPASS" in pod.execute("redis-cli", "-a", password, "get", "pulse").stderr
    assert password not in pod.log()


def test_timescaledb_takes_a_rotated_password_and_survives_a_crash(network: Network) -> None:
    stack, facts, secrets = a_stack()
    pod = StorePod(network, timescaledb_image(), manifest(stack, facts, "timescaledb", "StatefulSet"))
    files = config(stack, facts, "timescaledb")
    pod.start(files, secrets)

    def ask(statement: str, password: str) -> str:
        dsn = f"postgresql://postgres:{password}@127.0.0.1/auren_production"
        answer = pod.execute("psql", "--no-psqlrc", "--tuples-only", "--no-align", dsn, "-c", statement)
        return (answer.stdout + answer.stderr).strip()

    first = secrets["demo-timescaledb"]["password"]
    assert ask("CREATE TABLE readings AS SELECT 52 AS pulse", first) == "SELECT 1"
    assert ask("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'", first) == "1"
    assert ask("SHOW max_connections", first) == "50"
    assert ask("SHOW shared_buffers", first) == "128MB"
    assert "password authentication failed" in ask("SELECT 1", "wrong")
    pod.kill()

    second = secrets["demo-timescaledb"]["password"] = "it's another"
    pod.start(files, secrets)
    assert ask("SELECT pulse FROM readings", "it%27s%20another") == "52"
    assert "password authentication failed" in ask("SELECT 1", first)
    pod.stop()

    pod.start(files, secrets)
    assert ask("SELECT pulse FROM readings", "it%27s%20another") == "52"
    assert first not in pod.log()
    assert second not in pod.log()


def test_three_kafka_nodes_keep_rights_and_records_while_each_is_lost_once(network: Network, tmp_path: Path) -> None:
    kafka = KafkaCluster(network, 3, tmp_path)
    kafka.start()
    assert kafka.produce("biometric-events") == ["stored"]
    assert kafka.produce("neuros-interventions") == ["TOPIC_AUTHORIZATION_FAILED"]
    assert kafka.produce("biometric-events", password="wrong") == ["_AUTHENTICATION"]

    emptied, stopped, killed = kafka.nodes
    emptied.kill()
    emptied.empty_volume()
    assert kafka.produce("biometric-events") == ["stored"]
    kafka.take_back(emptied)
    stopped.stop()
    kafka.take_back(stopped)
    killed.kill()
    assert kafka.produce("biometric-events") == ["stored"]

    assert [node.log().count("formatting the empty volume") for node in kafka.nodes] == [2, 1, 1]
    said = "".join(node.log() for node in kafka.nodes)
    assert not any(value in said for secret in kafka.secrets.values() for value in secret.values())
