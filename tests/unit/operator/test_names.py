"""The documented names are those that the builders use: none is missing, none is made up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import auren_operator
from auren_operator.api import names
from auren_operator.api.reasons import SENTENCES, Reason
from auren_operator.api.rules import violations
from auren_operator.components.kafka_files import server_properties
from auren_operator.components.redis import redis_conf
from auren_operator.components.timescaledb_files import postgresql_conf
from tests.unit.operator.built import a_stack, containers, environment, everything, workloads
from tests.unit.operator.model_cases import EVERY_MODEL
from tests.unit.operator.provider_cases import EVERY_PROVIDER
from tests.unit.operator.spec_cases import EXTERNAL

STACK = a_stack({"bridge": EVERY_PROVIDER, "neuros": EVERY_MODEL})
WITH_LOCAL_MODEL = a_stack({"neuros": {"llm": {"mode": "local"}}})
WITH_EXTERNAL = a_stack(EXTERNAL)


def test_reserved_variables_are_those_that_the_operator_sets() -> None:
    children = [*everything(STACK), *everything(WITH_EXTERNAL), *everything(WITH_LOCAL_MODEL)]
    made = {name for _, container in containers(children) for name in environment(container)}
    ours = {name for name in made if name.startswith("AUREN_")}
    assert ours - set(names.FREE_ENVIRONMENT) == set(names.RESERVED_ENVIRONMENT)


def test_labels_and_annotations_are_documented() -> None:
    children = everything(STACK)
    everywhere = [*children, *(child["spec"]["template"] for child in workloads(children))]
    used = {
        key
        for part in everywhere
        for table in ("labels", "annotations")
        for key in part.get("metadata", {}).get(table, {})
        if "aupex.ai/" in key or "app.kubernetes.io/" in key
    }
    assert used <= {*names.LABELS, *names.ANNOTATIONS}


def values(text: str, separator: str) -> dict[str, str]:
    """Setting → the value that holds: the last line wins."""
    pairs = (line.split(separator, 1) for line in text.splitlines() if separator in line)
    return {name.strip(): value.strip().strip("'") for name, value in pairs}


def kafka(config: dict[str, str]) -> dict[str, str]:
    return values(server_properties(replace(STACK.kafka, config=config), "demo-kafka", "demo-kafka.ns", 1), "=")


def timescaledb(config: dict[str, str]) -> dict[str, str]:
    return values(postgresql_conf(replace(STACK.timescaledb, config=config), 1 << 30), "=")


def redis(config: dict[str, str]) -> dict[str, str]:
    return values(redis_conf(replace(STACK.redis, config=config)), " ")


@pytest.mark.parametrize("render", [kafka, timescaledb, redis], ids=lambda render: render.__name__)
def test_a_setting_is_refused_when_and_only_when_the_builder_would_overrule_it(
    render: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    for key in render({}):
        taken = render({key: "7"})[key] == "7"
        assert (violations({render.__name__: {"config": {key: "7"}}}) == []) == taken, key


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_word_with_a_sentence(reason: Reason) -> None:
    assert re.fullmatch("([A-Z][a-z]+)+", reason)
    assert SENTENCES[reason].endswith(".")


def test_every_reason_is_given_somewhere() -> None:
    package = Path(auren_operator.__file__).parent
    code = "".join(file.read_text() for file in package.rglob("*.py") if file.name != "reasons.py")
    assert [reason.name for reason in Reason if f"Reason.{reason.name}" not in code] == []
