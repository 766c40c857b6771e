"""The Secrets that a stack generates: written once, never again while they exist, never where that would lose data."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.observed import DataSeen, Seen, VolumeSeen, see
from auren_operator.api.reasons import Reason
from auren_operator.api.spec import Stack
from auren_operator.kube.client import Answer, Kube, Refused
from auren_operator.kube.kinds import CHILDREN, WATCHED
from auren_operator.kube.view import ChildKey, StackKey, View
from auren_operator.manifests.meta import manifest
from auren_operator.manifests.model import Component, SecretSpec
from auren_operator.manifests.secrets import generate
from auren_operator.reconcile.apply import BACKGROUND, Done, Memory, NamespaceGoing, trouble_of
from auren_operator.reconcile.desired import Child, child_of
from auren_operator.reconcile.facts import secret_is_complete
from auren_operator.status.rows import Trouble

SECRET = CHILDREN["Secret"]
CLAIM = WATCHED["PersistentVolumeClaim"]
MARK = CHILDREN["ConfigMap"]


def frame(stack: Stack, spec: SecretSpec, uid: str) -> Child:
    """What is applied to a generated Secret: labels and owner, bound to its uid, and no data.

    On a Secret that has vanished the uid makes the API server refuse it instead of creating an empty one. Under
    ``Retain``, one that guards data has no owner: it outlives the stack and is adopted by the next of its name.
    """
    framed = manifest(stack, Component(spec.component, None), "Secret", {}, name=spec.name)
    framed["metadata"]["uid"] = uid
    if spec.guards_data and stack.deletion_policy == "Retain":
        del framed["metadata"]["ownerReferences"]
    return child_of(spec.component, framed)


def keys_are_lost(
    spec: SecretSpec, children: Mapping[ChildKey, Seen], known: Collection[ChildKey] = frozenset()
) -> str:
    """The sentence that says which data can no longer be read without this Secret; empty when none is at stake.

    A mark counts also after it is gone, as long as it is ``known`` to have existed: unlike a volume, it goes with all
    that is deleted by the stack's label.
    """
    if not spec.guards_data:
        return ""
    volumes = [
        name
        for name in spec.guarded_volumes
        if (seen := children.get(ChildKey("PersistentVolumeClaim", name))) and isinstance(seen.detail, VolumeSeen)
    ]
    marks = [name for name in spec.guarded_marks if ChildKey("ConfigMap", name) in {*children, *known}]
    return _lost(spec, volumes, marks)


def _lost(spec: SecretSpec, volumes: list[str], marks: list[str]) -> str:
    """The sentence about data on volumes and on external servers; empty where there is none."""
    if not volumes and not marks:
        return ""
    where = [f"on volume {', '.join(volumes)}"] if volumes else []
    where += [f"in the external database of ConfigMap {', '.join(marks)}"] if marks else []
    return (
        f"Secret {spec.name} is missing or lacks {', '.join(sorted(spec.keys))}, and {spec.at_stake} "
        f"{' and '.join(where)} cannot be read without it: restore the Secret from a backup, or {spec.way_out}"
    )


def _conflict(spec: SecretSpec) -> Trouble:
    message = f"Secret {spec.name} exists and does not belong to this stack"
    return Trouble(spec.component, Reason.NAME_CONFLICT, message)


MAKING: Final = "making of Secret"
"""What `Patience` counts a Secret's random data by: new data means new Jobs and roll-outs, each time."""


class Secrets:
    """Makes the Secrets that are missing. Holds no secret itself."""

    def __init__(self, kube: Kube, view: View) -> None:
        self._kube, self._view = kube, view

    async def ensure(self, stack: Stack, spec: SecretSpec, memory: Memory) -> Done | Trouble | None:
        """Make one Secret if it is missing. None: nothing to do (it is there, or on its way out)."""
        key = StackKey(stack.namespace, stack.name)
        seen = self._view.children(key).get(ChildKey("Secret", spec.name))
        if seen is not None and (seen.deleting or secret_is_complete(spec, seen)):
            return None
        try:
            lost = keys_are_lost(spec, self._view.children(key), memory.known) or await self._keys_of_hidden(
                stack, spec
            )
            if not lost:
                return await self._make(stack, spec, seen, memory)
            if seen is None and (hidden := await self._hidden(stack, spec)):
                return await self._take_back(stack, spec, hidden)
            return Trouble(spec.component, Reason.KEYS_LOST, lost)
        except Refused as refused:
            if refused.namespace_going:
                raise NamespaceGoing(stack.namespace) from refused
            return trouble_of(spec.component, ChildKey("Secret", spec.name), refused)

    async def _make(self, stack: Stack, spec: SecretSpec, seen: Seen | None, memory: Memory) -> Done | Trouble:
        child = ChildKey("Secret", spec.name)
        if seen is not None and not seen.ours:  # a person's, with our label on it: it is never ours to delete
            return _conflict(spec)
        if memory.patience.wait_seconds(ChildKey(MAKING, spec.name)):
            return Trouble(spec.component, Reason.APPLY_FAILED, f"Secret {spec.name} is taken away again and again")
        if seen is not None:  # it lacks a key: its values belong together, so it is made anew as a whole
            await self._kube.delete(SECRET, stack.namespace, spec.name, seen.uid, BACKGROUND)
        try:
            answer = await self._kube.create(SECRET, self._body(stack, spec), names.SECRETS_MANAGER)
        except Refused as refused:
            if not refused.conflict:
                raise
            if hidden := await self._hidden(stack, spec):
                return await self._take_back(stack, spec, hidden)
            return _conflict(spec)
        self._view.observe("Secret", answer)
        healed = child in memory.known
        memory.known.add(child)
        return Done(child, "healed" if healed else "created")

    async def _keys_of_hidden(self, stack: Stack, spec: SecretSpec) -> str:
        """As `keys_are_lost`, for volumes and marks that the view does not hold because they lost their label."""
        if not spec.guards_data:
            return ""
        volumes = [n for n in spec.guarded_volumes if await self._kube.metadata(CLAIM, stack.namespace, n)]
        marks = [n for n in spec.guarded_marks if await self._kube.metadata(MARK, stack.namespace, n)]
        return _lost(spec, volumes, marks)

    async def _hidden(self, stack: Stack, spec: SecretSpec) -> Answer | None:
        """Our own Secret of that name, where it lost the label by which we see it; or keys that somebody restored."""
        found = await self._kube.read(SECRET, stack.namespace, spec.name)
        if found is None:
            return None
        restored = (
            spec.guards_data
            and not found["metadata"].get("ownerReferences")
            and set(spec.keys) <= set(found.get("data") or ())
        )
        return found if restored or see("Secret", found).ours else None

    async def _take_back(self, stack: Stack, spec: SecretSpec, found: Answer) -> Done | Trouble:
        """A Secret that lost its label is taken in again."""
        child = ChildKey("Secret", spec.name)
        answer = await self._kube.apply(frame(stack, spec, found["metadata"]["uid"]).manifest())
        self._view.observe("Secret", answer)
        detail = see("Secret", answer).detail
        if isinstance(detail, DataSeen) and not detail.keys.issuperset(spec.keys):
            return Trouble(spec.component, Reason.APPLY_FAILED, f"Secret {spec.name} lacks a key; it is made anew")
        return Done(child, "reverted", ("metadata.labels",))

    def _body(self, stack: Stack, spec: SecretSpec) -> dict[str, Any]:
        """A new Secret. The owner of one that guards data comes by the frame alone: what this manager wrote, too, would
        stay when the policy becomes ``Retain``, and the keys would go with the stack.
        """
        body = frame(stack, spec, "").manifest()
        del body["metadata"]["uid"]
        if spec.guards_data:
            body["metadata"].pop("ownerReferences", None)
        return body | {
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in generate(spec).items()}
        }
