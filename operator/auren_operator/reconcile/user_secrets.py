"""The Secrets that people make and the spec names: whether they are there. They are looked at, never changed.

One that carries the stack's label is in the view, and its watch brings every change of it; any other is read by its
name, in each round. Of either only the names of its keys are kept, and those no longer than the round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from auren_operator import components
from auren_operator.api.observed import SecretSeen, Seen, see
from auren_operator.api.spec import Stack
from auren_operator.kube.client import TOO_MANY_REQUESTS, Kube, Refused
from auren_operator.kube.kinds import CHILDREN
from auren_operator.kube.view import ChildKey, StackKey, View
from auren_operator.manifests.model import UserSecret
from auren_operator.reconcile.apply import SERVER_ERROR
from auren_operator.status.rows import Lacking

LOOK_SECONDS: Final = 10.0
"""How soon a stack is looked at again of whose Secrets one is missing: without our label nobody tells that it came."""


class UserSecrets:
    """Looks. One for the process; it remembers nothing."""

    def __init__(self, kube: Kube, view: View) -> None:
        self._kube, self._view = kube, view

    async def lacking(self, stack: Stack) -> Mapping[str, tuple[Lacking, ...]]:
        """Component → what it does without, for components that do without something. Raises `Unreachable`.

        Nothing is looked at for a stack that sleeps.
        """
        wanted = [] if stack.hibernated else components.user_secrets(stack)
        wanted_names = sorted({secret.name for secret in wanted})
        looks = await asyncio.gather(*(self._look(stack, name) for name in wanted_names))
        keys = dict(zip(wanted_names, looks, strict=True))
        found: dict[str, tuple[Lacking, ...]] = {}
        for secret in wanted:
            if problem := problem_of(secret, keys[secret.name]):
                row = Lacking(secret.name, problem, secret.purpose)
                found[secret.component] = (*found.get(secret.component, ()), row)
        return found

    async def _look(self, stack: Stack, name: str) -> frozenset[str] | Refused | None:
        """The keys of one Secret that hold something; None when it does not exist."""
        seen = self._view.children(StackKey(stack.namespace, stack.name)).get(ChildKey("Secret", name))
        if seen is not None:
            return _keys(seen)
        try:
            answer = await self._kube.read(CHILDREN["Secret"], stack.namespace, name)
        except Refused as refused:
            if refused.code >= SERVER_ERROR or refused.code == TOO_MANY_REQUESTS:
                raise  # that says nothing about the Secret
            return refused
        return _keys(see("Secret", answer)) if answer is not None else None


def problem_of(secret: UserSecret, keys: frozenset[str] | Refused | None) -> str:
    """What is wrong with a Secret that has these keys; empty when nothing is. Pure."""
    if keys is None:
        return "it is missing"
    if isinstance(keys, Refused):
        return f"it cannot be read: {keys.code} {keys.reason}"
    missing = [key for key in secret.keys if key not in keys]
    return f"it lacks {', '.join(missing)}" if missing else ""


def _keys(seen: Seen) -> frozenset[str]:
    return seen.detail.keys if isinstance(seen.detail, SecretSeen) else frozenset()
