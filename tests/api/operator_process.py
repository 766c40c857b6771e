"""The operator as a process against a test's control plane, with the environment that its chart would give it."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.api.controlplane import COUNTED_GROUP, ControlPlane
from tests.api.places import REPOSITORY
from tests.api.processes import POLL_SECONDS, Server, ServerFailedError, free_port

NAMESPACE: Final = "auren-system"
"""Where the Lease lives."""

VERSION: Final = "0.1.0"

IMAGES: Final[Mapping[str, str]] = {
    "AUREN_IMAGE_NEUROS_ADVANCED": "auren/neuros-advanced:test",
    "AUREN_IMAGE_BIOMETRIC_PRODUCTION": "auren/biometric-production:test",
    "AUREN_IMAGE_BIOMETRIC_BRIDGE": "auren/biometric-bridge:test",
    "AUREN_IMAGE_LOCAL_MODEL": "auren/local-model:test",
    "AUREN_IMAGE_JOBS": "auren/jobs:test",
    "AUREN_IMAGE_KAFKA": "apache/kafka:4.3.1",
    "AUREN_IMAGE_TIMESCALEDB": "timescale/timescaledb:2.19.3-pg17",
    "AUREN_IMAGE_REDIS": "redis:8",
    "AUREN_IMAGE_CHROMADB": "chromadb/chroma:1.5.9",
}


class Operator:
    """One replica. ``user`` is the name under which the API server's audit log counts its writes."""

    def __init__(
        self,
        control_plane: ControlPlane,
        name: str = "operator-0",
        *,
        address: str | None = None,
        kubeconfig: Path | None = None,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        self.control_plane = control_plane
        self.name = name
        self.user = user or f"tests:{name}"
        if kubeconfig is None:
            kubeconfig = control_plane.user(self.user, ["system:masters", COUNTED_GROUP], address).kubeconfig
        self.port = free_port()
        self.server = Server(
            name=name,
            command=[python, "-m", "auren_operator"],
            log=control_plane.folder / f"{name}.log",
            ready=self.is_up,
            cwd=REPOSITORY,
            environment={
                **IMAGES,
                "AUREN_VERSION": VERSION,
                "AUREN_METRICS_PORT": str(self.port),
                "KUBECONFIG": str(kubeconfig),
                "POD_NAME": name,
                "POD_NAMESPACE": NAMESPACE,
                **(environment or {}),
            },
        )
        control_plane.servers.add(self.server)

    def is_up(self) -> bool:
        """Whether the readiness probe passes: a leader whose watches are open, or a standby."""
        return self.probe("/readyz")

    def probe(self, path: str) -> bool:
        """Whether a probe answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def leads(self) -> bool:
        """Whether this replica holds the Lease, by its own word, and is ready."""
        return self.metrics().get("auren_operator_leader", 0.0) == 1.0 and self.is_up()

    async def start(self) -> None:
        """Start it and wait until it leads. Raises ServerFailedError."""
        self.server.launch()
        await self.until(self.leads, "leading")

    async def start_standby(self) -> None:
        """Start it and wait until it is ready, leading or not. Raises ServerFailedError."""
        self.server.launch()
        await self.until(self.is_up, "ready")

    async def keep_running(self) -> None:
        """Start it again whenever it ends by itself, as the kubelet does; until cancelled."""
        while True:
            if not self.server.running:
                self.server.launch()
            await asyncio.sleep(POLL_SECONDS)

    async def until(self, condition: Callable[[], bool], what: str, timeout_seconds: float = 60) -> None:
        """Wait for a condition of this process, with the event loop free meanwhile. Raises ServerFailedError."""
        deadline = time.monotonic() + timeout_seconds
        while not await asyncio.to_thread(condition):
            if not self.server.running:
                raise ServerFailedError(f"{self.name} ended by itself:\n{self.server.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(f"{self.name}: not {what} in time:\n{self.server.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def quiet(self, seconds: float = 3) -> None:
        """Wait until it has written nothing (but its Lease) for so long."""
        before, now = -1, len(self.writes())
        while before != now:
            await asyncio.sleep(seconds)
            before, now = now, len(self.writes())

    async def stop(self) -> None:
        """End it as the kubelet would, with SIGTERM."""
        await asyncio.to_thread(self.server.stop)

    def kill(self) -> None:
        """End it as a crash would."""
        self.server.kill()

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics``, summed over its labels; empty while it does not answer."""
        totals: dict[str, float] = {}
        for name, _, value in self.samples():
            totals[name] = totals.get(name, 0.0) + value
        return totals

    def samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Every sample of ``/metrics`` with its labels."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as response:
                text = response.read().decode()
        except OSError:
            return []
        families = text_string_to_metric_families(text)
        return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]

    def writes(self) -> list[str]:
        """Its writes so far but for the Lease, as ``verb resource[/subresource] namespace/name code``."""
        return [
            f"{w.verb} {w.resource}{'/' + w.subresource if w.subresource else ''} {w.namespace}/{w.name} {w.code}"
            for w in self.control_plane.writes(self.user)
            if w.resource != "leases"
        ]

    def memory_mib(self) -> float:
        """Resident memory of the process (VmRSS) in MiB."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024
