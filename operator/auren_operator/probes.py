"""What the kubelet and Prometheus ask the operator: alive, ready, and its metrics, all on one port."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from auren_operator import metrics
from auren_operator.handlers import Intake
from auren_operator.kube.lease import Leadership
from auren_operator.reconcile.resync import Resync

LEASE_SILENCE_SECONDS: Final = 60.0
"""When the Lease loop has not turned for so long, the process is stuck; each turn is bounded to a few seconds."""
STALE_ROUNDS: Final = 2
"""Resyncs in a row that found the same objects newer than the watches have brought them."""
LAG_STEP_SECONDS: Final = 1.0


class Probes:
    """``/healthz`` and ``/readyz`` (200, or 503 with the reason), and ``/metrics``."""

    def __init__(self, port: int, leadership: Leadership) -> None:
        self._port, self._leadership = port, leadership
        self._intake: Intake | None = None
        self._resync: Resync | None = None
        self._ready: asyncio.Event | None = None
        self._runner: web.AppRunner | None = None

    def leads(self, intake: Intake, resync: Resync, ready: asyncio.Event) -> None:
        """From now on this process answers for its watches, too."""
        self._intake, self._resync, self._ready = intake, resync, ready

    async def start(self) -> None:
        """Listen on all addresses. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def measure_lag(self) -> None:
        """Keep the gauge of how late the loop wakes up, until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_STEP_SECONDS)
            metrics.loop_lag_seconds.set(max(0.0, time.monotonic() - before - LAG_STEP_SECONDS))

    def trouble(self) -> str:
        """Why this process is not alive; empty when it is."""
        silence = time.monotonic() - self._leadership.turned_at
        if silence > LEASE_SILENCE_SECONDS:
            return f"the Lease loop has not turned for {silence:.0f} s"
        if self._resync is not None and self._resync.stale_rounds >= STALE_ROUNDS:
            return "a watch has stopped bringing news"
        return ""

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self.trouble())

    async def _readyz(self, _: web.Request) -> web.Response:
        trouble = self.trouble()
        if not trouble and self._leadership.held and not (self._ready and self._ready.is_set()):
            trouble = "the watches are still being opened"
        return _answer(trouble)

    async def _metrics(self, _: web.Request) -> web.Response:
        if self._intake is not None:
            metrics.watch_age_seconds.set(time.monotonic() - self._intake.answered_at)
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(trouble: str) -> web.Response:
    return web.Response(status=503 if trouble else 200, text=trouble or "ok")
