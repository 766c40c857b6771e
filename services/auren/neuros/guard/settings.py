"""Settings of the files that a stack may put in place of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from auren.health import UnhealthyError
from auren.neuros import personality, protocols
from auren.neuros.documents import DocumentError
from auren.neuros.personality import PERSONALITY, Personality
from auren.neuros.protocols import PROTOCOLS, Protocol
from auren.settings import Settings
from auren.telemetry import logger

Document = TypeVar("Document")

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Texts:
    """Exercises and voice in force, and what is wrong with the files that should be: then ours are in their place."""

    protocols: dict[str, Protocol]
    personality: Personality
    troubles: tuple[str, ...] = ()

    async def check(self) -> None:
        """For the health report: the stack's own files are in force. Raises UnhealthyError."""
        if self.troubles:
            raise UnhealthyError("; ".join(self.troubles))


class VoiceSettings(Settings):
    """Files in place of protocols.yaml and personality.yaml.

    A wrong one does not keep NEUROS from starting: files of a ConfigMap change under pods that run, and the next
    restart of any of them must not be its end.
    """

    protocols_file: Path | None = None
    personality_file: Path | None = None

    def texts(self) -> Texts:
        """What is in force."""
        troubles: list[str] = []
        exercises = _read(self.protocols_file, protocols.load, PROTOCOLS, "AUREN_PROTOCOLS_FILE", troubles)
        voice = _read(self.personality_file, personality.load, PERSONALITY, "AUREN_PERSONALITY_FILE", troubles)
        return Texts(exercises, voice, tuple(troubles))


def _read(
    path: Path | None, load: Callable[[Path], Document], ours: Document, variable: str, troubles: list[str]
) -> Document:
    if path is None:
        return ours
    try:
        return load(path)
    except DocumentError as error:
        troubles.append(f"{variable}: {error}")
        _log.error("a text of the stack cannot be used, so the built-in one is", variable=variable, reason=str(error))
        return ours
