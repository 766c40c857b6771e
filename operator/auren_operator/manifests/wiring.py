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
    """``env``: name → value. ``files``: file name → (Secret, key); a setting's file is its name in lower case.

    The files in ``optional`` come from Secrets of the person's: pods start without them, too.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    optional: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __or__(self, other: Wiring) -> Wiring:
        return Wiring({**self.env, **other.env}, {**self.files, **other.files}, {**self.optional, **other.optional})

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the Secrets that the files come from, without those of the optional ones."""
        return tuple(sorted({secret for secret, _ in self.files.values()}))

    @property
    def mounted(self) -> tuple[str, ...]:
        """Names of the Secrets that any file comes from."""
        return tuple(sorted({secret for secret, _ in (*self.files.values(), *self.optional.values())}))

    @property
    def volume(self) -> dict[str, Any]:
        """The volume ``secrets`` with every file."""
        return secret_files(self.files, self.optional)
