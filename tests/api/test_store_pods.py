"""The stores' rendered configuration and start scripts, on the real servers, with the mounts and user of their pods."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auren_operator.api.parse import parse
from auren_operator.api.release import release_from
from auren_operator.api.spec import Stack
from auren_operator.components import MODULES, desired_claims
from auren_operator.manifests.model import Facts, Manifest, Volume
from auren_operator.manifests.secrets import generate
from tests.api.places import on_path
from tests.api.processes import Servers
from tests.api.store_pods import Network, StorePod, kafka_image, redis_image, timescaledb_image

Secrets = dict[str, dict[str, str]]


@pytest.fixture
def network() -> Iterator[Network]:
    """A network for the pods of one test."""
    with Servers("store-pods") as servers:
        yield Network(servers)


def a_stack(**spec: Any) -> tuple[Stack, Facts, Secrets]:
    """A demo stack, the facts under which everything of it is built, and its Secrets' content."""
    metadata = {"name": "demo", "namespace": "people", "uid": "u", "generation": 1}
    stack, violations = parse({"metadata": metadata, "spec": {"size": "demo", **spec}}, release_from({}, "1"))
    assert stack is not None, violations
    secrets = {spec.name: generate(spec) for module in MODULES for spec in module.secrets(stack)}
    volumes = {name: Volume(name, size) for name, size in desired_claims(stack, Facts()).items()}
    return stack, Facts(dict.fromkeys(secrets, "hash"), volumes), secrets


def manifest(stack: Stack, facts: Facts, component: str, kind: str) -> Manifest:
    """The component's only manifest of a kind."""
    module = next(module for module in MODULES if module.COMPONENT.name == component)
    found: list[Manifest] = [one for one in module.build(stack, facts).manifests if one["kind"] == kind]
    (only,) = found
    return only


def config(stack: Stack, facts: Facts, component: str) -> dict[str, str]:
    """The content of the component's ConfigMap."""
    data: dict[str, str] = manifest(stack, facts, component, "ConfigMap")["data"]
    return data


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


def topics_job(network: Network, stack: Stack, facts: Facts, secrets: Secrets, folder: Path) -> list[dict[str, Any]]:
    """Run the topics Job as its manifest says, with this machine's Python; returns the lines of its log."""
    spec = manifest(stack, facts, "topics", "Job")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            for item in source["secret"]["items"]:
                (folder / item["path"]).write_text(secrets[source["secret"]["name"]][item["key"]])
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    command = [sys.executable, *container["command"][1:]]
    done = network.run(command, {**environment, "AUREN_SECRETS_DIR": str(folder)})
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


PRODUCE = """
import json, os, sys
from confluent_kafka import KafkaError, Producer
user, password, topic, count = sys.argv[1:]
outcomes = set()
def refused(error):
    if error.code() == KafkaError._AUTHENTICATION:
        outcomes.add(error.name())
producer = Producer({
    "bootstrap.servers": os.environ["AUREN_KAFKA_BOOTSTRAP"], "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": user, "sasl.password": password,
    "enable.idempotence": True, "message.timeout.ms": 60000, "log_level": 0, "error_cb": refused,
})
for number in range(int(count)):
    producer.produce(topic, b"x", on_delivery=lambda error, _: outcomes.add(error.name() if error else "stored"))
while len(producer) and "_AUTHENTICATION" not in outcomes:
    producer.poll(0.1)
print(json.dumps(sorted(outcomes)), flush=True)
os._exit(0)
"""

IN_SYNC = """
import json, os, sys
from confluent_kafka.admin import AdminClient
settings = {
    "bootstrap.servers": os.environ["AUREN_KAFKA_BOOTSTRAP"], "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN", "sasl.username": "kafka-admin", "sasl.password": sys.argv[1], "log_level": 0,
}
topics = AdminClient(settings).list_topics(timeout=10).topics.values()
print(json.dumps(min(len(partition.isrs) for topic in topics for partition in topic.partitions.values())))
"""


class KafkaCluster:
    """A stack's Kafka, its topics Job run, and clients in its network."""

    def __init__(self, network: Network, replicas: int, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.stack, self.facts, self.secrets = a_stack(kafka={"replicas": replicas})
        self.files = config(self.stack, self.facts, "kafka")
        workload = manifest(self.stack, self.facts, "kafka", "StatefulSet")
        assert workload["spec"]["replicas"] == replicas
        self.nodes = [StorePod(network, kafka_image(), workload, ordinal) for ordinal in range(replicas)]
        names = list(network.addresses)
        network.name("demo-kafka.people.svc", network.addresses[names[0]])
        self.bootstrap = ",".join(f"{name}:9092" for name in names)

    def start(self) -> None:
        """Start all nodes at once, then bring topics, users and rights to what the stack needs."""
        for server in [node.launch(self.files, self.secrets) for node in self.nodes]:
            server.wait_ready()
        assert topics_job(self.network, self.stack, self.facts, self.secrets, self.folder)[-1]["topics"] > 0

    def take_back(self, node: StorePod) -> None:
        """Start a node again and wait until it has every record."""
        server = node.launch(self.files, self.secrets)
        server.wait_ready()
        server.wait_until(lambda: self.copies_in_sync() == len(self.nodes), "in sync")

    def client(self, script: str, *arguments: str) -> Any:
        """What a script prints that speaks to Kafka from within its network."""
        done = self.network.run([sys.executable, "-c", script, *arguments], {"AUREN_KAFKA_BOOTSTRAP": self.bootstrap})
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def produce(self, topic: str, user: str = "biometric-bridge", password: str | None = None) -> Any:
        """The outcomes of sending some records."""
        password = password or self.secrets[f"demo-{user}"]["kafka-password"]
        return self.client(PRODUCE, user, password, topic, "50")

    def copies_in_sync(self) -> int:
        """The fewest copies in sync of any partition."""
        found: int = self.client(IN_SYNC, self.secrets["demo-kafka"]["admin-password"])
        return found


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
