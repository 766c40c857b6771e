"""NEUROS: the agent that answers people from their own measurements. A Deployment on port 8000."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auren_operator.api import names
from auren_operator.api.neuros import Embeddings, Interventions, KeyRef, Llm
from auren_operator.api.pools import pools
from auren_operator.api.spec import Stack
from auren_operator.components import chromadb, kafka, local_model, redis, timescaledb
from auren_operator.components import stack as whole
from auren_operator.manifests.config import text_volume
from auren_operator.manifests.images import NEUROS
from auren_operator.manifests.meta import digest
from auren_operator.manifests.model import Built, Component, Facts, SecretSpec, UserObject
from auren_operator.manifests.network import METRICS_PORT, NEUROS_PORT
from auren_operator.manifests.services import our_service, service_container, service_secret
from auren_operator.manifests.wiring import Wiring

COMPONENT = Component(
    name="neuros-advanced",
    workload="Deployment",
    needs=("kafka", "timescaledb", "redis", "chromadb", "migrations", "topics"),
    port=NEUROS_PORT,
)

PORTS: Final = {"http": NEUROS_PORT, "metrics": METRICS_PORT}

API_KEY_FILE: Final = "auren_llm_api_key"

TEXTS_DIR: Final = "/etc/auren"
TEXTS: Final[Mapping[str, str]] = {
    "personality": names.ENV_PERSONALITY_FILE,
    "protocols": names.ENV_PROTOCOLS_FILE,
}
"""The texts that a person may replace → the variable that names the file; each is a field of `NeurosExtras`."""


def secrets(stack: Stack) -> list[SecretSpec]:
    """Its passwords at the database and at Kafka; made also while it is switched off, as are its role and user."""
    return [service_secret(stack, COMPONENT)]


def user_objects(stack: Stack) -> list[UserObject]:
    """The key at a model's vendor, and texts of the person's own; none while NEUROS is off."""
    if not stack.neuros.enabled:
        return []
    asked = [
        UserObject(text.name, COMPONENT.name, f"its own {name}", (text.key,), kind="ConfigMap")
        for name, text in _own_texts(stack).items()
    ]
    if (key := stack.neuros.extras.api_key) is None:
        return asked
    return [UserObject(key.name, COMPONENT.name, "the model's API key", (key.key,), is_login=True), *asked]


def build(stack: Stack, facts: Facts) -> Built:
    """The service with all four stores behind it, and the model that it asks."""
    wiring = (
        whole.member(stack)
        | whole.modes(stack)
        | kafka.client(stack, COMPONENT)
        | timescaledb.client(stack, COMPONENT)
        | redis.client(stack)
        | chromadb.client(stack)
        | _models(stack)
        | Wiring(_interventions(stack.neuros.extras.interventions))
    )
    texts = {name: text for name, text in _own_texts(stack).items() if text.name in facts.texts}
    env = {
        names.ENV_DATABASE_POOL_SIZE: str(pools(stack).neuros),
        **{TEXTS[name]: f"{_directory(name)}/{_file(name)}" for name in texts},
    }
    mounts = {name: _directory(name) for name in texts}
    container = service_container("neuros", NEUROS, stack.neuros, wiring, PORTS, env, mounts=mounts)
    volumes = [text_volume(name, text.name, text.key, _file(name)) for name, text in texts.items()]
    hashes = {name: facts.texts[text.name] for name, text in texts.items()}
    annotations = {names.ANNOTATION_CONFIG_HASH: digest(hashes)} if hashes else {}
    return our_service(stack, COMPONENT, facts, stack.neuros, [container], wiring, PORTS, volumes, annotations)


def _own_texts(stack: Stack) -> dict[str, KeyRef]:
    found = {name: getattr(stack.neuros.extras, name) for name in TEXTS}
    return {name: text for name, text in found.items() if text is not None}


def _directory(text: str) -> str:
    return f"{TEXTS_DIR}/{text}"


def _file(text: str) -> str:
    return f"{text}.yaml"


def _models(stack: Stack) -> Wiring:
    """Which models are asked, where, and with which key."""
    extras = stack.neuros.extras
    key = extras.api_key
    said = Wiring(
        {**_llm(extras.llm), **_embeddings(extras.embeddings)},
        optional={API_KEY_FILE: (key.name, key.key)} if key else {},
    )
    return said | local_model.client(stack) if extras.llm.mode == "local" else said


def _llm(llm: Llm) -> dict[str, str]:
    env = {
        names.ENV_LLM_MODE: llm.mode,
        names.ENV_LLM_TIMEOUT_SECONDS: str(llm.timeout_seconds),
        names.ENV_LLM_DAILY_TOKENS: str(llm.daily_tokens),
        names.ENV_LLM_MAX_OUTPUT_TOKENS: str(llm.max_output_tokens),
    }
    if llm.mode != "openai":
        return env
    remote = {names.ENV_LLM_API: llm.api, names.ENV_LLM_MODEL: llm.model, names.ENV_LLM_BASE_URL: llm.base_url}
    return env | _present(remote)


def _embeddings(embeddings: Embeddings) -> dict[str, str]:
    dimension = embeddings.dimension
    return _present(
        {
            names.ENV_EMBEDDINGS_MODE: embeddings.mode,
            names.ENV_EMBEDDINGS_MODEL: embeddings.model,
            names.ENV_EMBEDDINGS_BASE_URL: embeddings.base_url,
            names.ENV_EMBEDDINGS_DIMENSION: str(dimension) if dimension else None,
        }
    )


def _present(env: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in env.items() if value is not None}


def _interventions(interventions: Interventions) -> dict[str, str]:
    return {
        names.ENV_INTERVENTIONS_COOLDOWN_SECONDS: str(interventions.cooldown_seconds),
        names.ENV_INTERVENTIONS_DAILY_CAP: str(interventions.daily_cap),
        names.ENV_INTERVENTIONS_QUIET_FROM: interventions.quiet_from,
        names.ENV_INTERVENTIONS_QUIET_TO: interventions.quiet_to,
    }
