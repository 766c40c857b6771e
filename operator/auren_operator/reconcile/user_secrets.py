"""The Secrets that people make and the spec names: whether they are there. They are looked at, never changed.

One that carries the stack's label is in the view, and its watch brings every change of it; any other is read by its
name, in each round. Of either only the names of its keys and a hash are kept, and those no longer than the round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

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

Look = SecretSeen | Refused | None
"""What came of a look at one Secret: None when it does not exist."""


class UserSecrets:
    """Looks. One for the process; it remembers nothing."""

    def __init__(self, kube: Kube, view: View) -> None:
        self._kube, self._view = kube, view

    async def look(self, stack: Stack, secrets: Iterable[UserSecret]) -> dict[str, Look]:
        """Name → what was found, for the Secrets of a stack. Raises `Unreachable`."""
        wanted = sorted({secret.name for secret in secrets})
        looks = await asyncio.gather(*(self._look(stack, name) for name in wanted))
        return dict(zip(wanted, looks, strict=True))

    async def lacking(
        self, stack: Stack, secrets: Sequence[UserSecret], looks: Mapping[str, Look]
    ) -> Mapping[str, tuple[Lacking, ...]]:
        """As `lacking_of`, with a look at those that were not looked at yet. Raises `Unreachable`.

        Nobody looks for a stack that sleeps: none of its pods would read them.
        """
        if stack.hibernated:
            return {}
        others = await self.look(stack, (secret for secret in secrets if secret.name not in looks))
        return lacking_of(secrets, {**looks, **others})

    async def _look(self, stack: Stack, name: str) -> Look:
        seen = self._view.children(StackKey(stack.namespace, stack.name)).get(ChildKey("Secret", name))
        if seen is not None:
            return _secret(seen)
        try:
            answer = await self._kube.read(CHILDREN["Secret"], stack.namespace, name)
        except Refused as refused:
            if refused.code >= SERVER_ERROR or refused.code == TOO_MANY_REQUESTS:
                raise  # that says nothing about the Secret
            return refused
        return _secret(see("Secret", answer)) if answer is not None else None


def lacking_of(secrets: Iterable[UserSecret], looks: Mapping[str, Look]) -> dict[str, tuple[Lacking, ...]]:
    """Component → what it does without, for components that do without something. Pure."""
    found: dict[str, tuple[Lacking, ...]] = {}
    for secret in secrets:
        if problem := problem_of(secret, looks[secret.name]):
            row = Lacking(secret.name, problem, secret.purpose)
            found[secret.component] = (*found.get(secret.component, ()), row)
    return found


def given_of(secrets: Iterable[UserSecret], looks: Mapping[str, Look]) -> dict[str, str]:
    """Name → hash of the data, of those that a build depends on and that will do. Pure."""
    return {
        secret.name: seen.data_hash
        for secret in secrets
        if secret.is_built_in and isinstance(seen := looks[secret.name], SecretSeen) and not problem_of(secret, seen)
    }


def problem_of(secret: UserSecret, seen: Look) -> str:
    """What is wrong with a Secret of which this was found; empty when nothing is. Pure."""
    if seen is None:
        return "it is missing"
    if isinstance(seen, Refused):
        return f"it cannot be read: {seen.code} {seen.reason}"
    missing = [key for key in secret.keys if key not in seen.keys]
    if missing:
        return f"it lacks {', '.join(missing)}"
    return seen.flaw if secret.is_certificate else ""


def _secret(seen: Seen) -> SecretSeen | None:
    return seen.detail if isinstance(seen.detail, SecretSeen) else None
