"""Settings of the services: environment variables `AUREN_*`, secrets from files. A wrong value ends the start.

A service composes its settings from the parts it uses:

    class BridgeSettings(KafkaSettings, DatabaseSettings, RedisSettings, ServiceSettings):
        port: int = 8889

    settings = load(BridgeSettings)

A field `kafka_bootstrap` is the variable AUREN_KAFKA_BOOTSTRAP. A field of type SecretStr is a file:
`kafka_password` is `auren_kafka_password` in the directory AUREN_SECRETS_DIR, and is never taken from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "AUREN_"
SECRETS_DIR_VARIABLE = "AUREN_SECRETS_DIR"
DEFAULT_SECRETS_DIR = "/run/auren/secrets"

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 lets the system choose, which tests use."""

LEAST_RETENTION_DAYS = 60
"""Patterns look back eight weeks, baselines 29 days; the rest is for readings that come late."""

MOST_RETENTION_DAYS = 3650


def is_secret(field: FieldInfo) -> bool:
    """Whether a field is read from a file."""
    return "SecretStr" in str(field.annotation)


class _PlainEnvironment(EnvSettingsSource):
    """Environment variables without the secrets: those are readable by everybody who may describe a pod."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if is_secret(field):
            return None, field_name, False
        return super().get_field_value(field, field_name)


class Settings(BaseSettings):
    """The base of every part."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first (tests), then the environment, then the files; no .env file."""
        return init_settings, _PlainEnvironment(settings_cls), file_secret_settings


class LogSettings(Settings):
    """What every process has: whose it is and how it logs."""

    stack: str = "auren"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_key: SecretStr | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("log_key")
    @classmethod
    def _hex_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                bytes.fromhex(value.get_secret_value())
            except ValueError:
                raise ValueError("is no hexadecimal key") from None
        return value


class ServiceSettings(LogSettings):
    """What every process that listens has."""

    host: str = "0.0.0.0"
    port: Port = 8000
    metrics_port: Port = 9464
    auth_issuer: str = "auren"
    auth_audience: str = "auren"
    auth_jwks: SecretStr | None = None
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """Requests that one user's tokens may make of one service, all its replicas together."""

    @field_validator("auth_jwks")
    @classmethod
    def _jwks(cls, value: SecretStr | None) -> SecretStr | None:
        from auren.auth import public_keys  # it imports this module

        if value is not None:
            public_keys(value.get_secret_value())
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
                raise ValueError(f"{origin!r} is no origin such as https://app.example.org")
        return value


class KafkaSettings(Settings):
    """How to reach Kafka."""

    kafka_bootstrap: str
    kafka_security: Literal["SASL_PLAINTEXT", "PLAINTEXT"] = "SASL_PLAINTEXT"
    kafka_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr | None = None

    @field_validator("kafka_bootstrap")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError("is no list of host:port")
        return value

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.kafka_security == "SASL_PLAINTEXT" and not self.kafka_username:
            raise ValueError("AUREN_KAFKA_USERNAME is needed with AUREN_KAFKA_SECURITY=SASL_PLAINTEXT")
        if self.kafka_security == "SASL_PLAINTEXT" and self.kafka_password is None:
            raise ValueError("file auren_kafka_password is needed with AUREN_KAFKA_SECURITY=SASL_PLAINTEXT")
        return self


class DatabaseSettings(Settings):
    """How to reach PostgreSQL. `verify-full`: its certificate names the host, signed by one of the authority's file."""

    database_host: str
    database_port: Port = 5432
    database_name: str = "auren_production"
    database_user: str
    database_password: SecretStr
    database_pool_size: Annotated[int, Field(ge=1, le=100)] = 4
    database_tls: Literal["disable", "require", "verify-full"] = "disable"
    database_ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _authority(self) -> Self:
        if self.database_tls == "verify-full" and self.database_ca_file is None:
            raise ValueError("AUREN_DATABASE_CA_FILE is needed with AUREN_DATABASE_TLS=verify-full")
        return self

    @property
    def database_authority(self) -> str | None:
        """The authority's file as libpq takes it (`sslrootcert`)."""
        return str(self.database_ca_file) if self.database_ca_file else None


class RetentionSettings(Settings):
    """How long what was measured is kept, and from when on it is compressed where the server can."""

    retention_days: Annotated[int, Field(ge=LEAST_RETENTION_DAYS, le=MOST_RETENTION_DAYS)] = 365
    compress_after_days: Annotated[int, Field(ge=1)] = 7

    @model_validator(mode="after")
    def _compressed_before_dropped(self) -> Self:
        if self.compress_after_days >= self.retention_days:
            raise ValueError("AUREN_COMPRESS_AFTER_DAYS must be less than AUREN_RETENTION_DAYS")
        return self


class RedisSettings(Settings):
    """How to reach Redis."""

    redis_host: str
    redis_port: Port = 6379
    redis_password: SecretStr


class ModeSettings(Settings):
    """Thresholds that a stack sets otherwise than thresholds.toml: JSON of `modes.Overrides`."""

    modes: str = ""

    @field_validator("modes")
    @classmethod
    def _overrides(cls, value: str) -> str:
        from auren.modes import overridden  # pydantic reports what it raises

        overridden(value)
        return value


class ChromaSettings(Settings):
    """How to reach Chroma."""

    chroma_host: str
    chroma_port: Port = 8000


class Names(NamedTuple):
    """The names that a settings class knows: environment variables and files in the secrets directory."""

    variables: frozenset[str]
    files: frozenset[str]


def names(settings: type[Settings]) -> Names:
    """Every name that `settings` reads; the contract with whoever renders the environment."""
    fields = settings.model_fields
    return Names(
        variables=frozenset(PREFIX + name.upper() for name, field in fields.items() if not is_secret(field))
        | {SECRETS_DIR_VARIABLE},
        files=frozenset(PREFIX.lower() + name for name, field in fields.items() if is_secret(field)),
    )


def _sentence(settings: type[Settings], error: Mapping[str, Any]) -> str:
    location = error["loc"]
    field = settings.model_fields.get(str(location[0])) if location else None
    message = str(error["msg"]).removeprefix("Value error, ")
    if field is None:
        return message
    name = PREFIX + str(location[0]).upper()
    return f"file {name.lower()}: {message}" if is_secret(field) else f"{name}: {message}"


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(settings: type[AnySettings]) -> AnySettings:
    """The settings from environment and files. Raises SystemExit with one line that names what is wrong."""
    directory = Path(os.environ.get(SECRETS_DIR_VARIABLE, DEFAULT_SECRETS_DIR))
    try:
        # pydantic-settings takes the directory as an argument that type checkers do not see.
        source: dict[str, Any] = {"_secrets_dir": directory if directory.is_dir() else None}
        return settings(**source)
    except ValidationError as error:
        faults = [_sentence(settings, fault) for fault in error.errors(include_input=False, include_url=False)]
        raise SystemExit("settings: " + "; ".join(faults)) from None
