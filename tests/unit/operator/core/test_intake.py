"""Where events come in: what is put on the queue for each, how soon, and what is remembered until then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import kopf
import pytest

from auren_operator import handlers
from auren_operator.api import names
from auren_operator.handlers import SETTLE_SECONDS, Intake
from auren_operator.kube.kinds import STACK, WATCHED
from auren_operator.kube.view import SELECTOR, ChildKey, StackKey, View
from auren_operator.reconcile import queue as queue_module
from auren_operator.reconcile.queue import WorkQueue
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.cluster import our_stack
from tests.unit.operator.core.objects import applied, entry, obj, pod
from tests.unit.operator.core.test_queue import all_of, on

KEY = StackKey("people", "demo")
OTHER = StackKey("people", "other")
SERVICE, POD = WATCHED["Service"], WATCHED["Pod"]
OURS = [entry("auren-operator", applied("s1"))]


class Desk:
    """An intake with what stands around it: ``gone`` and ``relisted`` are what it told the others."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.view, self.queue = View(), WorkQueue[StackKey]()
        self.gone: list[tuple[StackKey, ChildKey]] = []
        self.relisted = 0
        reconciler: Any = SimpleNamespace(gone=lambda key, child, uid: self.gone.append((key, child)))
        resync: Any = SimpleNamespace(soon=self._soon)
        self.intake = Intake(self.view, self.queue, reconciler, resync)

    def _soon(self) -> None:
        self.relisted += 1

    def stack(self, event: str | None, body: dict[str, Any]) -> list[StackKey]:
        """An event of the AurenStack; who is looked at now."""
        self.intake.stack_event(event, body)
        return self.now()

    def child(self, event: str | None, body: dict[str, Any]) -> list[StackKey]:
        """An event of a child; who is looked at now."""
        self.intake.child_event(WATCHED[body["kind"]], event, body)
        return self.now()

    def now(self) -> list[StackKey]:
        """Who is on the queue."""
        keys = all_of(self.queue)
        for key in keys:
            self.queue.done(key)
        return keys

    def later(self) -> list[StackKey]:
        """Who is on the queue once things have settled."""
        self.clock.advance(SETTLE_SECONDS)
        return self.now()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    clock = Clock()
    monkeypatch.setattr(queue_module, "asyncio", on(clock))
    return Desk(clock)


def stack(uid: str = "s1", version: int = 5, generation: int = 1, **rest: Any) -> dict[str, Any]:
    body = our_stack()
    body["metadata"] |= {"uid": uid, "resourceVersion": str(version), "generation": generation}
    return body | rest


def test_a_new_stack_and_a_new_spec_are_looked_at_now(desk: Desk) -> None:
    assert desk.stack("ADDED", stack()) == [KEY]
    assert desk.stack("MODIFIED", stack(version=6, generation=2)) == [KEY]


def test_a_status_that_somebody_edits_is_looked_at_soon_and_our_own_never(desk: Desk) -> None:
    desk.stack("ADDED", stack())
    assert desk.stack("MODIFIED", stack(version=6, status={"version": "0"})) == []
    assert desk.later() == [KEY]
    desk.view.observe_stack(stack(version=7, status={"version": "1"}))  # the answer to our own write
    assert desk.stack("MODIFIED", stack(version=7, status={"version": "1"})) == []
    assert desk.later() == []


def test_a_stack_that_is_gone_is_looked_at_once_more(desk: Desk) -> None:
    desk.stack("ADDED", stack())
    assert desk.stack("DELETED", stack(version=6)) == [KEY]
    assert desk.view.stack(KEY) is None
    assert desk.stack("DELETED", stack(version=6)) == []


def test_a_new_child_is_no_hurry_and_an_edited_one_is(desk: Desk) -> None:
    assert desk.child("ADDED", obj("Service", version=10, metadata={"managedFields": OURS})) == []
    assert desk.later() == [KEY]
    assert desk.child("MODIFIED", obj("Service", version=11)) == [KEY], "our entry is gone: somebody edited it"
    assert desk.later() == []


def test_a_deleted_child_is_looked_at_now_and_noted(desk: Desk) -> None:
    desk.child("ADDED", obj("Service", version=10))
    desk.later()
    assert desk.child("DELETED", obj("Service", version=11)) == [KEY]
    assert desk.gone == [(KEY, ChildKey("Service", "demo-redis"))]


def test_a_deleted_child_goes_before_all_that_waits(desk: Desk) -> None:
    desk.child("ADDED", obj("Service", version=10))
    desk.later()
    for name in ("a", "b"):
        desk.queue.add(StackKey("people", name))
    assert desk.child("DELETED", obj("Service", version=11))[0] == KEY


def test_the_end_of_an_object_whose_namesake_is_there_already_means_nothing(desk: Desk) -> None:
    desk.child("ADDED", obj("Service", uid="new", version=12))
    desk.later()
    assert desk.child("DELETED", obj("Service", uid="old", version=11)) == []
    assert desk.later() == []
    assert desk.gone == []


def test_pods_that_come_go_and_change_are_looked_at_together_a_little_later(desk: Desk) -> None:
    events = [
        ("ADDED", pod()),
        ("MODIFIED", pod(phase="Failed", reason="Evicted") | {}),
        ("DELETED", pod()),
    ]
    for version, (event, body) in enumerate(events, start=20):
        body["metadata"]["resourceVersion"] = str(version)
        assert desk.child(event, body) == []
    assert desk.later() == [KEY]
    assert desk.later() == []


def test_a_child_given_another_stacks_label_is_looked_at_by_both(desk: Desk) -> None:
    desk.child("ADDED", obj("Service", version=10))
    desk.later()
    moved = obj("Service", version=11)
    moved["metadata"]["labels"] = {names.LABEL_STACK: "other"}
    assert desk.child("MODIFIED", moved) == [KEY]
    assert desk.gone == [(KEY, ChildKey("Service", "demo-redis"))]
    assert desk.later() == [OTHER]


def test_a_list_that_brings_what_is_known_means_that_a_watch_began_anew(desk: Desk) -> None:
    body = obj("Service", version=10)
    desk.child(None, body)
    assert desk.relisted == 0, "the first list brings only what is new"
    desk.child("MODIFIED", body)
    assert desk.relisted == 0
    desk.child(None, body)
    assert desk.relisted == 1


def test_kopf_selects_by_label_on_the_server_and_writes_nothing() -> None:
    settings = handlers.settings()
    for kind in WATCHED.values():
        assert settings.watching.label_selectors[kind.group, kind.plural] == SELECTOR
    assert (STACK.group, STACK.plural) not in settings.watching.label_selectors
    assert not settings.posting.enabled
    assert settings.persistence.diffbase_storage.fetch(body=kopf.Body({})) is None


def test_every_watched_kind_has_its_handlers_and_none_of_them_adds_a_finalizer(desk: Desk) -> None:
    registry = handlers.registry(desk.intake)
    watched = {kind.plural for kind in (*WATCHED.values(), STACK)}
    assert len(registry._watching.get_all_handlers()) == len(watched)
    assert registry._indexing.get_all_handlers() == []
    assert registry._changing.get_all_handlers() == []
    assert registry._spawning.get_all_handlers() == []
