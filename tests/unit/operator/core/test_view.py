"""The view: what watches and our own writes' answers bring, in whatever order they come."""

from __future__ import annotations

from typing import Any

import pytest

from auren_operator.api import names
from auren_operator.kube import view as module
from auren_operator.kube.view import Change, ChildKey, StackKey, View
from tests.unit.operator.core.objects import applied, claim, deployment, entry, obj, owner, pod

KEY = StackKey("people", "demo")
REDIS = ChildKey("Service", "demo-redis")


def stack(uid: str = "s1", version: int = 5, generation: int = 1, **rest: Any) -> dict[str, Any]:
    meta = {"name": "demo", "namespace": "people", "uid": uid, "resourceVersion": str(version)}
    meta["generation"] = generation  # type: ignore[assignment]  # the only number of the metadata
    return {"metadata": meta | rest.pop("metadata", {}), **rest}


@pytest.fixture
def view() -> View:
    return View()


def test_a_stack_is_taken_in_and_its_parts_are_found_again(view: View) -> None:
    assert view.observe_stack(stack(spec={"size": "demo"}, status={"version": "1"})) is Change.DRIFT
    seen = view.stack(KEY)
    assert seen is not None
    assert seen.resource() == {
        "metadata": {"name": "demo", "namespace": "people", "uid": "s1", "generation": 1},
        "spec": {"size": "demo"},
    }
    assert list(view.stacks()) == [KEY]


def test_what_a_change_of_a_stack_means(view: View) -> None:
    view.observe_stack(stack(version=5))
    assert view.observe_stack(stack(version=5)) is Change.NONE
    assert view.observe_stack(stack(version=6)) is Change.NONE, "a label of somebody's"
    assert view.observe_stack(stack(version=7, status={"version": "1"})) is Change.STATUS
    assert view.observe_stack(stack(version=8, generation=2, status={"version": "1"})) is Change.DRIFT
    going = stack(version=9, generation=2, status={"version": "1"}, metadata={"deletionTimestamp": "now"})
    assert view.observe_stack(going) is Change.DRIFT


def test_an_older_stack_than_the_one_known_is_ignored(view: View) -> None:
    view.observe_stack(stack(version=9, generation=3))
    assert view.observe_stack(stack(version=8, generation=2)) is Change.NONE
    seen = view.stack(KEY)
    assert seen is not None
    assert seen.generation == 3


def test_a_stack_that_is_gone_leaves_its_namesake_alone(view: View) -> None:
    view.observe_stack(stack("s1", 5))
    assert view.observe_stack(stack("s2", 8)) is Change.DRIFT
    assert not view.forget_stack(KEY, "s1")
    assert view.stack(KEY) is not None
    assert view.forget_stack(KEY, "s2")
    assert view.stack(KEY) is None
    assert not view.forget_stack(KEY, "s2")


def test_a_late_word_about_a_former_stack_does_not_displace_its_namesake(view: View) -> None:
    view.observe_stack(stack("s2", 8))
    view.observe_stack(stack("s1", 6))
    seen = view.stack(KEY)
    assert seen is not None
    assert seen.uid == "s2"


def test_a_status_answer_that_comes_after_the_end_of_its_stack_brings_nothing_back(view: View) -> None:
    view.observe_stack(stack(version=5))
    assert view.forget_stack(KEY, "s1", 7)
    assert view.observe_stack(stack(version=6, status={"version": "1"})) is Change.NONE
    assert view.stack(KEY) is None


def test_what_a_change_of_a_child_means(view: View) -> None:
    mine = [entry("auren-operator", applied("s1"))]
    assert view.observe("Deployment", deployment()) == (KEY, Change.STATUS), "it is there: no hurry"
    changes = [
        (deployment(replicas=2, readyReplicas=1), Change.STATUS),
        (deployment(replicas=2, readyReplicas=1), Change.NONE),
        (deployment(replicas=2, readyReplicas=1) | {"metadata": {"managedFields": mine}}, Change.DRIFT),
        (deployment(replicas=2, readyReplicas=1), Change.DRIFT),
        (deployment(replicas=2) | {"metadata": {"ownerReferences": [owner("s1")]}}, Change.DRIFT),
        (deployment(replicas=2) | {"metadata": {"deletionTimestamp": "now"}}, Change.DRIFT),
    ]
    for version, (found, expected) in enumerate(changes, start=20):
        meta = deployment()["metadata"] | found["metadata"] | {"resourceVersion": str(version)}
        assert view.observe("Deployment", found | {"metadata": meta})[1] is expected, version


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("Secret", obj("Secret", version=1), obj("Secret", version=2, data={"password": "eA=="})),
        ("PersistentVolumeClaim", claim(version=1), claim(version=2, size="2Gi")),
    ],
)
def test_what_builders_depend_on_is_a_drift(
    view: View, kind: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    view.observe(kind, before)
    assert view.observe(kind, after)[1] is Change.DRIFT


def test_a_pods_troubles_are_only_a_matter_of_the_status(view: View) -> None:
    view.observe("Pod", pod())
    later = pod(phase="Failed", reason="Evicted")
    later["metadata"]["resourceVersion"] = "11"
    assert view.observe("Pod", later)[1] is Change.STATUS


def test_the_event_of_our_own_write_comes_after_its_answer_and_means_nothing(view: View) -> None:
    answer = obj("Service", version=12, metadata={"managedFields": [entry("auren-operator", applied("s1"))]})
    view.observe("Service", answer)
    assert view.observe("Service", answer) == (KEY, Change.NONE)
    assert view.observe("Service", obj("Service", version=11)) == (KEY, Change.NONE), "and so does one before it"
    assert view.children(KEY)[REDIS].own


def test_an_object_that_is_gone_leaves_its_namesake_alone(view: View) -> None:
    view.observe("Service", obj("Service", uid="old", version=5))
    view.observe("Service", obj("Service", uid="new", version=9))
    assert not view.forget("Service", "people", "demo-redis", "demo", "old")
    assert view.children(KEY)[REDIS].uid == "new"
    assert view.forget("Service", "people", "demo-redis", "demo", "new")
    assert not view.forget("Service", "people", "demo-redis", "demo", "new")
    assert dict(view.children(KEY)) == {}
    assert len(view) == 0


def test_a_late_word_about_a_former_object_does_not_displace_its_namesake(view: View) -> None:
    """Kopf reads each uid in a stream of its own: the former's last change may come after the namesake's answer."""
    view.observe("Service", obj("Service", uid="new", version=9))
    late = obj("Service", uid="old", version=7, metadata={"deletionTimestamp": "now"})
    assert view.observe("Service", late)[1] is Change.NONE
    assert view.children(KEY)[REDIS].uid == "new"


def test_an_object_whose_label_names_another_stack_is_missed_where_it_was(view: View) -> None:
    view.observe("Service", obj("Service", version=5))
    moved = obj("Service", version=6)
    moved["metadata"]["labels"] = {names.LABEL_STACK: "other"}
    assert view.observe("Service", moved) == (KEY, Change.DRIFT)
    assert REDIS not in view.children(KEY)
    assert REDIS in view.children(StackKey("people", "other"))
    assert view.observe("Service", obj("Service", version=7)) == (StackKey("people", "other"), Change.DRIFT)
    assert REDIS in view.children(KEY)
    assert REDIS not in view.children(StackKey("people", "other"))


def test_an_answer_that_comes_after_the_end_of_its_object_brings_nothing_back(view: View) -> None:
    """The API server answers our write, somebody deletes the object, and the watch is faster than the answer."""
    view.observe("Service", obj("Service", version=5))
    assert view.forget("Service", "people", "demo-redis", "demo", "uid-1", 8)
    assert view.observe("Service", obj("Service", version=7))[1] is Change.NONE
    assert REDIS not in view.children(KEY)


def test_an_object_that_gets_its_label_back_is_there_again(view: View) -> None:
    """To a watch that selects by label, taking the label looks like a deletion; the uid stays the same."""
    view.observe("Service", obj("Service", version=5))
    assert view.forget("Service", "people", "demo-redis", "demo", "uid-1", 8)
    assert view.observe("Service", obj("Service", version=9)) == (KEY, Change.STATUS)
    assert REDIS in view.children(KEY)


def test_only_so_many_ends_are_remembered(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRAVES", 2)
    for number, uid in enumerate(("a", "b", "c")):
        view.forget("Service", "people", f"demo-{uid}", "demo", uid, 10 + number)
    assert view.observe("Service", obj("Service", "demo-a", uid="a", version=1))[1] is Change.STATUS
    assert view.observe("Service", obj("Service", "demo-c", uid="c", version=1))[1] is Change.NONE


def test_two_stacks_of_one_namespace_do_not_see_each_others_objects(view: View) -> None:
    view.observe("Service", obj("Service"))
    other = obj("Service", "other-redis", uid="uid-2")
    other["metadata"]["labels"] = {names.LABEL_STACK: "other"}
    view.observe("Service", other)
    assert set(view.children(KEY)) == {REDIS}
    assert len(view) == 2


def test_what_a_list_lacks_is_missing_unless_it_came_after_the_list(view: View) -> None:
    view.observe("Service", obj("Service", "demo-a", uid="a", version=5))
    view.observe("Service", obj("Service", "demo-b", uid="b", version=5))
    view.observe("Service", obj("Service", "demo-c", uid="c", version=21))
    view.observe("ConfigMap", obj("ConfigMap", "demo-d", uid="d", version=5))
    assert [seen.name for seen in view.missing_from("Service", {"a": "demo-a"}, 20)] == ["demo-b"]
    assert view.missing_from("Service", {"a": "demo-a", "b": "demo-b"}, 20) == []
