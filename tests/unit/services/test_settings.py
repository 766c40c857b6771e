"""Settings: what is wrong ends the start with one line that names it and shows no value of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from auren.bridge.settings import BridgeSettings, CollectorSettings
from auren.settings import DatabaseSettings, RetentionSettings, ServiceSettings, Settings, load, names

REQUIRED = {
    "AUREN_KAFKA_BOOTSTRAP": "kafka:9092",
    "AUREN_KAFKA_USERNAME": "biometric-bridge",
    "AUREN_DATABASE_HOST": "timescaledb",
    "AUREN_DATABASE_USER": "biometric_bridge",
    "AUREN_REDIS_HOST": "redis",
}
FILES = {
    "auren_kafka_password": "k",
    "auren_database_password": "d",
    "auren_redis_password": "r",
    "auren_oauth_keyring": f"k1:{'0' * 64}",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A complete environment; returns the secrets directory."""
    for name, value in {**REQUIRED, "AUREN_SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name, value in FILES.items():
        (tmp_path / name).write_text(value + "\n")
    return tmp_path


def line(settings: type[Settings] = BridgeSettings) -> str:
    """The line that the start ends with."""
    with pytest.raises(SystemExit) as end:
        load(settings)
    text = str(end.value.code)
    assert "\n" not in text
    return text


def test_a_complete_environment(environment: Path) -> None:
    settings = load(BridgeSettings)
    assert settings.port == 8889
    assert settings.kafka_password is not None
    assert settings.kafka_password.get_secret_value() == "k"
    assert settings.auth_jwks is None
    collector = load(CollectorSettings)
    assert (collector.health_port, collector.metrics_port) == (8890, 9465)


def test_secrets_are_read_through_the_links_of_a_mounted_volume(environment: Path) -> None:
    data = environment / "..2025_03_01"
    data.mkdir()
    (environment / "..data").symlink_to(data.name)
    (environment / "auren_redis_password").unlink()
    (data / "auren_redis_password").write_text("mounted")
    (environment / "auren_redis_password").symlink_to("..data/auren_redis_password")
    assert load(BridgeSettings).redis_password.get_secret_value() == "mounted"


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_is_missing_is_named(environment: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    assert name in line()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(environment: Path, name: str) -> None:
    (environment / name).unlink()
    assert f"file {name}" in line()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AUREN_PORT", "70000", "AUREN_PORT: Input should be less than or equal to 65535"),
        ("AUREN_PORT", "tcp://10.0.0.1:80", "AUREN_PORT: Input should be a valid integer"),
        ("AUREN_KAFKA_BOOTSTRAP", "kafka", "AUREN_KAFKA_BOOTSTRAP: is no list of host:port"),
        ("AUREN_KAFKA_SECURITY", "SSL", "AUREN_KAFKA_SECURITY: Input should be 'SASL_PLAINTEXT' or 'PLAINTEXT'"),
        ("AUREN_LOG_LEVEL", "loud", "AUREN_LOG_LEVEL: Input should be 'DEBUG'"),
        ("AUREN_CORS_ORIGINS", "*", "AUREN_CORS_ORIGINS: '*' is no origin"),
        ("AUREN_CORS_ORIGINS", "https://a.example/path", "AUREN_CORS_ORIGINS: 'https://a.example/path' is no origin"),
        ("AUREN_DATABASE_POOL_SIZE", "0", "AUREN_DATABASE_POOL_SIZE: Input should be greater"),
    ],
)
def test_a_wrong_value_is_named(
    environment: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    assert words in line()


def test_a_wrong_secret_is_named_and_not_shown(environment: Path) -> None:
    (environment / "auren_log_key").write_text("not-hexadecimal")
    assert "file auren_log_key: is no hexadecimal key" in line()
    assert "not-hex" not in line()


def test_a_secret_is_never_taken_from_the_environment(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / "auren_database_password").unlink()
    monkeypatch.setenv("AUREN_DATABASE_PASSWORD", "exposed")
    assert "file auren_database_password" in line()
    assert "exposed" not in line()


def test_origins_are_a_list(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUREN_CORS_ORIGINS", "https://app.example.org, http://localhost:5173")
    assert load(BridgeSettings).cors_origins == ("https://app.example.org", "http://localhost:5173")


def test_kafka_without_authentication_needs_no_credentials(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUREN_KAFKA_SECURITY", "PLAINTEXT")
    monkeypatch.delenv("AUREN_KAFKA_USERNAME")
    (environment / "auren_kafka_password").unlink()
    assert load(BridgeSettings).kafka_password is None


def test_secrets_do_not_show_in_a_dump(environment: Path) -> None:
    (environment / "auren_database_password").write_text("very-secret")
    assert "very-secret" not in repr(load(BridgeSettings)) + str(load(BridgeSettings))


def test_names_tell_variables_from_files() -> None:
    known = names(ServiceSettings)
    assert known.files == {"auren_auth_jwks", "auren_log_key"}
    assert {"AUREN_PORT", "AUREN_SECRETS_DIR", "AUREN_CORS_ORIGINS"} <= known.variables
    assert not {name.lower() for name in known.variables} & known.files
    assert set(REQUIRED) <= names(BridgeSettings).variables
    assert set(FILES) <= names(BridgeSettings).files


@pytest.mark.parametrize("text", ["no json: secret", '{"keys": [{"crv": "P-256", "kty": "EC", "x": "AA", "y": "AA"}]}'])
def test_a_bad_jwks_ends_the_start_with_one_line(environment: Path, text: str) -> None:
    (environment / "auren_auth_jwks").write_text(text)
    assert line() == "settings: file auren_auth_jwks: holds no JWKS"


@pytest.mark.parametrize(
    ("retention", "compress", "wanted"),
    [
        ("60", "59", None),
        ("3650", "1", None),
        ("59", "7", "AUREN_RETENTION_DAYS: Input should be greater than or equal to 60"),
        ("3651", "7", "AUREN_RETENTION_DAYS: Input should be less than or equal to 3650"),
        ("365", "0", "AUREN_COMPRESS_AFTER_DAYS: Input should be greater than or equal to 1"),
        ("60", "60", "AUREN_COMPRESS_AFTER_DAYS must be less than AUREN_RETENTION_DAYS"),
    ],
)
def test_readings_are_kept_longer_than_anything_looks_back_and_compressed_before_they_go(
    environment: Path, monkeypatch: pytest.MonkeyPatch, retention: str, compress: str, wanted: str | None
) -> None:
    monkeypatch.setenv("AUREN_RETENTION_DAYS", retention)
    monkeypatch.setenv("AUREN_COMPRESS_AFTER_DAYS", compress)
    if wanted is None:
        assert load(RetentionSettings).retention_days == int(retention)
    else:
        assert line(RetentionSettings) == f"settings: {wanted}"


def test_an_encrypted_database_that_shall_prove_itself_needs_somebody_who_vouches(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUREN_DATABASE_TLS", "verify-full")
    assert line(DatabaseSettings) == ("settings: AUREN_DATABASE_CA_FILE is needed with AUREN_DATABASE_TLS=verify-full")
    monkeypatch.setenv("AUREN_DATABASE_CA_FILE", str(environment / "ca.crt"))
    assert line(DatabaseSettings) == "settings: AUREN_DATABASE_CA_FILE: Path does not point to a file"
    (environment / "ca.crt").touch()
    assert load(DatabaseSettings).database_authority == str(environment / "ca.crt")


def test_connections_in_the_open_are_the_default(environment: Path) -> None:
    settings = load(DatabaseSettings)
    assert (settings.database_tls, settings.database_authority) == ("disable", None)
