"""What is kept of an object: identity, our own fields, and a detail by kind; as the API server sends them."""

from __future__ import annotations

import base64
import copy

import orjson
import pytest

from auren_operator.api import names
from auren_operator.api.observed import DataSeen, JobSeen, VolumeSeen, lost_paths, own_fields, see, stack_of
from tests.unit.operator.core.objects import applied, claim, condition, deployment, entry, job, obj, owner


def test_an_object_is_reduced_to_what_apply_and_status_need() -> None:
    fields = {"f:data": {"f:redis.conf": {}}, "f:metadata": {"f:ownerReferences": {'k:{"uid":"s"}': {}}}}
    seen = see(
        "ConfigMap",
        obj(
            "ConfigMap",
            uid="u",
            version=41,
            data={"redis.conf": "x" * 1000},
            metadata={"managedFields": [entry("auren-operator", fields)], "ownerReferences": [owner("s")]},
        ),
    )
    assert (seen.kind, seen.namespace, seen.name, seen.uid, seen.stack) == (
        "ConfigMap",
        "people",
        "demo-redis",
        "u",
        "demo",
    )
    assert (seen.version, seen.owners, seen.deleting, seen.ours, seen.detail) == (41, ("s",), False, True, None)
    assert "redis.conf" in seen.own
    assert "x" * 10 not in repr(seen)


def test_the_kind_is_the_given_one_where_a_list_leaves_it_out() -> None:
    listed = obj("ConfigMap")
    del listed["kind"]
    assert see("ConfigMap", listed).kind == "ConfigMap"


def test_an_object_on_its_way_out_is_seen_as_that() -> None:
    assert see("Service", obj("Service", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})).deleting


def test_what_has_no_label_belongs_to_no_stack() -> None:
    bare = obj("Service")
    del bare["metadata"]["labels"]
    assert stack_of(bare) == ""
    assert see("Service", bare).stack == ""


OTHERS = [
    entry("kubectl-edit", {"f:metadata": {"f:labels": {"f:theirs": {}}}}, "Update"),
    entry("kube-controller-manager", {"f:status": {"f:replicas": {}}}, "Update", "status"),
    entry("auren-operator", {"f:status": {"f:phase": {}}}, "Apply", "status"),
    entry("auren-operator", {"f:spec": {"f:replicas": {}}}, "Update"),
    entry("auren-replicas", {"f:spec": {"f:replicas": {}}}),
]


def test_only_our_own_apply_to_the_object_itself_counts_as_ours() -> None:
    assert own_fields(OTHERS) == ""
    ours = entry("auren-operator", {"f:data": {"f:a": {}}})
    assert orjson.loads(own_fields([*OTHERS, ours])) == {"f:data": {"f:a": {}}}


@pytest.mark.parametrize("manager", ["auren-operator", "auren-replicas", "auren-secrets"])
def test_an_object_that_one_of_our_managers_wrote_is_ours_without_label_or_owner(manager: str) -> None:
    meta = {"managedFields": [entry(manager, {"f:data": {}}, "Update")], "labels": {}}
    assert see("Secret", obj("Secret", metadata=meta)).ours


def test_an_object_that_others_wrote_is_not_ours() -> None:
    meta = {"managedFields": [OTHERS[0]], "ownerReferences": [owner("other", "Deployment")]}
    seen = see("Secret", obj("Secret", metadata=meta))
    assert (seen.ours, seen.owners) == (False, ())


def test_two_stacks_leave_the_same_text_for_the_same_component() -> None:
    one, other = (
        own_fields([entry("auren-operator", applied("uid-one"))]),
        own_fields([entry("auren-operator", applied("uid-other"))]),
    )
    assert one == other
    assert one is other, "they share one string"
    assert "uid-one" not in one


def test_the_time_of_an_entry_is_no_part_of_it() -> None:
    one, other = entry("auren-operator", applied("s")), entry("auren-operator", applied("s"))
    other["time"] = "2027-01-01T00:00:00Z"
    assert own_fields([one]) == own_fields([other])


def test_blanking_leaves_the_answer_of_the_api_server_as_it_was() -> None:
    fields = applied("s")
    before = copy.deepcopy(fields)
    own_fields([entry("auren-operator", fields)])
    assert fields == before


def text_of(fields: dict[str, object]) -> str:
    return own_fields([entry("auren-operator", fields)])


LOST = {
    "metadata.labels.app.kubernetes.io/component": ("f:metadata", "f:labels", "f:app.kubernetes.io/component"),
    "metadata.annotations.aupex.ai/applied-hash": ("f:metadata", "f:annotations", "f:aupex.ai/applied-hash"),
    "spec.replicas": ("f:spec", "f:replicas"),
    "spec.template.metadata.annotations.aupex.ai/config-hash": (
        "f:spec",
        "f:template",
        "f:metadata",
        "f:annotations",
        "f:aupex.ai/config-hash",
    ),
}


@pytest.mark.parametrize(("readable", "path"), LOST.items(), ids=LOST)
def test_a_lost_field_is_named_as_a_person_would(readable: str, path: tuple[str, ...]) -> None:
    edited = applied("s")
    at: dict[str, object] = edited
    for step in path[:-1]:
        at = at[step]  # type: ignore[assignment]  # a tree of dicts
    del at[path[-1]]
    assert lost_paths(text_of(applied("s")), text_of(edited)) == [readable]


def test_a_lost_variable_names_its_container_and_itself() -> None:
    edited = applied("s")
    env = edited["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"redis"}']["f:env"]
    del env['k:{"name":"AUREN_PORT"}']["f:value"]
    assert lost_paths(text_of(applied("s")), text_of(edited)) == [
        "spec.template.spec.containers.[redis].env.[AUREN_PORT].value"
    ]
    del env['k:{"name":"POD_NAME"}']
    assert "spec.template.spec.containers.[redis].env.[POD_NAME].valueFrom.fieldRef" in lost_paths(
        text_of(applied("s")), text_of(edited)
    )


def test_a_port_is_named_by_all_its_keys() -> None:
    edited = applied("s")
    ports = edited["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"redis"}']["f:ports"]
    del next(iter(ports.values()))["f:name"]
    assert lost_paths(text_of(applied("s")), text_of(edited)) == [
        "spec.template.spec.containers.[redis].ports.[6379,TCP].name"
    ]


def test_a_lost_owner_is_named_without_its_uid() -> None:
    edited = applied("s")
    edited["f:metadata"]["f:ownerReferences"] = {}
    assert text_of(edited) != text_of(applied("s"))
    assert lost_paths(text_of(applied("s")), text_of(edited)) == ["metadata.ownerReferences.owner"]
    del edited["f:metadata"]["f:ownerReferences"]
    assert lost_paths(text_of(applied("s")), text_of(edited)) == ["metadata.ownerReferences.owner"]


def test_everything_is_lost_when_our_entry_is_gone_and_nothing_when_it_is_new() -> None:
    assert "spec.replicas" in lost_paths(text_of(applied("s")), "")
    assert lost_paths("", text_of(applied("s"))) == []


def test_replicas_are_held_only_where_our_entry_has_them() -> None:
    with_them = deployment()
    with_them["metadata"]["managedFields"] = [entry("auren-operator", {"f:spec": {"f:replicas": {}}})]
    without = deployment()
    without["metadata"]["managedFields"] = [
        entry("auren-operator", {"f:spec": {"f:template": {}}}),
        entry("auren-replicas", {"f:spec": {"f:replicas": {}}}),
    ]
    assert see("Deployment", with_them).holds_replicas
    assert not see("Deployment", without).holds_replicas


def test_the_digest_of_the_last_apply_is_read_from_its_annotation() -> None:
    stamped = obj("Deployment", metadata={"annotations": {names.ANNOTATION_APPLIED_HASH: "abc"}})
    assert see("Deployment", stamped).stamp == "abc"
    assert see("Deployment", obj("Deployment")).stamp == ""


def secret(**data: str) -> DataSeen:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    detail = see("Secret", obj("Secret", data=encoded)).detail
    assert isinstance(detail, DataSeen)
    return detail


def test_of_a_secret_only_keys_and_a_hash_are_kept() -> None:
    detail = secret(password="hunter2")
    assert detail.keys == {"password"}
    assert "hunter2" not in repr(detail)
    assert base64.b64encode(b"hunter2").decode() not in repr(detail)


def test_a_secrets_hash_follows_its_values_and_not_the_order_of_its_keys() -> None:
    assert secret(a="1", b="2").data_hash == secret(b="2", a="1").data_hash
    assert secret(a="1").data_hash != secret(a="2").data_hash


def test_an_emptied_key_of_a_secret_is_a_missing_one() -> None:
    assert secret(password="").keys == frozenset()
    assert see("Secret", obj("Secret", data=None)).detail == see("Secret", obj("Secret")).detail


def test_a_volume_has_its_requested_size_and_whether_it_is_bound() -> None:
    assert see("PersistentVolumeClaim", claim(size="2Gi")).detail == VolumeSeen(2 << 30, True, None)
    pending = claim(size="12e6", metadata={"annotations": {names.ANNOTATION_CREATED_REPLICAS: "3"}})
    pending["status"] = {"phase": "Pending"}
    assert see("PersistentVolumeClaim", pending).detail == VolumeSeen(12_000_000, False, 3)


@pytest.mark.parametrize("text", ["", "three", "-1", "²"])
def test_a_number_of_replicas_that_somebody_spoilt_is_none(text: str) -> None:
    spoilt = claim(metadata={"annotations": {names.ANNOTATION_CREATED_REPLICAS: text}})
    detail = see("PersistentVolumeClaim", spoilt).detail
    assert isinstance(detail, VolumeSeen)
    assert detail.created_replicas is None


TRUE = "True"
JOBS = {
    "just made": ((), JobSeen(False, False, "")),
    "its pods succeeded": ((condition("SuccessCriteriaMet", TRUE),), JobSeen(True, False, "")),
    "complete": ((condition("SuccessCriteriaMet", TRUE), condition("Complete", TRUE)), JobSeen(True, False, "")),
    "about to fail": (
        (condition("FailureTarget", TRUE, "BackoffLimitExceeded", "Job has reached the specified backoff limit"),),
        JobSeen(False, True, "BackoffLimitExceeded: Job has reached the specified backoff limit"),
    ),
    "failed": (
        (
            condition("FailureTarget", TRUE, "DeadlineExceeded", "Job was active longer than specified deadline"),
            condition("Failed", TRUE, "DeadlineExceeded", "Job was active longer than specified deadline"),
        ),
        JobSeen(False, True, "DeadlineExceeded: Job was active longer than specified deadline"),
    ),
    "not suspended any more": ((condition("Suspended", "False", "JobResumed"),), JobSeen(False, False, "")),
}


@pytest.mark.parametrize(("conditions", "expected"), JOBS.values(), ids=JOBS)
def test_a_job_is_complete_failed_or_neither(conditions: tuple[dict[str, object], ...], expected: JobSeen) -> None:
    assert see("Job", job("demo-migrations-abc", *conditions)).detail == expected
    assert see("Job", obj("Job")).detail == JobSeen(False, False, "")
