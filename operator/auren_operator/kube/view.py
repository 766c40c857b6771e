"""The operator's view of the cluster: the stacks, and of each stack the objects that carry its label.

Kopf's watches feed it; reconciles read it; answers to our own writes go in at once, so that the next reconcile does
not depend on how fast the watch is. Nothing here waits, and nothing here asks the API server.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from auren_operator.api import names
from auren_operator.api.observed import Object, Seen, see

GRAVES: Final = 5_000
"""Ends that are remembered: all children of a hundred stacks may be deleted in one moment."""


class StackKey(NamedTuple):
    """Which stack."""

    namespace: str
    name: str


class ChildKey(NamedTuple):
    """Which object of a stack."""

    kind: str
    name: str


class Change(enum.Enum):
    """What an observation means for its stack."""

    NONE = "nothing that matters"
    STATUS = "only what the status shows"
    DRIFT = "something that we want otherwise may differ"


@dataclass(frozen=True, slots=True)
class StackSeen:
    """An AurenStack as last seen: its identity, spec and status."""

    namespace: str
    name: str
    uid: str
    generation: int
    version: int
    going: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    def resource(self) -> dict[str, Any]:
        """The parts of the object that parsing needs."""
        meta = {"name": self.name, "namespace": self.namespace, "uid": self.uid, "generation": self.generation}
        return {"metadata": meta, "spec": self.spec}


def see_stack(obj: Object) -> StackSeen:
    """What is kept of an AurenStack."""
    meta = obj["metadata"]
    return StackSeen(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        version=int(meta.get("resourceVersion") or 0),
        going="deletionTimestamp" in meta,
        spec=obj.get("spec") or {},
        status=obj.get("status") or {},
    )


class View:
    """All stacks and their objects, by key."""

    def __init__(self) -> None:
        self._stacks: dict[StackKey, StackSeen] = {}
        self._children: dict[StackKey, dict[ChildKey, Seen]] = {}
        self._gone: dict[str, int] = {}

    def stack(self, key: StackKey) -> StackSeen | None:
        """The stack, when it exists."""
        return self._stacks.get(key)

    def stacks(self) -> Iterator[StackKey]:
        """The keys of all stacks."""
        return iter(list(self._stacks))

    def children(self, key: StackKey) -> Mapping[ChildKey, Seen]:
        """The objects that carry the stack's label, also those that are being deleted."""
        return self._children.get(key, {})

    def observe_stack(self, obj: Object) -> Change:
        """Take in an AurenStack; older versions than the one known are ignored."""
        new = see_stack(obj)
        key = StackKey(new.namespace, new.name)
        old = self._stacks.get(key)
        if self.is_over(new.uid, new.version) or (old is not None and old.version >= new.version):
            return Change.NONE
        self._stacks[key] = new
        if old is None or (old.uid, old.generation, old.going) != (new.uid, new.generation, new.going):
            return Change.DRIFT
        return Change.STATUS if old.status != new.status else Change.NONE

    def forget_stack(self, key: StackKey, uid: str, version: int = 0) -> bool:
        """A stack is gone; its namesake of another uid stays. ``version`` is as in `forget`."""
        self._bury(uid, version)
        known = self._stacks.get(key)
        if known is None or known.uid != uid:
            return False
        del self._stacks[key]
        return True

    def observe(self, kind: str, obj: Object) -> tuple[StackKey, Change]:
        """Take in an object that carries a stack's label: whose it is (or was, until somebody gave it another's label),
        and what the observation means. What is older than what is known of its name or its end is ignored.
        """
        new = see(kind, obj)
        key, child = StackKey(new.namespace, new.stack), ChildKey(kind, new.name)
        home = self._home(key, child)
        old = self._children[home].get(child) if home else None
        if self.is_over(new.uid, new.version) or (old is not None and old.version >= new.version):
            return key, Change.NONE
        if home is not None and home != key:
            self._drop(home, child)
        self._children.setdefault(key, {})[child] = new
        if home is None or old is None:  # whoever made it: nothing is missing, so there is no hurry
            return key, Change.STATUS
        if old == new:
            return key, Change.NONE
        if home != key or kind in {"Secret", "ConfigMap", "PersistentVolumeClaim"} or not new.same_but_detail(old):
            return home, Change.DRIFT
        return key, Change.STATUS

    def _home(self, key: StackKey, child: ChildKey) -> StackKey | None:
        """The stack under which an object is known: as a rule that of its label."""
        if child in self._children.get(key, {}):
            return key
        others = (other for other in self._children if other.namespace == key.namespace)
        return next((other for other in others if child in self._children[other]), None)

    def forget(self, kind: str, namespace: str, name: str, stack: str, uid: str, version: int = 0) -> bool:
        """An object is gone; False when it was not known, or its namesake of another uid already stands there.

        Nothing of that uid up to ``version`` is taken in any more: the answer to a write that came before the end may
        arrive after it.
        """
        key, child = StackKey(namespace, stack), ChildKey(kind, name)
        known = self._children.get(key, {}).get(child)
        self._bury(uid, version)
        if known is None or known.uid != uid:
            return False
        self._drop(key, child)
        return True

    def _drop(self, key: StackKey, child: ChildKey) -> None:
        children = self._children[key]
        del children[child]
        if not children:
            del self._children[key]

    def _bury(self, uid: str, version: int) -> None:
        if version:
            self._gone[uid] = version
        if len(self._gone) > GRAVES:
            del self._gone[next(iter(self._gone))]

    def is_over(self, uid: str, version: int) -> bool:
        """Whether this was said of an object before its end."""
        return version <= self._gone.get(uid, -1)

    def missing_from(self, kind: str, present: Mapping[str, str], listed_version: int) -> list[Seen]:
        """Objects of a kind that the view holds and a list of ``uid → name`` taken at a version does not."""
        return [
            seen
            for children in self._children.values()
            for child, seen in children.items()
            if child.kind == kind and seen.uid not in present and seen.version <= listed_version
        ]

    def __len__(self) -> int:
        return sum(len(children) for children in self._children.values())


SELECTOR = names.LABEL_STACK
"""Label selector (existence) of everything that belongs to some stack."""
