"""docs/providers.md tells people what the code does: its examples are good, and its names are the code's."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from auren.bridge.webhooks.healthkit import HealthKitWebhook
from auren.bridge.webhooks.oura import OuraWebhook
from auren.bridge.webhooks.terra import TerraWebhook
from auren.bridge.webhooks.whoop import WhoopWebhook
from auren.topics import TERRA
from auren_operator.api.names import ENV_TERRA_PAYLOAD_HOSTS
from auren_operator.api.parse import parse
from auren_operator.api.providers import SIGNED
from auren_operator.components import bridge, kafka, kafka_terra
from auren_operator.manifests.network import BRIDGE_PORT, KAFKA_TERRA_PORT
from tests.unit.operator.built import RELEASE, build, of_kind

PAGE = (Path(__file__).resolve().parents[3] / "docs/providers.md").read_text()


def examples() -> list[dict[str, Any]]:
    """Every spec on the page."""
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
    found = [yaml.safe_load(textwrap.dedent(text)) for text in blocks]
    return [one["spec"] for one in found if set(one) == {"spec"}]


def stack() -> Any:
    """The stack that the page is about, with everything that its examples switch on."""
    spec: dict[str, Any] = {"size": "large", "bridge": {"providers": {}}}
    for example in examples():
        providers = {**spec["bridge"]["providers"], **example["bridge"]["providers"]}
        spec["bridge"] = {**spec["bridge"], **example["bridge"], "providers": providers}
    found, violations = parse({"metadata": {"name": "production", "namespace": "auren"}, "spec": spec}, RELEASE)
    assert found is not None, violations
    return found


def test_its_examples_are_good_and_make_what_it_says() -> None:
    assert len(examples()) == 2
    wanted = stack()
    assert wanted.bridge.providers.keys() == {"whoop", "terra"}
    services = {service["metadata"]["name"] for service in of_kind(build(wanted, "kafka").manifests, "Service")}
    assert {f"production-kafka-terra-{number}" for number in range(3)} <= services


def test_it_names_what_people_look_for() -> None:
    wanted = stack()
    keys = {key for provider in SIGNED.values() for key in (*provider.keys, *provider.optional)}
    paths = {one.path for one in (OuraWebhook, WhoopWebhook, TerraWebhook, HealthKitWebhook)}
    named = {
        *keys,
        *(f"`{wanted.bridge.public_url}{path}`" for path in paths),
        *("client-secret-previous", "signing-secret-previous"),
        bridge.keyring_secret(wanted),
        kafka_terra.login_secret(wanted, kafka.COMPONENT),
        f"{{.data.{kafka_terra.LOGIN}}}",
        f"{{.data.{bridge.KEYRING}}}",
        f"port {BRIDGE_PORT}",
        f"port {KAFKA_TERRA_PORT}",
        TERRA.name,
        ENV_TERRA_PAYLOAD_HOSTS,
    }
    assert [name for name in sorted(named) if name not in PAGE] == []
