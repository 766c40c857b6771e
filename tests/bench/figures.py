"""Percentiles, the table that a person reads, and the file that a program reads."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.api.places import REPOSITORY


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(seconds: Sequence[float]) -> str:
    """``p50 p95 p99`` of times in milliseconds, as columns."""
    return "".join(f"{percentile(seconds, share) * 1000:9.1f}" for share in (0.50, 0.95, 0.99))


def head(title: str) -> str:
    """A line above the columns of `spread`."""
    return f"\n{title:<40}{'samples':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"


def line(name: str, seconds: Sequence[float]) -> str:
    """One row of the table."""
    return f"{name:<40}{len(seconds):>9}{spread(seconds)}"


def machine(*programs: str, libraries: Sequence[str] = ("kopf", "kubernetes")) -> str:
    """What the figures were measured on, with which programs (name and version) and libraries, and when."""
    model = next(
        (text.split(":", 1)[1].strip() for text in _lines("/proc/cpuinfo") if text.startswith("model name")),
        platform.machine(),
    )
    memory = next(text.split()[1] for text in _lines("/proc/meminfo") if text.startswith("MemTotal"))
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{now}; {os.cpu_count()} x {model}, {int(memory) / 2**20:.0f} GiB, load {os.getloadavg()[0]:.1f} before; "
        f"{', '.join(programs)}; Python {platform.python_version()}, {versions}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def write(name: str, figures: Mapping[str, float | int | str]) -> Path:
    """Write ``build/bench/<name>.json``; its path within the repository."""
    file = Path("build", "bench", f"{name}.json")
    (REPOSITORY / file).parent.mkdir(parents=True, exist_ok=True)
    (REPOSITORY / file).write_text(json.dumps(figures, indent=2) + "\n")
    return file
