"""A provider's secrets: files of a Secret that may come, change and go while the process runs.

Each provider has a directory (the mounted Secret); a credential is a file in it. ``<name>-previous`` beside it stays
valid while the vendor still signs with the old one, so that a rotation loses no delivery.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

CLIENT_ID: Final = "client-id"
CLIENT_SECRET: Final = "client-secret"  # noqa: S105 - the name of a file
SIGNING_SECRET: Final = "signing-secret"  # noqa: S105 - the name of a file
DEV_ID: Final = "dev-id"
API_KEY: Final = "api-key"
PREVIOUS: Final = "-previous"

REREAD_SECONDS: Final = 2.0
"""How old what was read may be: the kubelet brings a changed Secret within about a minute, this adds nothing to it."""


class Credentials:
    """The credentials of one provider."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`folder` need not exist. `clock` gives seconds."""
        self._folder = folder
        self._clock = clock
        self._read_at = float("-inf")
        self._found: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """The current one; None while there is none."""
        return self._current().get(name)

    def active(self, name: str) -> tuple[bytes, ...]:
        """The current one and the one before it, as far as they are there."""
        found = self._current()
        return tuple(found[key] for key in (name, name + PREVIOUS) if key in found)

    def _current(self) -> dict[str, bytes]:
        if self._clock() - self._read_at >= REREAD_SECONDS:
            self._found = _read(self._folder)
            self._read_at = self._clock()
        return self._found


def _read(folder: Path) -> dict[str, bytes]:
    """All files with something in them; a line end at the end belongs to whoever wrote the file by hand."""
    found: dict[str, bytes] = {}
    try:
        files = [entry for entry in folder.iterdir() if entry.is_file()]
    except OSError:  # not mounted: nothing is configured
        return found
    for file in files:
        try:
            content = file.read_bytes().strip()
        except FileNotFoundError:  # the kubelet has just put another version in its place
            continue
        if content:
            found[file.name] = content
    return found
