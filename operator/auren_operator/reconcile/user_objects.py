"""The Secrets and ConfigMaps that people make and the spec names: whether they are there. They are never changed.

One that carries the stack's label is in the view, and its watch brings every change of it; any other is read by its
name, in each round. Of either only the names of its keys and a hash are kept, and those no longer than the round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from auren_operator.api.observed import DataSeen, Seen, see
from auren_operator.api.spec import Stack
from auren_operator.kube.client import TOO_MANY_REQUESTS, Kube, Refused
from auren_operator.kube.kinds import CHILDREN
from auren_operator.kube.view import ChildKey, StackKey, View
from auren_operator.manifests.model import UserKind, UserObject
from auren_operator.reconcile.apply import SERVER_ERROR
from auren_operator.status.rows import Lacking

LOOK_SECONDS: Final = 10.0
"""How soon a stack is looked at again that misses one of them: without our label nobody tells that it came."""

Look = DataSeen | Refused | None
"""What came of a look at one of them: None when it does not exist."""


Looks = Mapping[ChildKey, Look]


class UserObjects:
    """Looks. One for the process; it remembers nothing."""

    def __init__(self, kube: Kube, view: View) -> None:
        self._kube, self._view = kube, view

    async def look(self, stack: Stack, asked: Iterable[UserObject]) -> Looks:
        """What was found of those that a stack asks for. Raises `Unreachable`."""
        wanted = sorted({key_of(one) for one in asked})
        looks = await asyncio.gather(*(self._look(stack, key) for key in wanted))
        return dict(zip(wanted, looks, strict=True))

    async def lacking(
        self, stack: Stack, asked: Sequence[UserObject], looks: Looks
    ) -> Mapping[str, tuple[Lacking, ...]]:
        """As `lacking_of`, with a look at those that were not looked at yet. Raises `Unreachable`.

        Nobody looks for a stack that sleeps: none of its pods would read them.
        """
        if stack.hibernated:
            return {}
        others = await self.look(stack, (one for one in asked if key_of(one) not in looks))
        return lacking_of(asked, {**looks, **others})

    async def _look(self, stack: Stack, key: ChildKey) -> Look:
        seen = self._view.children(StackKey(stack.namespace, stack.name)).get(key)
        if seen is not None:
            return _data(seen)
        try:
            answer = await self._kube.read(CHILDREN[key.kind], stack.namespace, key.name)
        except Refused as refused:
            if refused.code >= SERVER_ERROR or refused.code == TOO_MANY_REQUESTS:
                raise  # that says nothing about the object
            return refused
        return _data(see(key.kind, answer)) if answer is not None else None


def key_of(asked: UserObject) -> ChildKey:
    """Which object that is."""
    return ChildKey(asked.kind, asked.name)


def lacking_of(asked: Iterable[UserObject], looks: Looks) -> dict[str, tuple[Lacking, ...]]:
    """Component → what it does without, for components that do without something. Pure."""
    found: dict[str, tuple[Lacking, ...]] = {}
    for one in asked:
        if problem := problem_of(one, looks[key_of(one)]):
            row = Lacking(one.name, problem, one.purpose, one.kind)
            found[one.component] = (*found.get(one.component, ()), row)
    return found


def given_of(asked: Iterable[UserObject], looks: Looks, kind: UserKind) -> dict[str, str]:
    """Name → hash of the data, of those of a kind that a build depends on and that will do. Pure."""
    return {
        one.name: seen.data_hash
        for one in asked
        if one.kind == kind
        and one.is_built_in
        and isinstance(seen := looks[key_of(one)], DataSeen)
        and not problem_of(one, seen)
    }


def problem_of(asked: UserObject, seen: Look) -> str:
    """What is wrong with an object of which this was found; empty when nothing is. Pure."""
    if seen is None:
        return "it is missing"
    if isinstance(seen, Refused):
        return f"it cannot be read: {seen.code} {seen.reason}"
    missing = [key for key in asked.keys if key not in seen.keys]
    if missing:
        return f"it lacks {', '.join(missing)}"
    return seen.flaw if asked.is_certificate else ""


def _data(seen: Seen) -> DataSeen | None:
    return seen.detail if isinstance(seen.detail, DataSeen) else None
