"""Start of the operator: settings, probes, the Lease, and then kopf, for as long as the Lease is held.

Exit codes: 0 after a graceful stop, 1 when the Lease was lost or the API took away what the operator needs (the
last line of the log says which), 2 for wrong settings. Kubernetes starts the process again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import kopf
import structlog
import uvloop
from kubernetes.aio.config import ConfigException

from auren_operator import handlers
from auren_operator.kube.client import Kube, Refused, connect
from auren_operator.kube.kinds import STACK, WATCHED
from auren_operator.kube.lease import Leadership, LeaseLost
from auren_operator.kube.view import SELECTOR, StackKey, View
from auren_operator.probes import Probes
from auren_operator.reconcile.events import Events
from auren_operator.reconcile.queue import WorkQueue
from auren_operator.reconcile.reconciler import Reconciler
from auren_operator.reconcile.resync import Resync
from auren_operator.settings import Settings, SettingsError

log = logging.getLogger("auren_operator")

Kept = Coroutine[Any, Any, None]
"""Runs for as long as the Lease is held, and raises when it is lost."""

WORKERS: Final = 8
"""Stacks reconciled side by side; what they write together is bounded in `reconcile.apply`."""


def main() -> None:
    """Run until told to stop; the exit code tells why it ended."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.exit(f"auren-operator: {error}")
    configure_logs(settings.log_level)
    sys.exit(uvloop.run(run(settings)))


def configure_logs(level: str) -> None:
    """One JSON object per line on standard output, kopf's lines included."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared)
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf.objects", "kopf._core.reactor.running", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


async def run(settings: Settings) -> int:
    """Serve probes, wait for the Lease, lead; the process's exit code."""
    try:
        kube = Kube(await connect())
    except ConfigException as error:
        log.error("no cluster: neither a service account nor a usable KUBECONFIG: %s", error)
        return 2
    leadership = Leadership(kube, settings.namespace, settings.lease_name, settings.identity, settings.lease_seconds)
    probes = Probes(settings.metrics_port, leadership)
    stop = asyncio.Event()
    _listen(stop)
    await probes.start()
    lag = asyncio.create_task(probes.measure_lag())
    try:
        await _first(leadership.acquire(), stop.wait())
        if leadership.held:
            await lead(kube, settings, probes, stop, leadership.keep())
    except (LeaseLost, AccessError) as error:
        log.error("stopping: %s", error)
        return 1
    except Exception as error:
        log.exception("stopping: %s; Kubernetes starts the operator again", error)
        return 1
    finally:
        lag.cancel()
        await leadership.release()
        await probes.stop()
        await kube.close()
    return 0


async def lead(kube: Kube, settings: Settings, probes: Probes, stop: asyncio.Event, kept: Kept) -> None:
    """Watch and reconcile until stopped, or until the Lease is no longer ``kept``.

    Raises when kopf cannot go on (a lost CRD, taken rights) and when any of the tasks ends that must not. They all
    end at the same moment: nobody writes while kopf is still closing its watches.
    """
    await check_access(kube, settings)
    view, queue = View(), WorkQueue[StackKey]()
    events = Events(kube, settings.identity)
    reconciler = Reconciler(kube, view, queue, settings.release, events, utc_now)
    resync = Resync(kube, view, queue, reconciler, settings.watch_namespaces)
    intake = handlers.Intake(view, queue, reconciler, resync)
    opened, whole = asyncio.Event(), asyncio.Event()
    probes.leads(intake, resync, whole)
    before = asyncio.all_tasks()
    watches = await kopf.spawn_tasks(
        registry=handlers.registry(intake),
        settings=handlers.settings(),
        memories=handlers.NoMemories(),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        standalone=True,
        stop_flag=stop,
        ready_flag=opened,
    )
    _listen(stop)  # kopf has just taken the signals for itself

    async def work() -> None:
        await opened.wait()
        await resync.until_whole()
        whole.set()
        await _first(resync.run(), *(reconciler.work() for _ in range(WORKERS)))

    watching = kopf.run_tasks(watches, ignored=before)
    await _first(watching, events.run(), work(), kept, stop.wait())
    if not stop.is_set():
        raise RuntimeError("the watches ended although nobody asked them to")


def _listen(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set the flag."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


class AccessError(Exception):
    """The cluster lacks the CRD, or the operator a right, without which it cannot work."""


async def check_access(kube: Kube, settings: Settings) -> None:
    """List each kind once, so that what is missing is said in one sentence. Raises `AccessError`."""
    for namespace in settings.watch_namespaces or (None,):
        for kind in (STACK, *WATCHED.values()):
            try:
                await anext(kube.list_metadata(kind, namespace, SELECTOR))
            except Refused as refused:
                if refused.missing:
                    raise AccessError(
                        f"the cluster does not know {kind.plural}.{kind.group}: install the CRD"
                    ) from refused
                raise AccessError(f"the operator cannot list {kind.plural}: {refused.message}") from refused


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Run until the first of these ends, cancel the others, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def utc_now() -> str:
    """Now, as Kubernetes writes times: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main()
