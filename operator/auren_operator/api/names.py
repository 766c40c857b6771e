"""Every name that people and other programs may rely on: labels, annotations, environment variables.

Each table maps a name to the sentence that `docs/reference.md` prints for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUP: Final = "aupex.ai"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "AurenStack"
PLURAL: Final = "aurenstacks"

FIELD_MANAGER: Final = "auren-operator"
REPLICAS_MANAGER: Final = "auren-replicas"
SECRETS_MANAGER: Final = "auren-secrets"
FIELD_MANAGERS: Final[Mapping[str, str]] = {
    FIELD_MANAGER: "Owns every field of a child that the operator sets.",
    REPLICAS_MANAGER: "Owns `spec.replicas`, so that an autoscaler can take it over without pods being lost.",
    SECRETS_MANAGER: "Wrote the random data of a generated Secret, once, when it was made.",
}

LABEL_STACK: Final = "aupex.ai/stack"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABELS: Final[Mapping[str, str]] = {
    LABEL_STACK: "The stack that an object belongs to; the operator watches only objects that carry it.",
    LABEL_COMPONENT: "The component that an object belongs to, such as `kafka` or `neuros-advanced`; with "
    f"`{LABEL_STACK}` it selects the component's pods.",
    LABEL_INSTANCE: "The stack again, where common tools look for it.",
    LABEL_NAME: "Always `auren`.",
    LABEL_PART_OF: "Always `auren`.",
    LABEL_MANAGED_BY: "Always `auren-operator`.",
}

ANNOTATION_SECRETS_HASH: Final = "aupex.ai/secrets-hash"
ANNOTATION_CONFIG_HASH: Final = "aupex.ai/config-hash"
ANNOTATION_TERRA_HASH: Final = "aupex.ai/terra-hash"
ANNOTATION_CREATED_REPLICAS: Final = "aupex.ai/created-replicas"
ANNOTATION_APPLIED_HASH: Final = "aupex.ai/applied-hash"
ANNOTATIONS: Final[Mapping[str, str]] = {
    ANNOTATION_SECRETS_HASH: "On a pod template: hash of the Secrets that the pod mounts, so that a rotated one "
    "rolls the pods.",
    ANNOTATION_CONFIG_HASH: "On a pod template: hash of the ConfigMaps that the pod mounts, so that a changed one "
    "rolls the pods.",
    ANNOTATION_TERRA_HASH: "On Kafka's pod template: hash of the certificate and of the password of Terra's Kafka "
    "destination, so that a new one rolls the brokers.",
    ANNOTATION_CREATED_REPLICAS: "On a StatefulSet: the number of replicas it was created with, where that number "
    "cannot change later (Kafka's quorum).",
    ANNOTATION_APPLIED_HASH: "On a Deployment, StatefulSet or Job: hash of what the operator applied last, so that "
    "after a restart it still tells an update of its own from somebody's edit.",
}

IMAGE_NEUROS: Final = "neuros-advanced"
IMAGE_BIOMETRIC: Final = "biometric-production"
IMAGE_BRIDGE: Final = "biometric-bridge"
IMAGE_LOCAL_MODEL: Final = "local-model"
IMAGE_JOBS: Final = "jobs"
IMAGE_KAFKA: Final = "kafka"
IMAGE_TIMESCALEDB: Final = "timescaledb"
IMAGE_REDIS: Final = "redis"
IMAGE_CHROMADB: Final = "chromadb"

ENV_VERSION: Final = "AUREN_VERSION"
ENV_WATCH_NAMESPACES: Final = "AUREN_WATCH_NAMESPACES"
ENV_LEASE_NAME: Final = "AUREN_LEASE_NAME"
ENV_LEASE_SECONDS: Final = "AUREN_LEASE_SECONDS"
IMAGE_ENV: Final[Mapping[str, str]] = {
    IMAGE_NEUROS: "AUREN_IMAGE_NEUROS_ADVANCED",
    IMAGE_BIOMETRIC: "AUREN_IMAGE_BIOMETRIC_PRODUCTION",
    IMAGE_BRIDGE: "AUREN_IMAGE_BIOMETRIC_BRIDGE",
    IMAGE_LOCAL_MODEL: "AUREN_IMAGE_LOCAL_MODEL",
    IMAGE_JOBS: "AUREN_IMAGE_JOBS",
    IMAGE_KAFKA: "AUREN_IMAGE_KAFKA",
    IMAGE_TIMESCALEDB: "AUREN_IMAGE_TIMESCALEDB",
    IMAGE_REDIS: "AUREN_IMAGE_REDIS",
    IMAGE_CHROMADB: "AUREN_IMAGE_CHROMADB",
}
"""Image key (as in `spec.images.overrides`) → the operator's environment variable that holds its reference."""

ENV_STACK: Final = "AUREN_STACK"
ENV_LOG_LEVEL: Final = "AUREN_LOG_LEVEL"
ENV_HOST: Final = "AUREN_HOST"
ENV_PORT: Final = "AUREN_PORT"
ENV_METRICS_PORT: Final = "AUREN_METRICS_PORT"
ENV_HEALTH_PORT: Final = "AUREN_HEALTH_PORT"
ENV_SECRETS_DIR: Final = "AUREN_SECRETS_DIR"
ENV_AUTH_ISSUER: Final = "AUREN_AUTH_ISSUER"
ENV_AUTH_AUDIENCE: Final = "AUREN_AUTH_AUDIENCE"
ENV_CORS_ORIGINS: Final = "AUREN_CORS_ORIGINS"
ENV_RATE_LIMIT_PER_MINUTE: Final = "AUREN_RATE_LIMIT_PER_MINUTE"
ENV_KAFKA_BOOTSTRAP: Final = "AUREN_KAFKA_BOOTSTRAP"
ENV_KAFKA_SECURITY: Final = "AUREN_KAFKA_SECURITY"
ENV_KAFKA_MECHANISM: Final = "AUREN_KAFKA_MECHANISM"
ENV_KAFKA_USERNAME: Final = "AUREN_KAFKA_USERNAME"
ENV_KAFKA_PARTITIONS: Final = "AUREN_KAFKA_PARTITIONS"
ENV_KAFKA_REPLICATION: Final = "AUREN_KAFKA_REPLICATION"
ENV_KAFKA_TERRA: Final = "AUREN_KAFKA_TERRA"
ENV_DATABASE_HOST: Final = "AUREN_DATABASE_HOST"
ENV_DATABASE_PORT: Final = "AUREN_DATABASE_PORT"
ENV_DATABASE_NAME: Final = "AUREN_DATABASE_NAME"
ENV_DATABASE_USER: Final = "AUREN_DATABASE_USER"
ENV_DATABASE_POOL_SIZE: Final = "AUREN_DATABASE_POOL_SIZE"
ENV_DATABASE_TLS: Final = "AUREN_DATABASE_TLS"
ENV_DATABASE_CA_FILE: Final = "AUREN_DATABASE_CA_FILE"
ENV_RETENTION_DAYS: Final = "AUREN_RETENTION_DAYS"
ENV_MODES: Final = "AUREN_MODES"
ENV_NEUROS_URL: Final = "AUREN_NEUROS_URL"
ENV_COMPRESS_AFTER_DAYS: Final = "AUREN_COMPRESS_AFTER_DAYS"
ENV_REDIS_HOST: Final = "AUREN_REDIS_HOST"
ENV_REDIS_PORT: Final = "AUREN_REDIS_PORT"
ENV_CHROMA_HOST: Final = "AUREN_CHROMA_HOST"
ENV_CHROMA_PORT: Final = "AUREN_CHROMA_PORT"
ENV_LLM_MODE: Final = "AUREN_LLM_MODE"
ENV_LLM_BASE_URL: Final = "AUREN_LLM_BASE_URL"
ENV_LLM_API: Final = "AUREN_LLM_API"
ENV_LLM_MODEL: Final = "AUREN_LLM_MODEL"
ENV_LLM_TIMEOUT_SECONDS: Final = "AUREN_LLM_TIMEOUT_SECONDS"
ENV_LLM_DAILY_TOKENS: Final = "AUREN_LLM_DAILY_TOKENS"
ENV_LLM_MAX_OUTPUT_TOKENS: Final = "AUREN_LLM_MAX_OUTPUT_TOKENS"
ENV_EMBEDDINGS_MODE: Final = "AUREN_EMBEDDINGS_MODE"
ENV_EMBEDDINGS_MODEL: Final = "AUREN_EMBEDDINGS_MODEL"
ENV_EMBEDDINGS_BASE_URL: Final = "AUREN_EMBEDDINGS_BASE_URL"
ENV_EMBEDDINGS_DIMENSION: Final = "AUREN_EMBEDDINGS_DIMENSION"
ENV_PERSONALITY_FILE: Final = "AUREN_PERSONALITY_FILE"
ENV_PROTOCOLS_FILE: Final = "AUREN_PROTOCOLS_FILE"
ENV_INTERVENTIONS_COOLDOWN_SECONDS: Final = "AUREN_INTERVENTIONS_COOLDOWN_SECONDS"
ENV_INTERVENTIONS_DAILY_CAP: Final = "AUREN_INTERVENTIONS_DAILY_CAP"
ENV_INTERVENTIONS_QUIET_FROM: Final = "AUREN_INTERVENTIONS_QUIET_FROM"
ENV_INTERVENTIONS_QUIET_TO: Final = "AUREN_INTERVENTIONS_QUIET_TO"
ENV_LOCAL_MODEL_DIR: Final = "AUREN_LOCAL_MODEL_DIR"
ENV_LOCAL_MODEL_THREADS: Final = "AUREN_LOCAL_MODEL_THREADS"
ENV_PROVIDERS_DIR: Final = "AUREN_PROVIDERS_DIR"
ENV_PUBLIC_URL: Final = "AUREN_PUBLIC_URL"
ENV_HEALTHKIT_ENABLED: Final = "AUREN_HEALTHKIT_ENABLED"
ENV_OURA_WINDOW_SECONDS: Final = "AUREN_OURA_WINDOW_SECONDS"
ENV_WHOOP_WINDOW_SECONDS: Final = "AUREN_WHOOP_WINDOW_SECONDS"
ENV_TERRA_WINDOW_SECONDS: Final = "AUREN_TERRA_WINDOW_SECONDS"
ENV_DELIVERIES_PER_SECOND: Final = "AUREN_DELIVERIES_PER_SECOND"
ENV_PUSHES_PER_SECOND: Final = "AUREN_PUSHES_PER_SECOND"
ENV_TERRA_PAYLOAD_HOSTS: Final = "AUREN_TERRA_PAYLOAD_HOSTS"
ENV_OURA_API_URL: Final = "AUREN_OURA_API_URL"
ENV_OURA_TOKEN_URL: Final = "AUREN_OURA_TOKEN_URL"  # noqa: S105 - an address
ENV_WHOOP_API_URL: Final = "AUREN_WHOOP_API_URL"
ENV_WHOOP_TOKEN_URL: Final = "AUREN_WHOOP_TOKEN_URL"  # noqa: S105 - an address
ENV_RECONCILE_ROUND_SECONDS: Final = "AUREN_RECONCILE_ROUND_SECONDS"
ENV_RECONCILE_SECONDS: Final = "AUREN_RECONCILE_SECONDS"
ENV_POLL_SECONDS: Final = "AUREN_POLL_SECONDS"
ENV_RECONCILE_LOOKBACK_DAYS: Final = "AUREN_RECONCILE_LOOKBACK_DAYS"
ENV_BACKFILL_DAYS: Final = "AUREN_BACKFILL_DAYS"
ENV_OURA_SUBSCRIPTIONS_SECONDS: Final = "AUREN_OURA_SUBSCRIPTIONS_SECONDS"
ENV_OURA_AUTHORIZE_URL: Final = "AUREN_OURA_AUTHORIZE_URL"
ENV_OURA_REVOKE_URL: Final = "AUREN_OURA_REVOKE_URL"
ENV_WHOOP_AUTHORIZE_URL: Final = "AUREN_WHOOP_AUTHORIZE_URL"
ENV_TERRA_API_URL: Final = "AUREN_TERRA_API_URL"
ENV_TERRA_WIDGET_URL: Final = "AUREN_TERRA_WIDGET_URL"

SECRETS_DIR: Final = "/run/auren/secrets"
"""Where the services find their Secrets: one file per value, named like its setting in lower case."""

PROVIDERS_DIR: Final = "/run/auren/providers"
"""Where the bridge finds the Secrets of the providers: a directory for each that is enabled, one file per key."""

OPERATOR_ENVIRONMENT: Final[Mapping[str, str]] = {
    ENV_VERSION: "The AUREN release that the operator installs.",
    ENV_WATCH_NAMESPACES: "Namespaces whose stacks it serves, separated by commas; empty is the whole cluster.",
    ENV_LEASE_NAME: "Lease by which two replicas agree which of them works.",
    ENV_LEASE_SECONDS: "Seconds that a Lease holds without renewal, 15 by default; its holder ends at two thirds.",
    ENV_LOG_LEVEL: "Least level that is logged: `debug`, `info`, `warning` or `error`.",
    ENV_METRICS_PORT: "Port of its metrics and probes.",
    **{name: f"Image of `{key}`, where the stack does not override it." for key, name in IMAGE_ENV.items()},
}

RESERVED_ENVIRONMENT: Final[Mapping[str, str]] = {
    ENV_STACK: "Name of the stack.",
    ENV_HOST: "Address that the service listens on.",
    ENV_PORT: "Port of the service's own API.",
    ENV_METRICS_PORT: "Port of `/metrics`.",
    ENV_HEALTH_PORT: "Port of the collector's health answers; it has no API of its own.",
    ENV_SECRETS_DIR: "Directory of the mounted Secrets.",
    ENV_AUTH_ISSUER: "Issuer that a token must name (`spec.auth.issuer`).",
    ENV_AUTH_AUDIENCE: "Audience that a token must name (`spec.auth.audience`).",
    ENV_KAFKA_BOOTSTRAP: "Kafka's addresses, separated by commas.",
    ENV_KAFKA_SECURITY: "Kafka's security protocol.",
    ENV_KAFKA_MECHANISM: "Kafka's SASL mechanism.",
    ENV_KAFKA_USERNAME: "The service's own user at Kafka.",
    ENV_KAFKA_PARTITIONS: "Partitions of the large topics (topics Job only).",
    ENV_KAFKA_REPLICATION: "Copies of each partition (topics Job only).",
    ENV_KAFKA_TERRA: "Whether Terra may write into its topic by itself (topics Job only).",
    ENV_DATABASE_HOST: "Address of TimescaleDB.",
    ENV_DATABASE_PORT: "Port of TimescaleDB.",
    ENV_DATABASE_NAME: "Name of the database.",
    ENV_DATABASE_USER: "The service's own role in the database.",
    ENV_DATABASE_POOL_SIZE: "Most connections that one container opens to the database.",
    ENV_DATABASE_TLS: "How connections to an external database are encrypted (`spec.timescaledb.external.tls.mode`).",
    ENV_DATABASE_CA_FILE: "File with the authorities that may have signed an external database's certificate.",
    ENV_NEUROS_URL: "Address of NEUROS, empty where it is switched off (biometric).",
    ENV_MODES: "`spec.modes` as JSON (biometric and neuros).",
    ENV_RETENTION_DAYS: "`spec.timescaledb.retentionDays` (biometric and the migrations Job).",
    ENV_COMPRESS_AFTER_DAYS: "`spec.timescaledb.compressAfterDays` (biometric and the migrations Job).",
    ENV_REDIS_HOST: "Address of Redis.",
    ENV_REDIS_PORT: "Port of Redis.",
    ENV_CHROMA_HOST: "Address of Chroma.",
    ENV_CHROMA_PORT: "Port of Chroma.",
    ENV_LLM_MODE: "`spec.neuros.llm.mode` (neuros only).",
    ENV_LLM_BASE_URL: "Address of the language model: `spec.neuros.llm.baseUrl`, or the local model's (neuros only).",
    ENV_LLM_API: "`spec.neuros.llm.api`; `chat` for the local model (neuros only).",
    ENV_LLM_MODEL: "`spec.neuros.llm.model`, or the local model's name (neuros only).",
    ENV_LLM_TIMEOUT_SECONDS: "`spec.neuros.llm.timeoutSeconds` (neuros only).",
    ENV_LLM_DAILY_TOKENS: "`spec.neuros.llm.dailyTokensPerUser` (neuros only).",
    ENV_LLM_MAX_OUTPUT_TOKENS: "`spec.neuros.llm.maxOutputTokens` (neuros only).",
    ENV_EMBEDDINGS_MODE: "`spec.neuros.embeddings.mode` (neuros only).",
    ENV_EMBEDDINGS_MODEL: "`spec.neuros.embeddings.model` (neuros only).",
    ENV_EMBEDDINGS_BASE_URL: "`spec.neuros.embeddings.baseUrl` (neuros only).",
    ENV_EMBEDDINGS_DIMENSION: "`spec.neuros.embeddings.dimension` (neuros only).",
    ENV_PERSONALITY_FILE: "File of the ConfigMap that `spec.neuros.personality` names, once it is there (neuros only).",
    ENV_PROTOCOLS_FILE: "File of the ConfigMap that `spec.neuros.protocols` names, once it is there (neuros only).",
    ENV_INTERVENTIONS_COOLDOWN_SECONDS: "`spec.neuros.interventions.cooldownSeconds` (neuros only).",
    ENV_INTERVENTIONS_DAILY_CAP: "`spec.neuros.interventions.dailyCap` (neuros only).",
    ENV_INTERVENTIONS_QUIET_FROM: "`spec.neuros.interventions.quietHours.from` (neuros only).",
    ENV_INTERVENTIONS_QUIET_TO: "`spec.neuros.interventions.quietHours.to` (neuros only).",
    ENV_LOCAL_MODEL_DIR: "Directory where the local model's weights are put together (local-model only).",
    ENV_LOCAL_MODEL_THREADS: "Threads that the local model computes on: its CPU limit (local-model only).",
    ENV_PROVIDERS_DIR: "Directory that holds a directory for each provider whose Secret is mounted (bridge only).",
    ENV_PUBLIC_URL: "`spec.bridge.publicURL` (bridge only).",
    ENV_HEALTHKIT_ENABLED: "`spec.bridge.providers.healthkit.enabled` (bridge only).",
    ENV_OURA_WINDOW_SECONDS: "`spec.bridge.providers.oura.windowSeconds`, while it is enabled (bridge only).",
    ENV_WHOOP_WINDOW_SECONDS: "`spec.bridge.providers.whoop.windowSeconds`, while it is enabled (bridge only).",
    ENV_TERRA_WINDOW_SECONDS: "`spec.bridge.providers.terra.windowSeconds`, while it is enabled (bridge only).",
}
"""Environment variables that the operator sets on a service; `spec.<service>.env` may not set them."""

FREE_ENVIRONMENT: Final[Mapping[str, str]] = {
    ENV_LOG_LEVEL: "Least level that is logged: `debug`, `info`, `warning` or `error`.",
    ENV_CORS_ORIGINS: "Origins that browsers may call from, separated by commas; none by default.",
    ENV_RATE_LIMIT_PER_MINUTE: "Requests a minute that one user's tokens may make of the service; 600 by default.",
}
"""Environment variables that every service reads and that `spec.<service>.env` may set."""

FREE_BRIDGE_ENVIRONMENT: Final[Mapping[str, str]] = {
    ENV_DELIVERIES_PER_SECOND: "Deliveries a second that one address may send for one provider.",
    ENV_PUSHES_PER_SECOND: "Pushes a second that one person's phone may send.",
    ENV_TERRA_PAYLOAD_HOSTS: "Hosts, each with a bucket behind a slash or without, that payloads which Terra only "
    "points to are downloaded from, separated by commas; Terra's own by default.",
    ENV_OURA_API_URL: "Address of Oura's API, without a path, for a proxy or a double; Oura's own by default.",
    ENV_OURA_TOKEN_URL: "Address where Oura gives and refreshes tokens; Oura's own by default.",
    ENV_WHOOP_API_URL: "Address of WHOOP's API, up to the version in its paths, for a proxy or a double; WHOOP's own "
    "by default.",
    ENV_WHOOP_TOKEN_URL: "Address where WHOOP gives and refreshes tokens; WHOOP's own by default.",
    ENV_RECONCILE_ROUND_SECONDS: "Seconds between two searches for people whose documents are due to be asked for; 300 "
    "by default.",
    ENV_RECONCILE_SECONDS: "Seconds after which a person's documents are asked for again, in case a webhook was lost; "
    "six hours by default.",
    ENV_POLL_SECONDS: "Seconds after which what no webhook tells is asked for again (WHOOP's cycles, Oura's heart "
    "rates); an hour by default.",
    ENV_RECONCILE_LOOKBACK_DAYS: "Days that such a question reaches back behind the last one, for devices send late; "
    "3 by default.",
    ENV_BACKFILL_DAYS: "Days of their past that are read of people who connect; 30 by default.",
    ENV_OURA_SUBSCRIPTIONS_SECONDS: "Seconds between two looks through Oura's webhook subscriptions; six hours by "
    "default.",
    ENV_OURA_AUTHORIZE_URL: "Address where people allow access at Oura, in their browser; Oura's own by default.",
    ENV_OURA_REVOKE_URL: "Address where Oura ends a grant; Oura's own by default.",
    ENV_WHOOP_AUTHORIZE_URL: "Address where people allow access at WHOOP, in their browser; WHOOP's own by default.",
    ENV_TERRA_API_URL: "Address of Terra's API, without a path, where connections are ended; Terra's own by default.",
    ENV_TERRA_WIDGET_URL: "Address where a session of Terra's widget is begun; Terra's own by default.",
}
"""Environment variables that the bridge alone reads and that `spec.bridge.env` may set."""
