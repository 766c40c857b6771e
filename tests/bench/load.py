"""Load for the bridge: signed deliveries of all providers, sent by wrk at a rate or as fast as they are taken."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from auren.bridge.simulated_people import people
from auren.bridge.simulated_vendors import PROVIDERS, deliver
from tests.api.places import on_path

SCRIPT: Final = Path(__file__).with_suffix("").with_name("webhooks.lua")
PEOPLE: Final = 250
EACH: Final = 2
"""Deliveries of each provider about each person in the file; wrk sends them again and again."""

CONNECTIONS: Final = 256
LAST_ANSWERS_SECONDS: Final = 2
"""How long wrk waits for what is unanswered when it begins no more requests."""


@dataclass(frozen=True)
class Load:
    """What wrk counted. `refused`: answers that are not 2xx; `broken`: connections and time limits."""

    seconds: float
    answers: int
    refused: int
    broken: int
    late: int
    """Requests that began more than 5 ms after their moment, since every connection was waiting for an answer."""
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def accepted(self) -> int:
        """Answers with 2xx."""
        return self.answers - self.refused

    @property
    def per_second(self) -> float:
        """Accepted, over the time in which requests were begun."""
        return self.accepted / self.seconds


def write_requests(file: Path, users: Sequence[str], keys: Callable[[str, str], bytes], path: str = "") -> int:
    """Requests with signatures of this moment, provider by provider; their bytes in all.

    `keys` gives what signs for (provider, user). `path` replaces the providers' own, for servers that are no bridge.
    """
    now = datetime.now(UTC)
    size = 0
    with file.open("wb") as out:
        for number in range(EACH):
            for person in people(users, seed=1):
                for provider in PROVIDERS:
                    sent = deliver(provider, person, number, now, keys(provider, person.user_id))
                    request = _request(path or sent.path, sent.headers, sent.body)
                    out.write(b"%d\n%s" % (len(request), request))
                    size += len(request)
    return size


def _request(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: bridge", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send(requests: Path, ports: Sequence[int], seconds: float, rate: float = 0.0) -> Load:
    """Run wrk: `rate` requests a second in all, or with 0 as many as the connections can. Raises CalledProcessError."""
    output = requests.with_suffix(".json")
    environment = {
        "LOAD_FILE": str(requests),
        "LOAD_RATE": str(rate),
        "LOAD_SECONDS": str(seconds),
        "LOAD_OUTPUT": str(output),
        "LOAD_PORTS": " ".join(map(str, ports)),
    }
    command = [str(on_path("wrk")), f"-t{len(ports)}", f"-c{CONNECTIONS}", f"-d{int(seconds) + LAST_ANSWERS_SECONDS}s"]
    command += ["--timeout", "10s", "-s", str(SCRIPT), f"http://127.0.0.1:{ports[0]}/"]
    patience = seconds + 60
    subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL, timeout=patience)
    return Load(seconds=seconds, **json.loads(output.read_text()))
