"""A stack on the development cluster, used as its users use it: by kubectl's objects, by Helm, and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from auren.auth import SCOPE_CHAT_NEUROS, SCOPE_READ_BIOMETRICS, mint
from tests.api.cluster import Cluster, Object, Ref
from tests.api.controlplane import Credentials
from tests.api.places import REPOSITORY

SYSTEM: Final = "auren-system"
"""Namespace of the operator."""
RELEASE: Final = "auren-operator"
CHART: Final = REPOSITORY / "charts" / "auren-operator"
VALUES: Final = REPOSITORY / "build" / "values-dev.yaml"
READY_SECONDS: Final = 420
"""A whole stack from nothing on two cores, images loaded; about a minute when nothing else runs."""


def credentials() -> Credentials:
    """The kubeconfig's user, with its certificate in files as `Cluster` wants them."""
    path = Path(os.environ["KUBECONFIG"])
    config = yaml.safe_load(path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    folder = Path(tempfile.mkdtemp(prefix="auren-kind-"))
    files = {
        "ca.crt": cluster["certificate-authority-data"],
        "client.crt": user["client-certificate-data"],
        "client.key": user["client-key-data"],
    }
    for name, text in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(base64.b64decode(text))
    return Credentials(cluster["server"], path, *(folder / name for name in files))


def run(*command: str, check: bool = True) -> str:
    """Run a program of the development environment; its output. Raises AssertionError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=600, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def helm_install(*settings: str, timeout: str = "180s") -> str:
    """Install the operator, or upgrade it, with the images that were built and loaded."""
    values = ["--values", str(VALUES), *(part for setting in settings for part in ("--set", setting))]
    # the definition may be there already, from an earlier install by plain manifests
    target = ["--namespace", SYSTEM, "--create-namespace", "--take-ownership", "--wait", "--timeout", timeout]
    return run("helm", "upgrade", "--install", RELEASE, str(CHART), *target, *values)


@dataclass
class Platform:
    """One stack in one namespace, reached through its Services' names."""

    cluster: Cluster
    namespace: str
    name: str
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=10))

    @property
    def ref(self) -> Ref:
        """The AurenStack."""
        return Ref("AurenStack", self.namespace, self.name)

    def child(self, kind: str, component: str) -> Ref:
        """A child by its component."""
        return Ref(kind, self.namespace, f"{self.name}-{component}")

    def url(self, component: str, port: int, path: str) -> str:
        """An address of a component's Service."""
        return f"http://{self.name}-{component}.{self.namespace}.svc.cluster.local:{port}{path}"

    async def token(self, user: str, scope: str = f"{SCOPE_READ_BIOMETRICS} {SCOPE_CHAT_NEUROS}") -> str:
        """A token of the stack's own key, as `python -m auren.auth mint` makes it."""
        secret = await self.cluster.get(self.child("Secret", "auth"))
        spec = (await self.cluster.get(self.ref))["spec"]["auth"]
        return mint(
            base64.b64decode(secret["data"]["private.pem"]),
            issuer=spec["issuer"],
            audience=spec["audience"],
            subject=user,
            scope=scope,
        )

    async def push(self, token: str, metrics: Sequence[Mapping[str, Any]]) -> httpx.Response:
        """One push as Health Auto Export sends it."""
        url = self.url("biometric-bridge", 8889, "/webhooks/healthkit")
        body = {"data": {"metrics": list(metrics)}}
        return await self.http.post(url, json=body, headers={"Authorization": f"Bearer {token}"})

    async def get(self, token: str, component: str, port: int, path: str) -> httpx.Response:
        """One authenticated GET."""
        return await self.http.get(self.url(component, port, path), headers={"Authorization": f"Bearer {token}"})

    async def readings(self, token: str, user: str, metric: str, hours: int = 24) -> list[dict[str, Any]]:
        """Every stored reading of a metric, page after page."""
        found: list[dict[str, Any]] = []
        start = (datetime.now(UTC) - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        path = f"/readings/{user}/{metric}?from={start}&limit=1000"
        after = ""
        while True:
            answer = await self.get(token, "biometric-production", 8888, path + (f"&after={after}" if after else ""))
            answer.raise_for_status()
            page = answer.json()
            found += page["readings"]
            after = page["next"]
            if not after:
                return found

    async def wait_for_readings(self, token: str, user: str, metric: str, count: int, seconds: float = 60) -> None:
        """Wait until so many readings of a metric are stored; other services may be away meanwhile."""
        last: object = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found = await self.readings(token, user, metric)
            except httpx.HTTPError as error:
                last = error
            else:
                last = len(found)
                if len(found) >= count:
                    return
            await asyncio.sleep(0.25)
        raise AssertionError(f"{metric}: not {count} readings after {seconds:.0f} s, but {last!r}")

    async def flow(self, token: str, stop: asyncio.Event, most: int = 5000) -> tuple[int, int]:
        """Push a new heart rate ten times a second until told to stop; how many were accepted, how many refused.

        What is refused is pushed again, as a phone does; every accepted one has a time of its own within the last day.
        """
        accepted, refused, base = 0, 0, int(datetime.now(UTC).timestamp()) - 7200
        while not stop.is_set() and accepted < most:
            metric = heart_rates(1, datetime.fromtimestamp(base + accepted, UTC), 60.0)
            try:
                good = (await self.push(token, [metric])).status_code == 202
            except httpx.HTTPError:
                good = False
            accepted, refused = accepted + good, refused + (not good)
            await asyncio.sleep(0.1)
        return accepted, refused

    async def answers(self, component: str, port: int, seconds: float = 120) -> float:
        """Wait until a service answers through its Service; seconds that it took."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                if (await self.http.get(self.url(component, port, "/health/serving"), timeout=2)).status_code == 200:
                    return time.monotonic() - started
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError(f"{component} does not answer after {seconds:.0f} s")

    async def ready(self, seconds: float = READY_SECONDS) -> Object:
        """Wait until the stack says Ready for its newest generation."""

        def holds(obj: Object | None) -> bool:
            status = (obj or {}).get("status") or {}
            fresh = obj is not None and status.get("observedGeneration") == obj["metadata"]["generation"]
            conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
            return fresh and conditions.get("Ready") == "True"

        obj = await self.cluster.until(self.ref, holds, "Ready", seconds)
        assert obj is not None
        return obj

    async def pods(self, component: str) -> list[Object]:
        """The pods of a component that are not on their way out."""
        selector = f"aupex.ai/stack={self.name},app.kubernetes.io/component={component}"
        pods = await self.cluster.list("Pod", self.namespace, selector)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def heart_rates(count: int, start: datetime, value: float = 61.0) -> dict[str, Any]:
    """A metric of so many heart rates, one a second before ``start``, in Health Auto Export's form."""
    times = [start - timedelta(seconds=i) for i in range(count)]
    data = [
        {"date": t.strftime("%Y-%m-%d %H:%M:%S +0000"), "Min": value, "Avg": value, "Max": value, "source": "Watch"}
        for t in times
    ]
    return {"name": "heart_rate", "units": "count/min", "data": data}


def described(obj: Object) -> str:
    """Status of a stack in one readable text, for failing assertions."""
    return json.dumps((obj.get("status") or {}), indent=1)[:6000]
