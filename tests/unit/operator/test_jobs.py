"""The Jobs: a new name for every change of what they run or what they run on, and for nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from auren_operator.api import names
from auren_operator.api.spec import Stack
from auren_operator.manifests.model import Facts, Manifest, Volume
from tests.unit.operator.built import a_stack, build, environment, of_kind, one, settled

JOBS = ("migrations", "topics")
CLAIM = {"migrations": "data-demo-timescaledb-0", "topics": "data-demo-kafka-0"}
ADMIN = {"migrations": "demo-timescaledb", "topics": "demo-kafka"}


def job(component: str, stack: Stack | None = None, facts: Facts | None = None) -> Manifest:
    """The component's Job."""
    return one(build(stack or a_stack({}), component, facts).manifests, "Job")


def with_volume(facts: Facts, claim: str, volume: Volume) -> Facts:
    """The facts with another volume under a claim."""
    return dataclasses.replace(facts, volumes={**facts.volumes, claim: volume})


def with_secret(facts: Facts, secret: str, value: str) -> Facts:
    """The facts with another content of a Secret."""
    return dataclasses.replace(facts, secrets={**facts.secrets, secret: value})


CHANGES: dict[str, Callable[[str, Facts], tuple[Stack, Facts]]] = {
    "image": lambda component, facts: (a_stack({"images": {"overrides": {"jobs": "mine:2"}}}), facts),
    "emptied volume": lambda component, facts: (
        a_stack({}),
        with_volume(facts, CLAIM[component], Volume("another uid", 10 << 30)),
    ),
    "administrator's password": lambda component, facts: (a_stack({}), with_secret(facts, ADMIN[component], "another")),
    "service's password": lambda component, facts: (
        a_stack({}),
        with_secret(facts, "demo-biometric-bridge", "another"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("component", JOBS)
def test_a_change_makes_another_job(component: str, change: str) -> None:
    facts = settled(a_stack({}))
    assert job(component, *CHANGES[change](component, facts)) != job(component, None, facts)
    before, after = job(component, None, facts), job(component, *CHANGES[change](component, facts))
    assert before["metadata"]["name"] != after["metadata"]["name"]


@pytest.mark.parametrize("component", JOBS)
def test_what_does_not_concern_it_leaves_the_job_alone(component: str) -> None:
    facts = settled(a_stack({}))
    other = "data-demo-redis-0"
    grown = with_volume(
        facts, CLAIM[component], dataclasses.replace(facts.volumes[CLAIM[component]], storage_bytes=1 << 40)
    )
    for same in (
        with_volume(facts, other, Volume("another uid", 1)),
        with_secret(facts, "demo-redis", "another"),
        grown,
    ):
        assert job(component, None, same) == job(component, None, facts)
    assert job(component, a_stack({"neuros": {"replicas": 3}, "hibernated": True}), facts) == job(
        component, None, facts
    )


@pytest.mark.parametrize("component", JOBS)
def test_a_name_never_stands_for_two_templates(component: str) -> None:
    stacks = [a_stack(spec) for spec in ({}, {"size": "large"}, {"images": {"pullPolicy": "Always"}})]
    jobs = [job(component, stack, settled(stack)) for stack in stacks]
    for one_job in jobs:
        for other in jobs:
            same_name = one_job["metadata"]["name"] == other["metadata"]["name"]
            assert same_name == (one_job["spec"] == other["spec"])


@pytest.mark.parametrize("component", JOBS)
def test_without_a_volume_or_a_secret_the_job_is_withheld(component: str) -> None:
    facts = settled(a_stack({}))
    no_volume = dataclasses.replace(facts, volumes={})
    no_secret = dataclasses.replace(facts, secrets={})
    for lacking in (no_volume, no_secret):
        built = build(a_stack({}), component, lacking)
        assert of_kind(built.manifests, "Job") == []
        assert built.withheld == ("Job",)


@pytest.mark.parametrize("component", JOBS)
def test_a_job_is_kept_after_its_end(component: str) -> None:
    spec = job(component)["spec"]
    assert "ttlSecondsAfterFinished" not in spec
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(("replicas", "copies"), [(1, "1"), (3, "3")])
def test_topics_have_as_many_copies_as_there_are_brokers(replicas: int, copies: str) -> None:
    stack = a_stack({"kafka": {"replicas": replicas}})
    (container,) = job("topics", stack)["spec"]["template"]["spec"]["containers"]
    assert environment(container)[names.ENV_KAFKA_REPLICATION] == copies
