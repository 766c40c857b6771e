"""The bridge's providers: what the spec says of them reaches both containers, and the bridge understands it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from auren.bridge.settings import BridgeSettings, CollectorSettings, ProviderSettings
from auren.settings import names as settings_names
from auren_operator.api import names
from auren_operator.api.defaults import WINDOW_SECONDS
from auren_operator.api.providers import PROVIDERS, SIGNED
from auren_operator.components import user_objects
from auren_operator.manifests.model import Facts, Manifest, UserObject
from tests.unit.operator.built import a_stack, build, containers, environment, one, settled
from tests.unit.operator.provider_cases import EVERY_PROVIDER
from tests.unit.operator.test_crd import SPEC_SCHEMA

BRIDGE = "biometric-bridge"
BOTH = ("serve", "collect")
WHOOP: dict[str, Any] = {
    "publicURL": "https://bridge.example.com",
    "providers": {"whoop": {"enabled": True, "credentials": {"name": "whoop-credentials"}}},
}


def deployment(bridge: dict[str, Any]) -> Manifest:
    return one(build(a_stack({"bridge": bridge}), BRIDGE).manifests, "Deployment")


def container(workload: Manifest, name: str) -> dict[str, Any]:
    return next(found for _, found in containers([workload]) if found["name"] == name)


def provider_volumes(workload: Manifest) -> dict[str, dict[str, Any]]:
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    return {volume["name"]: volume["secret"] for volume in volumes if "secret" in volume}


def provider_mounts(workload: Manifest, name: str) -> dict[str, str]:
    mounts = container(workload, name)["volumeMounts"]
    return {mount["name"]: mount["mountPath"] for mount in mounts if mount["mountPath"].startswith(names.PROVIDERS_DIR)}


@pytest.mark.parametrize("name", BOTH)
def test_the_secret_of_each_provider_that_is_on_is_mounted_where_the_bridge_looks(name: str) -> None:
    workload = deployment(dict(EVERY_PROVIDER))
    secrets = {key: volume["secretName"] for key, volume in provider_volumes(workload).items()}
    found = {path: secrets[volume] for volume, path in provider_mounts(workload, name).items()}
    assert found == {
        "/run/auren/providers/oura": "oura-credentials",
        "/run/auren/providers/whoop": "whoop-credentials",
        "/run/auren/providers/terra": "terra.credentials",
    }
    assert all(mount["readOnly"] for mount in container(workload, name)["volumeMounts"] if mount["name"] in secrets)


def test_pods_start_without_the_secret_and_see_no_more_of_it_than_they_need() -> None:
    volume = provider_volumes(deployment(WHOOP))["provider-whoop"]
    assert volume["optional"] is True
    assert volume["defaultMode"] == 0o440
    assert volume["items"] == [
        {"key": key, "path": key}
        for key in ("client-id", "client-id-previous", "client-secret", "client-secret-previous")
    ]


@pytest.mark.parametrize("bridge", [{}, {"providers": {"whoop": {**WHOOP["providers"]["whoop"], "enabled": False}}}])
def test_a_provider_that_is_off_leaves_no_trace(bridge: dict[str, Any]) -> None:
    workload = deployment(bridge)
    assert provider_volumes(workload) == {}
    assert provider_mounts(workload, "serve") == provider_mounts(workload, "collect") == {}
    variables = {*environment(container(workload, "serve")), *environment(container(workload, "collect"))}
    assert variables.isdisjoint({provider.window_variable for provider in SIGNED.values()})
    assert names.ENV_PUBLIC_URL not in variables


def test_no_fact_about_a_secret_of_a_person_s_is_on_the_pods_so_that_another_one_rolls_nothing() -> None:
    stack = a_stack({"bridge": WHOOP})
    facts = settled(stack)
    other = Facts({**facts.secrets, "whoop-credentials": "another"}, facts.volumes, facts.replicas)
    assert build(stack, BRIDGE, facts).manifests == build(stack, BRIDGE, other).manifests


def test_the_keys_that_a_secret_must_have() -> None:
    found = user_objects(a_stack({"bridge": dict(EVERY_PROVIDER, enabled=True)}))
    assert found == [
        UserObject(
            "terra-kafka-tls", "kafka", "Terra's Kafka destination", ("tls.crt", "tls.key"), is_certificate=True
        ),
        UserObject("oura-credentials", BRIDGE, "provider oura", ("client-id", "client-secret")),
        UserObject("whoop-credentials", BRIDGE, "provider whoop", ("client-id", "client-secret")),
        UserObject("terra.credentials", BRIDGE, "provider terra", ("signing-secret",)),
    ]
    assert user_objects(a_stack({"bridge": dict(EVERY_PROVIDER, enabled=False)})) == []
    assert user_objects(a_stack({})) == []


@pytest.mark.parametrize("name", SIGNED)
def test_the_schema_names_every_key(name: str) -> None:
    described = SPEC_SCHEMA["properties"]["bridge"]["properties"]["providers"]["properties"][name]
    text = described["properties"]["credentials"]["description"]
    assert [key for key in (*SIGNED[name].keys, *SIGNED[name].optional) if f"`{key}`" not in text] == []
    assert described["properties"]["windowSeconds"]["default"] == WINDOW_SECONDS


def test_every_provider_has_a_place_in_the_spec() -> None:
    assert PROVIDERS.fields.keys() == {*SIGNED, "healthkit"}


# -- what the bridge makes of it -----------------------------------------------------------------------------------


@pytest.fixture
def bridge_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that `serve` gets when everything is said, set."""
    bridge = {**EVERY_PROVIDER, "enabled": True}
    found = environment(container(deployment(bridge), "serve"))
    for variable, value in found.items():
        monkeypatch.setenv(variable, value)
    return found


def test_the_bridge_reads_address_and_windows_from_the_rendered_environment(
    bridge_environment: dict[str, str],
) -> None:
    given: dict[str, Any] = {"kafka_password": "k", "database_password": "d", "redis_password": "r"}  # files in a pod
    given["oauth_keyring"] = f"k1:{'0' * 64}"
    settings = BridgeSettings(**given)
    assert settings.public_url == "https://bridge.example.com"
    windows = [settings.oura_window_seconds, settings.whoop_window_seconds, settings.terra_window_seconds]
    assert windows == [86400.0, 1.0, 300.0]
    assert settings.providers_dir == Path(names.PROVIDERS_DIR)


def test_the_bridge_finds_mounted_credentials_by_the_keys_that_the_operator_asks_for(tmp_path: Path) -> None:
    settings = ProviderSettings(providers_dir=tmp_path, oauth_keyring=SecretStr(f"k1:{'0' * 64}"))
    for name, provider in SIGNED.items():
        (tmp_path / name).mkdir()
        for key in provider.known_keys:
            (tmp_path / name / key).write_text(f"{name} {key}\n")
        assert settings.credentials(name).get(provider.keys[-1]) == f"{name} {provider.keys[-1]}".encode()
        assert len(settings.credentials(name).active(provider.keys[-1])) == 2


def test_what_a_person_may_set_of_the_bridge_is_known_to_it() -> None:
    known = settings_names(BridgeSettings).variables | settings_names(CollectorSettings).variables
    assert names.FREE_BRIDGE_ENVIRONMENT.keys() <= known
    assert names.FREE_BRIDGE_ENVIRONMENT.keys().isdisjoint(names.RESERVED_ENVIRONMENT)


def test_the_sample_for_many_people_shows_the_providers_and_a_model() -> None:
    sample = Path(__file__).resolve().parents[3] / "manifests/samples/production.yaml"
    spec = yaml.safe_load(sample.read_text())["spec"]
    shown = ["terra-kafka-tls", "openai", "oura-credentials", "whoop-credentials", "terra-credentials"]
    assert [secret.name for secret in user_objects(a_stack(spec))] == shown
