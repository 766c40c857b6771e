"""What our manifests rely on in each image, official or stand-in: user, data path, command, tools.

The table is printed into the documentation (`markdown`). Whoever builds a stand-in, or moves to a newer release of an
upstream image, holds it to this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from auren_operator.api import names
from auren_operator.api.release import STORE_IMAGES


@dataclass(frozen=True, slots=True)
class ImageContract:
    """One image. ``user`` is the numeric uid and gid its pods run as; the root file system is always read-only.

    ``reference`` is the default where an upstream image is used, None for our own. ``data_path`` is where the volume
    is mounted. ``command`` is what the manifest runs, never the image's own entry point. ``tools`` are the programs
    that our scripts and probes may call besides POSIX sh and its utilities. ``stop_signal`` is what the image asks to
    be stopped with.
    """

    key: str
    reference: str | None
    user: int
    data_path: str | None
    command: tuple[str, ...]
    tools: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"


SERVICE_USER: Final = 10001
"""The uid of our own images."""

START_SCRIPT: Final = "/etc/auren/start.sh"
"""Where a store's ConfigMap puts its start script."""

KAFKA: Final = ImageContract(
    key=names.IMAGE_KAFKA,
    reference=STORE_IMAGES[names.IMAGE_KAFKA],
    user=1000,
    data_path="/var/lib/kafka",
    command=("sh", START_SCRIPT),
    tools=("/opt/kafka/bin/kafka-storage.sh", "/opt/kafka/bin/kafka-server-start.sh"),
)
TIMESCALEDB: Final = ImageContract(
    key=names.IMAGE_TIMESCALEDB,
    reference=STORE_IMAGES[names.IMAGE_TIMESCALEDB],
    user=70,
    data_path="/var/lib/postgresql/data",
    command=("sh", START_SCRIPT),
    tools=("docker-entrypoint.sh", "postgres", "pg_isready"),
    stop_signal="SIGINT",
)
REDIS: Final = ImageContract(
    key=names.IMAGE_REDIS,
    reference=STORE_IMAGES[names.IMAGE_REDIS],
    user=999,
    data_path="/data",
    command=("sh", START_SCRIPT),
    tools=("redis-server", "redis-cli"),
)
CHROMADB: Final = ImageContract(
    key=names.IMAGE_CHROMADB,
    reference=STORE_IMAGES[names.IMAGE_CHROMADB],
    user=1000,
    data_path="/data",
    command=("chroma", "run", "--host", "0.0.0.0", "--port", "8000", "--path", "/data"),
)
NEUROS: Final = ImageContract(
    key=names.IMAGE_NEUROS,
    reference=None,
    user=SERVICE_USER,
    data_path=None,
    command=("python3", "-m", "auren.neuros"),
)
BIOMETRIC: Final = ImageContract(
    key=names.IMAGE_BIOMETRIC,
    reference=None,
    user=SERVICE_USER,
    data_path=None,
    command=("python3", "-m", "auren.biometric"),
)
BRIDGE: Final = ImageContract(
    key=names.IMAGE_BRIDGE,
    reference=None,
    user=SERVICE_USER,
    data_path=None,
    command=("python3", "-m", "auren.bridge"),
)
LOCAL_MODEL: Final = ImageContract(
    key=names.IMAGE_LOCAL_MODEL,
    reference=None,
    user=SERVICE_USER,
    data_path=None,
    command=("python3", "-m", "auren.local_model"),
)
JOBS: Final = ImageContract(
    key=names.IMAGE_JOBS,
    reference=None,
    user=SERVICE_USER,
    data_path=None,
    command=("python3", "-m"),
)

IMAGES: Final = (KAFKA, TIMESCALEDB, REDIS, CHROMADB, NEUROS, BIOMETRIC, BRIDGE, LOCAL_MODEL, JOBS)
"""Every image that a stack runs."""


def markdown() -> str:
    """The table as the documentation shows it."""
    rows = [
        "| Image | Default | User | Data | Command | Tools that scripts and probes use | Stops on |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| `{image.key}` | {_code(image.reference or '')} | {image.user} | {_code(image.data_path or '')} "
        f"| {_code(' '.join(image.command))} | {', '.join(_code(tool) for tool in image.tools)} | {image.stop_signal} |"
        for image in IMAGES
    ]
    return "\n".join(rows) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else "-"
