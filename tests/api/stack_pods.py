"""What a stack's pods are given, and its Kafka as pods of a test network, with the topics Job run."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from auren_operator.api.parse import parse
from auren_operator.api.release import release_from
from auren_operator.api.spec import Stack
from auren_operator.components import MODULES, desired_claims
from auren_operator.manifests.model import Facts, Manifest, Volume
from auren_operator.manifests.secrets import generate
from tests.api.store_pods import Network, StorePod, kafka_image

Secrets = dict[str, dict[str, str]]


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

    def __init__(self, network: Network, replicas: int, folder: Path, **spec: Any) -> None:
        self.network, self.folder = network, folder
        self.stack, self.facts, self.secrets = a_stack(kafka={"replicas": replicas}, **spec)
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

    def bring(self, **certificates: str) -> None:
        """Have the operator see these certificates of people (Secret → hash); it counts from the next start."""
        self.facts = dataclasses.replace(self.facts, given=certificates)
        for node in self.nodes:
            node.update(manifest(self.stack, self.facts, "kafka", "StatefulSet"))

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
