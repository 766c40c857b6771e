"""What a program of ours is told: environment variables, and Secrets as files in one directory.

Each store's module says what its clients need (`client`), each service's module adds up the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auren_operator.api.names import SECRETS_DIR
from auren_operator.manifests.secrets import secret_files

SECRETS_MOUNT = {"secrets": SECRETS_DIR}
"""The volume of `Wiring.volume` and where every container mounts it."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """``env``: name → value. ``files``: file name → (Secret, key); a setting's file is its name in lower case."""

    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __or__(self, other: Wiring) -> Wiring:
        return Wiring({**self.env, **other.env}, {**self.files, **other.files})

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the Secrets that the files come from."""
        return tuple(sorted({secret for secret, _ in self.files.values()}))

    @property
    def volume(self) -> dict[str, Any]:
        """The volume ``secrets`` with every file."""
        return secret_files(self.files)
