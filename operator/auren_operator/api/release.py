"""What one release of the operator installs: its version and its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from auren_operator.api import names

STORE_IMAGES: Final[Mapping[str, str]] = {
    names.IMAGE_KAFKA: "apache/kafka:4.3.1",
    names.IMAGE_TIMESCALEDB: "timescale/timescaledb:2.19.3-pg17",
    names.IMAGE_REDIS: "redis:8",
    names.IMAGE_CHROMADB: "chromadb/chroma:1.5.9",
}
"""The upstream images that a release runs its stores on, unless the operator's environment names others."""


@dataclass(frozen=True, slots=True)
class Release:
    """``images`` maps every image key of `names.IMAGE_ENV` to the reference a stack runs unless it overrides it."""

    version: str
    images: Mapping[str, str]


def release_from(environment: Mapping[str, str], version: str) -> Release:
    """The release that the operator's environment describes; ``version`` is the package's own, the fallback.

    An image that the environment does not name (or names as the empty string) is the upstream one for a store and
    ``auren/<key>:<version>`` for our own.
    """
    running = environment.get(names.ENV_VERSION) or version
    images = {
        key: environment.get(variable) or STORE_IMAGES.get(key, f"auren/{key}:{running}")
        for key, variable in names.IMAGE_ENV.items()
    }
    return Release(version=running, images=images)
