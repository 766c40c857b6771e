"""The operator and the services meet in environment variables and files: each side knows what the other one says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from auren.biometric.settings import BiometricSettings
from auren.bridge.settings import BridgeSettings, CollectorSettings
from auren.kafka_admin import TopicSettings
from auren.local_model.settings import LocalModelSettings
from auren.migrations.job import MigrationSettings
from auren.neuros import personality
from auren.neuros.settings import NeurosSettings
from auren.settings import Settings, load, names
from auren_operator.api.names import ENV_LOG_LEVEL, FREE_BRIDGE_ENVIRONMENT, FREE_ENVIRONMENT, SECRETS_DIR
from auren_operator.api.spec import Stack
from auren_operator.manifests.secrets import generate
from tests.unit.operator.built import a_stack, containers, environment, everything, secrets_of
from tests.unit.operator.provider_cases import EVERY_PROVIDER
from tests.unit.operator.spec_cases import EXTERNAL

SETTINGS: dict[str, type[Settings]] = {
    "neuros": NeurosSettings,
    "local-model": LocalModelSettings,
    "biometric": BiometricSettings,
    "serve": BridgeSettings,
    "collect": CollectorSettings,
    "migrations": MigrationSettings,
    "topics": TopicSettings,
}
"""Container → what the program in it reads."""

ENCRYPTION = {"AUREN_DATABASE_TLS", "AUREN_DATABASE_CA_FILE"}
NOT_SAID = {
    "neuros": {
        *ENCRYPTION,
        *("AUREN_INTERVENTIONS_STALE_SECONDS", "AUREN_INTERVENTIONS_TIMEZONE"),
        *("AUREN_LLM_FIRST_TOKEN_SECONDS", "AUREN_SESSION_DAYS"),
    },
    "biometric": ENCRYPTION,
    "local-model": {"AUREN_LOCAL_MODEL_SLOTS", "AUREN_LOCAL_MODEL_CONTEXT_TOKENS", "AUREN_SECRETS_DIR"},
    "serve": {*FREE_BRIDGE_ENVIRONMENT, *ENCRYPTION},
    "collect": {"AUREN_PORT", *FREE_BRIDGE_ENVIRONMENT, *ENCRYPTION},
    "migrations": {"AUREN_DATABASE_POOL_SIZE", "AUREN_MIGRATIONS_WAIT_SECONDS", *ENCRYPTION},
    "topics": {"AUREN_KAFKA_WAIT_SECONDS"},
}
"""What a program could read and is not told: people may set some of the bridge's, the collector has no API, a Job needs
one connection and has patience, connections to the stack's own database are not encrypted, and the local model has one
size and no Secret."""

LOCAL_MODEL = {
    "llm": {"mode": "local"},
    "embeddings": {"mode": "openai", "model": "e5", "baseUrl": "http://e5.models.svc/v1", "dimension": 768},
    "personality": {"configMapRef": {"name": "voice", "key": "personality.yaml"}},
    "protocols": {"configMapRef": {"name": "voice", "key": "protocols.yaml"}},
}
OPENAI = {"mode": "openai", "model": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}
STACK = a_stack(
    {"size": "large", "timescaledb": {"maxConnections": 100}, "bridge": EVERY_PROVIDER, "neuros": LOCAL_MODEL}
)
Rendered = Mapping[str, tuple[dict[str, Any], dict[str, Any]]]


def rendered(stack: Stack) -> Rendered:
    """Our programs: container → the workload and itself."""
    return {
        container["name"]: (workload, container)
        for workload, container in containers(everything(stack))
        if workload["kind"] != "StatefulSet"
    }


RENDERED = rendered(STACK)
WITH_EXTERNAL = rendered(a_stack({**EXTERNAL, "neuros": {**LOCAL_MODEL, "llm": OPENAI}}))


def files(name: str, of: Rendered = RENDERED) -> dict[str, tuple[str, str]]:
    """File → (Secret, key) that the pod of a container mounts."""
    workload, container = of[name]
    if name == "local-model":
        return {}
    assert {"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True} in container["volumeMounts"]
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for volume in workload["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "secrets"
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }


def test_every_program_of_ours_is_looked_at() -> None:
    assert RENDERED.keys() == SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_program_knows_every_variable_and_file_that_it_is_given(name: str) -> None:
    known = names(SETTINGS[name])
    assert set(environment(RENDERED[name][1])) - known.variables == set()
    assert files(name).keys() - known.files == set()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_program_is_given_all_that_it_knows_but_what_people_may_set(name: str) -> None:
    known = names(SETTINGS[name])
    said = {*environment(RENDERED[name][1]), *FREE_ENVIRONMENT, *NOT_SAID.get(name, ())}
    assert known.variables - said == set()
    if RENDERED[name][0]["kind"] == "Deployment" and name != "local-model":  # it logs nobody, and has no key for it
        assert known.files - files(name).keys() - {"auren_llm_api_key"} == set()  # a model of the stack has none
    assert "auren_llm_api_key" in files("neuros", WITH_EXTERNAL)


def replaced(value: str, folder: Path) -> str:
    """A variable's value with paths that lie in `folder`; what people give in place of our YAML is ours again."""
    ours = Path(personality.__file__).parent / Path(value).name
    if value.endswith(".yaml"):
        return str(shutil.copy(ours, folder))
    return value.replace(SECRETS_DIR, str(folder))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_program_starts_with_what_it_is_given(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {secret.name: generate(secret) for secret in secrets_of(STACK)}
    for path, (secret, key) in files(name).items():
        (tmp_path / path).write_text(secrets[secret][key])
    for variable, value in environment(RENDERED[name][1]).items():
        monkeypatch.setenv(variable, replaced(value, tmp_path))
    monkeypatch.setenv("AUREN_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv(ENV_LOG_LEVEL, "debug")  # as the reference page spells it
    settings: Any = load(SETTINGS[name])
    assert settings.log_level == "DEBUG"
    assert settings.stack == STACK.name
    for field in ("port", "metrics_port", "health_port"):
        if field in type(settings).model_fields and (name, field) != ("collect", "port"):
            assert getattr(settings, field) in {port["containerPort"] for port in RENDERED[name][1]["ports"]}


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"local-model"}))
def test_a_program_starts_with_an_external_database(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment(WITH_EXTERNAL[name][1])
    assert variables.keys() - names(SETTINGS[name]).variables == set()
    secrets = {secret.name: generate(secret) for secret in secrets_of(a_stack(EXTERNAL))}
    secrets["openai"] = {"api-key": "k"}
    secrets |= {"db-admin": {"username": "admin", "password": "p"}, "db-ca": {"ca.crt": "certificates"}}
    for path, (secret, key) in files(name, WITH_EXTERNAL).items():
        (tmp_path / path).write_text(secrets[secret][key])
    for variable, value in variables.items():
        monkeypatch.setenv(variable, replaced(value, tmp_path))
    monkeypatch.setenv("AUREN_SECRETS_DIR", str(tmp_path))
    settings: Any = load(SETTINGS[name])
    if name != "topics":
        assert settings.database_host == "db.example.com"
        assert settings.database_tls == "verify-full"
        assert settings.database_ca_file.read_text() == "certificates"
    if name == "migrations":
        assert settings.database_user == "admin"


def test_what_people_may_set_is_known_to_every_service() -> None:
    for name in ("neuros", "biometric", "serve", "collect"):
        assert FREE_ENVIRONMENT.keys() <= names(SETTINGS[name]).variables
