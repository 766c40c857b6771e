"""Which of several operator processes does the work: a Lease, taken, renewed, and given back on a graceful stop.

Times follow the contract of coordination.k8s.io/v1 as client-go's leader election uses it: whoever holds the Lease
renews it every ``RETRY_SECONDS``; one that could not for ``RENEW_DEADLINE_SECONDS`` ends its process, before others
may take over after ``LEASE_SECONDS`` without a renewal. Others judge by their own clock since they last saw a change,
never by comparing clocks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any, Final

from auren_operator import metrics
from auren_operator.kube.client import Answer, Kube, Refused, Unreachable
from auren_operator.kube.kinds import LEASE

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15
RENEW_DEADLINE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0
CALL_SECONDS: Final = 4.0


class LeaseLost(Exception):
    """The Lease could not be renewed in time: somebody else may be at work already."""


class Leadership:
    """One candidate for one Lease. ``turned_at`` is when the loop last turned (monotonic seconds)."""

    def __init__(
        self, kube: Kube, namespace: str, name: str, identity: str, lease_seconds: int = LEASE_SECONDS
    ) -> None:
        self._kube, self._namespace, self._name, self._identity = kube, namespace, name, identity
        self._seconds, self._deadline = lease_seconds, lease_seconds * RENEW_DEADLINE_SECONDS / LEASE_SECONDS
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0
        self.turned_at = time.monotonic()
        self.held = False

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(RETRY_SECONDS)
        self.held = True
        metrics.leader.set(1)
        log.info("this process leads: Lease %s/%s", self._namespace, self._name)

    async def keep(self) -> None:
        """Renew until cancelled. Raises `LeaseLost` when that failed for too long."""
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            left = renewed_at + self._deadline - time.monotonic()
            asked_at = time.monotonic()
            if left > 0 and await self._try(min(CALL_SECONDS, left)):
                renewed_at = asked_at
            elif time.monotonic() - renewed_at >= self._deadline or self._seen[0] not in {self._identity, ""}:
                self.held = False
                raise LeaseLost(f"Lease {self._namespace}/{self._name} could not be renewed; held by {self._seen[0]!r}")

    async def release(self) -> None:
        """Give the Lease back, so that the next one need not wait for it to run out."""
        if not self.held:
            return
        self.held = False
        metrics.leader.set(0)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                lease = await self._kube.read(LEASE, self._namespace, self._name)
                if lease is not None and _spec(lease).get("holderIdentity") == self._identity:
                    await self._kube.replace(LEASE, self._body(lease, ""))
        except (Refused, Unreachable, TimeoutError) as error:
            log.warning("the Lease was not given back: %s", error)

    async def _try(self, seconds: float = CALL_SECONDS) -> bool:
        """Take or renew the Lease; False when it is somebody else's, or when nobody answered in so many seconds.

        Whatever comes of it, the loop has turned: an API server that is away is no reason to restart this process.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._take()
        except (Refused, Unreachable, TimeoutError) as error:
            log.warning("Lease %s/%s: %s", self._namespace, self._name, error or type(error).__name__)
            return False
        finally:
            self.turned_at = time.monotonic()

    async def _take(self) -> bool:
        lease = await self._kube.read(LEASE, self._namespace, self._name)
        if lease is None:
            await self._kube.create(LEASE, self._body(None, self._identity), self._identity[:128])
            return True
        spec = _spec(lease)
        self._note(spec)
        if not self._is_free(spec):
            return False
        await self._kube.replace(LEASE, self._body(lease, self._identity))
        self._seen = (self._identity, "")
        return True

    def _note(self, spec: Answer) -> None:
        now = (str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or ""))
        if now != self._seen:
            self._seen, self._seen_at = now, time.monotonic()

    def _is_free(self, spec: Answer) -> bool:
        holder = spec.get("holderIdentity")
        lasts = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        return not holder or holder == self._identity or time.monotonic() - self._seen_at > lasts

    def _body(self, before: Answer | None, holder: str) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        old = _spec(before or {})
        same = old.get("holderIdentity") == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._seconds if holder else 1,
            "renewTime": now,
            "acquireTime": old.get("acquireTime", now) if same else now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if same else 1),
        }
        meta = before["metadata"] if before else {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": meta, "spec": spec}


def _spec(lease: Answer) -> Answer:
    """What a Lease says; nothing, when somebody made it without a spec."""
    return lease.get("spec") or {}
