"""Terra's Kafka destination on a real broker: its listener, its certificate, and the one thing that its user may do."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509

from tests.api.pki import Authority
from tests.api.processes import Servers
from tests.api.stack_pods import KafkaCluster
from tests.api.store_pods import Network

HOST: Final = "kafka-0.example.com"
CERTIFICATE: Final = "terra-kafka-tls"
SPEC: Final = {
    "providers": {
        "terra": {
            "enabled": True,
            "credentials": {"name": "terra-credentials"},
            "kafka": {"enabled": True, "tls": {"name": CERTIFICATE}, "brokers": [{"broker": 0, "host": HOST}]},
        }
    }
}

CLIENT: Final = """
import json, os, sys
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
user, password, authority, topic, do = sys.argv[1:]
outcomes = set()
def refused(error):
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
        outcomes.add(error.name())
settings = {
    "bootstrap.servers": os.environ["ADDRESS"], "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
    "sasl.username": user, "sasl.password": password, "ssl.ca.location": authority, "log_level": 0, "error_cb": refused,
}
if do == "write":
    client = Producer({**settings, "enable.idempotence": True, "message.timeout.ms": 60000})
    client.produce(topic, b"x", on_delivery=lambda error, _: outcomes.add(error.name() if error else "stored"))
    step = lambda: client.poll(0.1)
else:
    client = Consumer({**settings, "group.id": "terra", "enable.partition.eof": True})
    client.assign([TopicPartition(topic, 0, 0)])
    def step():
        message = client.poll(0.1)
        outcome = message and (message.error().name() if message.error() else "read")
        if outcome and outcome != "GROUP_AUTHORIZATION_FAILED":  # it asks for its group, too, and needs none to read
            outcomes.add(outcome)
while not outcomes:
    step()
print(json.dumps(sorted(outcomes)), flush=True)
os._exit(0)
"""

SHOWN: Final = """
import json, os, socket, ssl, sys
host, port = os.environ["ADDRESS"].split(":")
context = ssl.create_default_context(cafile=sys.argv[1])
with context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=host) as connection:
    print(json.dumps(connection.getpeercert()["serialNumber"].lstrip("0")))
"""


@dataclasses.dataclass
class Terra:
    """One broker of a stack with Terra's destination, and what Terra does from outside."""

    kafka: KafkaCluster
    authority: Authority

    def has_certificate(self, name: str) -> str:
        """A person makes the Secret, or renews it; returns the certificate's serial number. It counts from a start."""
        certificate, key = self.authority.server(name, [HOST])
        chain = certificate.read_text() + self.authority.certificate_file.read_text()
        self.kafka.secrets[CERTIFICATE] = {"tls.crt": chain, "tls.key": key.read_text()}
        self.kafka.bring(**{CERTIFICATE: f"hash of {name}"})
        return f"{x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number:X}"

    def does(self, what: str, topic: str, user: str = "terra", password: str | None = None) -> Any:
        """The outcomes of a write or a read through the listener."""
        password = password or self.kafka.secrets["demo-kafka-terra"]["password"]
        return self._asks(CLIENT, user, password, str(self.authority.certificate_file), topic, what)

    def sees(self) -> str:
        """The serial number of the certificate that the broker shows, which is valid for the host."""
        serial: str = self._asks(SHOWN, str(self.authority.certificate_file))
        return serial

    def _asks(self, script: str, *arguments: str) -> Any:
        command = [sys.executable, "-c", script, *arguments]
        done = self.kafka.network.run(command, {"ADDRESS": f"{HOST}:9094"})
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def is_listened_for(self) -> bool:
        """Whether the broker has the port open."""
        (node,) = self.kafka.nodes
        return node.execute("grep", "-q", f":{9094:04X} ", "/proc/net/tcp6").returncode == 0


@pytest.fixture
def terra(tmp_path: Path) -> Iterator[Terra]:
    """The broker, not yet started."""
    with Servers("terra-kafka") as servers:
        network = Network(servers)
        kafka = KafkaCluster(network, 1, tmp_path, bridge=SPEC)
        network.name(HOST, network.addresses["demo-kafka-0.demo-kafka.people.svc"])
        yield Terra(kafka, Authority(tmp_path))


def test_without_the_certificate_the_broker_runs_and_with_it_terra_writes_and_does_no_more(terra: Terra) -> None:
    (node,) = terra.kafka.nodes
    terra.kafka.start()
    assert not terra.is_listened_for()
    assert terra.kafka.produce("biometric-events") == ["stored"]
    node.stop()

    serial = terra.has_certificate("first")
    terra.kafka.start()
    assert terra.is_listened_for()
    assert terra.sees() == serial
    assert terra.does("write", "terra-biometric-events") == ["stored"]
    assert terra.does("write", "biometric-events") == ["TOPIC_AUTHORIZATION_FAILED"]
    assert terra.does("read", "terra-biometric-events") == ["TOPIC_AUTHORIZATION_FAILED"]
    assert terra.does("write", "terra-biometric-events", password="wrong") == ["_AUTHENTICATION"]
    admin = terra.kafka.secrets["demo-kafka"]["admin-password"]
    assert terra.does("write", "terra-biometric-events", "kafka-admin", admin) == ["_AUTHENTICATION"]
    bridge = terra.kafka.secrets["demo-biometric-bridge"]["kafka-password"]
    assert terra.does("write", "terra-biometric-events", "biometric-bridge", bridge) == ["_AUTHENTICATION"]
    assert terra.kafka.produce("biometric-events") == ["stored"], "the services come in as before"
    own = terra.kafka.secrets["demo-kafka-terra"]["password"]
    assert terra.kafka.produce("terra-biometric-events", "terra", own) == ["_AUTHENTICATION"], "by its own door alone"
    node.stop()

    renewed = terra.has_certificate("second")
    terra.kafka.start()
    assert renewed != serial
    assert terra.sees() == renewed
    node.kill()

    del terra.kafka.secrets[CERTIFICATE]  # and the broker comes back before the operator has seen it
    terra.kafka.start()
    assert not terra.is_listened_for()
    assert terra.kafka.produce("biometric-events") == ["stored"]

    said = node.log()
    keys = [line for line in Path(terra.authority.folder / "first.key").read_text().splitlines() if "-----" not in line]
    assert not any(value in said for value in (own, *keys))
