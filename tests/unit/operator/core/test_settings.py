"""The operator's settings: all that is wrong in one line that says what to set."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from auren_operator.api import names
from auren_operator.settings import Settings, SettingsError

IMAGES = {variable: f"registry.example/{key}:1" for key, variable in names.IMAGE_ENV.items()}


def read(**env: str) -> Settings:
    return Settings.from_environment(IMAGES | env)


def test_what_is_set_is_taken() -> None:
    settings = read(
        AUREN_VERSION="1.2.3",
        AUREN_LOG_LEVEL="DEBUG",
        AUREN_METRICS_PORT="9999",
        AUREN_WATCH_NAMESPACES="b,a",
        AUREN_LEASE_NAME="mine",
        POD_NAME="operator-1",
        POD_NAMESPACE="auren-system",
    )
    assert settings.release.version == "1.2.3"
    assert settings.release.images["neuros-advanced"] == "registry.example/neuros-advanced:1"
    assert set(settings.release.images) == set(names.IMAGE_ENV)
    assert (settings.log_level, settings.metrics_port) == ("debug", 9999)
    assert settings.watch_namespaces == ("a", "b")
    assert (settings.identity, settings.namespace, settings.lease_name) == ("operator-1", "auren-system", "mine")


@pytest.mark.parametrize("empty", [False, True], ids=["unset", "empty"])
def test_what_is_not_set_has_a_default(empty: bool) -> None:
    unset = ("AUREN_VERSION", "AUREN_METRICS_PORT", "AUREN_WATCH_NAMESPACES", "AUREN_LEASE_NAME", "POD_NAMESPACE")
    settings = read(**dict.fromkeys(unset, "")) if empty else read()
    assert settings.release.version == version("auren")
    assert (settings.metrics_port, settings.log_level) == (9464, "info")
    assert settings.watch_namespaces == ()
    assert (settings.namespace, settings.lease_name) == ("default", "auren-operator")


def test_two_processes_of_one_host_are_two() -> None:
    assert read().identity
    assert read(POD_NAME="one").identity != read(POD_NAME="other").identity


@pytest.mark.parametrize("text", ["a,b", " a , b ", "b,a,,a", "b,a,"])
def test_namespaces_are_read_as_people_write_them(text: str) -> None:
    assert read(AUREN_WATCH_NAMESPACES=text).watch_namespaces == ("a", "b")


def wrong(env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(env)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_missing_image_is_named() -> None:
    sentence = wrong({})
    assert all(variable in sentence for variable in names.IMAGE_ENV.values())
    one = wrong({k: v for k, v in IMAGES.items() if k != "AUREN_IMAGE_JOBS"} | {"AUREN_IMAGE_JOBS": ""})
    assert "AUREN_IMAGE_JOBS" in one
    assert "AUREN_IMAGE_KAFKA" not in one


@pytest.mark.parametrize("port", ["web", "0", "65536", "-1", "9464.5", " ", "²", "1e3"])
def test_a_port_that_is_none_is_named_with_what_it_may_be(port: str) -> None:
    sentence = wrong(IMAGES | {"AUREN_METRICS_PORT": port})
    assert f"AUREN_METRICS_PORT is {port!r}" in sentence
    assert "1 to 65535" in sentence


def test_a_level_that_is_none_is_named_with_those_there_are() -> None:
    sentence = wrong(IMAGES | {"AUREN_LOG_LEVEL": "loud"})
    assert "AUREN_LOG_LEVEL is 'loud'" in sentence
    assert "debug, info, warning, error" in sentence


def test_all_that_is_wrong_is_said_at_once() -> None:
    sentence = wrong({"AUREN_METRICS_PORT": "web", "AUREN_LOG_LEVEL": "loud"})
    assert all(name in sentence for name in ("AUREN_IMAGE_JOBS", "AUREN_METRICS_PORT", "AUREN_LOG_LEVEL"))
