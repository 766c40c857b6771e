"""What NEUROS is told about models, texts and interventions, and the local model beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.components import user_objects
from auren_operator.manifests.model import UserObject
from auren_operator.manifests.network import CLOSED
from tests.unit.operator.built import (
    a_stack,
    build,
    containers,
    environment,
    everything,
    of_kind,
    one,
    settled,
    workloads,
)
from tests.unit.operator.model_cases import API_KEY, EVERY_MODEL, embeddings, llm

NEUROS = "neuros-advanced"
LOCAL = a_stack(llm(mode="local"))
EVERY = a_stack({"neuros": EVERY_MODEL})
TEXT_VARIABLES = ("AUREN_PERSONALITY_FILE", "AUREN_PROTOCOLS_FILE")


def told(spec: dict[str, Any]) -> dict[str, str]:
    """What NEUROS is told about models."""
    ((_, container),) = containers(build(a_stack(spec), NEUROS).manifests)
    prefixes = ("AUREN_LLM_", "AUREN_EMBEDDINGS_")
    return {name: value for name, value in environment(container).items() if name.startswith(prefixes)}


def pod(stack: Any, facts: Any = None, component: str = NEUROS) -> dict[str, Any]:
    """The template of a component's pods."""
    template: dict[str, Any] = one(build(stack, component, facts).manifests, "Deployment")["spec"]["template"]
    return template


def key_sources(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the API key's file comes from."""
    secrets = next(volume for volume in template["spec"]["volumes"] if volume["name"] == "secrets")
    sources = [source["secret"] for source in secrets["projected"]["sources"]]
    return [source for source in sources for item in source["items"] if item["path"] == "auren_llm_api_key"]


def test_by_default_there_is_no_model_and_nobody_is_asked_for_a_key() -> None:
    assert told({}) == {
        "AUREN_LLM_MODE": "rules",
        "AUREN_LLM_TIMEOUT_SECONDS": "30",
        "AUREN_LLM_DAILY_TOKENS": "100000",
        "AUREN_LLM_MAX_OUTPUT_TOKENS": "600",
        "AUREN_EMBEDDINGS_MODE": "local",
    }
    assert build(a_stack({}), "local-model").manifests == []
    assert user_objects(a_stack({})) == []
    assert user_objects(a_stack(llm(apiKeySecretRef=API_KEY, model="for later"))) == []


def test_a_server_elsewhere_is_told_as_the_spec_says() -> None:
    assert told({"neuros": EVERY_MODEL}) == {
        "AUREN_LLM_MODE": "openai",
        "AUREN_LLM_BASE_URL": "https://llm.example.com:8443/v1",
        "AUREN_LLM_API": "chat",
        "AUREN_LLM_MODEL": "gpt-large",
        "AUREN_LLM_TIMEOUT_SECONDS": "300",
        "AUREN_LLM_DAILY_TOKENS": "1000000000",
        "AUREN_LLM_MAX_OUTPUT_TOKENS": "32768",
        "AUREN_EMBEDDINGS_MODE": "openai",
        "AUREN_EMBEDDINGS_MODEL": "text-embedding-3-small",
        "AUREN_EMBEDDINGS_BASE_URL": "http://10.0.0.7/v1/",
        "AUREN_EMBEDDINGS_DIMENSION": "1536",
    }


def test_openai_s_own_address_is_the_service_s_to_know() -> None:
    found = told(llm(mode="openai", model="gpt", apiKeySecretRef=API_KEY))
    assert "AUREN_LLM_BASE_URL" not in found
    assert found["AUREN_LLM_API"] == "responses"


def test_the_key_is_a_file_that_pods_start_without() -> None:
    template = pod(EVERY)
    assert key_sources(template) == [
        {"name": "openai", "items": [{"key": "api-key", "path": "auren_llm_api_key"}], "optional": True}
    ]
    assert not any("KEY" in variable["name"] for variable in template["spec"]["containers"][0]["env"])
    missing = replace(settled(EVERY), given={})
    assert key_sources(pod(EVERY, missing)) == key_sources(template)


def test_a_key_that_comes_or_changes_rolls_the_pods() -> None:
    facts = settled(EVERY)
    hashes = {
        pod(EVERY, known)["metadata"]["annotations"][names.ANNOTATION_SECRETS_HASH]
        for known in (facts, replace(facts, given={}), replace(facts, given={"openai": "another"}))
    }
    assert len(hashes) == 3


def test_embeddings_elsewhere_take_the_key_along() -> None:
    stack = a_stack(embeddings(mode="openai", model="e", dimension=8))
    assert [source["name"] for source in key_sources(pod(stack))] == ["openai"]
    assert key_sources(pod(a_stack(llm(mode="local", apiKeySecretRef=API_KEY)))) == []


def test_what_people_have_to_make() -> None:
    assert user_objects(EVERY) == [
        UserObject("openai", NEUROS, "the model's API key", ("api-key",), is_login=True),
        UserObject("voice", NEUROS, "its own personality", ("our.yaml",), kind="ConfigMap"),
        UserObject("protocols.v2", NEUROS, "its own protocols", ("protocols",), kind="ConfigMap"),
    ]
    assert user_objects(a_stack({"neuros": {**EVERY_MODEL, "enabled": False}})) == []


def test_own_texts_are_mounted_once_they_are_there() -> None:
    template = pod(EVERY)
    ((_, container),) = containers(build(EVERY, NEUROS).manifests)
    variables = environment(container)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume.get("configMap") for volume in template["spec"]["volumes"]}
    for name, variable, config_map, key in (
        ("personality", "AUREN_PERSONALITY_FILE", "voice", "our.yaml"),
        ("protocols", "AUREN_PROTOCOLS_FILE", "protocols.v2", "protocols"),
    ):
        items = [{"key": key, "path": f"{name}.yaml"}]
        assert volumes[name] == {"name": config_map, "optional": True, "items": items}
        assert variables[variable] == f"{mounts[name]}/{name}.yaml"


def test_until_then_the_built_in_ones_hold_and_the_pods_are_as_without() -> None:
    plain = {name: part for name, part in EVERY_MODEL.items() if name not in {"personality", "protocols"}}
    missing = replace(settled(EVERY), texts={})
    assert pod(EVERY, missing) == pod(a_stack({"neuros": plain}))
    one_missing = replace(settled(EVERY), texts={"voice": "h"})
    variables = {variable["name"] for variable in pod(EVERY, one_missing)["spec"]["containers"][0]["env"]}
    assert variables & set(TEXT_VARIABLES) == {"AUREN_PERSONALITY_FILE"}


def test_a_changed_text_rolls_neuros_and_nothing_else() -> None:
    facts = settled(EVERY)
    changed = replace(facts, texts={**facts.texts, "voice": "another"})
    pairs = zip(everything(EVERY, facts), everything(EVERY, changed), strict=True)
    assert [new["metadata"]["name"] for old, new in pairs if old != new] == ["demo-neuros-advanced"]


def test_a_secret_of_the_same_name_is_not_taken_for_a_text() -> None:
    spec = {**EVERY_MODEL, "personality": {"configMapRef": {"name": "openai", "key": "y"}}}
    stack = a_stack({"neuros": spec})
    facts = replace(settled(stack), texts={})
    assert "openai" in facts.given
    assert not any(volume["name"] == "personality" for volume in pod(stack, facts)["spec"]["volumes"])


# -- the local model -----------------------------------------------------------------------------------------------


def test_neuros_goes_to_the_local_model() -> None:
    found = told(llm(mode="local"))
    assert found["AUREN_LLM_MODE"] == "local"
    assert found["AUREN_LLM_API"] == "chat"
    assert found["AUREN_LLM_MODEL"] == "gemma-3-270m"
    service = one(build(LOCAL, "local-model").manifests, "Service")
    port = service["spec"]["ports"][0]["port"]
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert found["AUREN_LLM_BASE_URL"] == f"http://{address}:{port}/v1"


def test_it_is_one_pod_where_neuros_may_run() -> None:
    placement = {
        "nodeSelector": {"pool": "services"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "serving",
    }
    stack = a_stack({"neuros": {"replicas": 3, "llm": {"mode": "local"}, **placement}})
    deployment = one(build(stack, "local-model").manifests, "Deployment")
    assert deployment["spec"]["replicas"] == 1
    spec = deployment["spec"]["template"]["spec"]
    assert {name: spec[name] for name in placement} == placement


def test_it_goes_nowhere_and_writes_only_where_nothing_lasts() -> None:
    assert "local-model" in CLOSED
    policy = one(build(LOCAL, "local-model").manifests, "NetworkPolicy")["spec"]
    assert (policy["policyTypes"], "egress" in policy) == (["Ingress", "Egress"], False)
    template = pod(LOCAL, component="local-model")
    assert all("emptyDir" in volume for volume in template["spec"]["volumes"])
    (container,) = template["spec"]["containers"]
    directory = environment(container)["AUREN_LOCAL_MODEL_DIR"]
    assert {"name": "weights", "mountPath": directory} in container["volumeMounts"]


@pytest.mark.parametrize("mode", ["rules", "openai"])
def test_it_is_gone_in_any_other_mode_and_where_neuros_is_off(mode: str) -> None:
    more = {"model": "m", "baseUrl": "http://m"} if mode == "openai" else {}
    for spec in (llm(mode=mode, **more), {"neuros": {"enabled": False, "llm": {"mode": "local"}}}):
        assert build(a_stack(spec), "local-model").manifests == []


def test_neuros_needs_it_for_nothing() -> None:
    others = [
        workload for workload in workloads(everything(LOCAL)) if "local-model" not in workload["metadata"]["name"]
    ]
    assert len(others) == len(workloads(everything(a_stack({}))))
    assert of_kind(build(LOCAL, "local-model").manifests, "Secret") == []
