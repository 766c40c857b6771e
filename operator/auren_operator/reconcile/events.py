"""Kubernetes Events about a stack: on transitions only, posted in the background, never in the way of a reconcile."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from auren_operator.api import names
from auren_operator.api.reasons import Reason
from auren_operator.kube.client import Kube, Refused, Unreachable
from auren_operator.kube.view import StackSeen

log = logging.getLogger(__name__)

GREATEST_BACKLOG: Final = 1000
"""Events waiting to be posted; beyond it the newest are dropped and counted in the log."""

SAME_PER_MINUTE: Final = 5
MINUTE_SECONDS: Final = 60.0

WARNINGS: Final = frozenset({Reason.DEGRADED, Reason.SPEC_INVALID})


class Events:
    """A bounded queue of Events, and the task that posts them."""

    def __init__(self, kube: Kube, instance: str) -> None:
        self._kube, self._instance = kube, instance
        self._queue: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(GREATEST_BACKLOG)
        self._said: dict[tuple[str, Reason, str], list[float]] = {}

    def post(self, stack: StackSeen, reason: Reason, message: str) -> None:
        """Queue one Event about the stack; one that was said again and again in the last minute is left out."""
        if self._is_noise((stack.uid, reason, message)):
            return
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{stack.name}.{uuid.uuid4().hex[:16]}", "namespace": stack.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": stack.name,
                "namespace": stack.namespace,
                "uid": stack.uid,
            },
            "type": "Warning" if reason in WARNINGS else "Normal",
            "reason": str(reason),
            "action": str(reason),
            "message": message[:1000],
            "eventTime": now,
            "firstTimestamp": now[:19] + "Z",
            "lastTimestamp": now[:19] + "Z",
            "count": 1,
            "reportingComponent": names.FIELD_MANAGER,
            "reportingInstance": self._instance,
            "source": {"component": names.FIELD_MANAGER},
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("too many Events are waiting to be posted: %s about %s dropped", reason, stack.name)

    def _is_noise(self, what: tuple[str, Reason, str]) -> bool:
        """Whether the same was said `SAME_PER_MINUTE` times within a minute: somebody fights with the operator."""
        now = time.monotonic()
        times = [at for at in self._said.pop(what, ()) if at > now - MINUTE_SECONDS]
        noise = len(times) >= SAME_PER_MINUTE
        self._said[what] = times if noise else [*times, now]
        if len(self._said) > GREATEST_BACKLOG:
            del self._said[next(iter(self._said))]
        return noise

    async def run(self) -> None:
        """Post what is queued, until cancelled. An Event that cannot be posted is logged and given up."""
        while True:
            event = await self._queue.get()
            try:
                await self._kube.post_event(event)
            except (Refused, Unreachable) as error:
                if not (isinstance(error, Refused) and (error.namespace_going or error.missing)):
                    log.warning("Event %s was not posted: %s", event["reason"], error)
