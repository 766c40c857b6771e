"""Settings of the files that a stack may put in place of ours."""

from pathlib import Path

from pydantic import field_validator

from auren.neuros import personality, protocols
from auren.neuros.personality import PERSONALITY, Personality
from auren.neuros.protocols import PROTOCOLS, Protocol
from auren.settings import Settings


class VoiceSettings(Settings):
    """Files in place of protocols.yaml and personality.yaml; a wrong one stops the start."""

    protocols_file: Path | None = None
    personality_file: Path | None = None

    @field_validator("protocols_file")
    @classmethod
    def _protocols(cls, path: Path | None) -> Path | None:
        if path is not None:
            protocols.load(path)  # pydantic reports what it raises
        return path

    @field_validator("personality_file")
    @classmethod
    def _personality(cls, path: Path | None) -> Path | None:
        if path is not None:
            personality.load(path)
        return path

    def protocols(self) -> dict[str, Protocol]:
        """The protocols in force. Raises documents.DocumentError for a file that became wrong since the start."""
        return protocols.load(self.protocols_file) if self.protocols_file else PROTOCOLS

    def personality(self) -> Personality:
        """The personality in force. Raises documents.DocumentError for a file that became wrong since the start."""
        return personality.load(self.personality_file) if self.personality_file else PERSONALITY
