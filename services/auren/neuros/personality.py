"""How NEUROS speaks, from personality.yaml or a file in its place."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from auren.modes import Mode
from auren.neuros import documents
from auren.neuros.guard.check import Known, check

Text = Annotated[str, Field(min_length=3, max_length=400)]
Voice = Annotated[str, Field(min_length=20, max_length=4000)]


class Example(documents.Part):
    """A message in a mode, and the sentences of a reply as it should sound."""

    mode: Mode
    message: Text
    reply: Annotated[tuple[Text, ...], Field(min_length=1, max_length=8)]


class Personality(documents.Part):
    """Voice for every mode, tone by mode, phrases that no reply holds, examples."""

    voice: Voice
    tone: dict[Mode, Text]
    avoid: Annotated[tuple[Annotated[str, Field(min_length=3, max_length=80)], ...], Field(max_length=200)] = ()
    examples: Annotated[tuple[Example, ...], Field(max_length=40)] = ()

    @property
    def unsaid(self) -> tuple[str, ...]:
        """For `check.Known`: phrases to avoid, and the sentences that tell a model how to speak."""
        texts = (self.voice, *self.tone.values())
        return (*self.avoid, *(part.strip(" .") for text in texts for part in text.split(". ")))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [mode.value for mode in Mode if mode not in self.tone]
        if missing:
            raise ValueError(f"tone: there is none for {', '.join(missing)}; write a sentence for each")
        known = Known(avoid=self.avoid)
        for index, example in enumerate(self.examples):
            for sentence in example.reply:
                if (fault := check(sentence, known)) is not None:
                    raise ValueError(
                        f"examples.{index}.reply: {sentence!r} may not be said ({fault.kind}: {fault.what}); "
                        "say it without that"
                    )
        return self


def parse(text: str, name: str = "personality.yaml") -> Personality:
    """A personality from YAML. Raises documents.DocumentError that says what to do about which line."""
    return documents.parse(text, Personality, name)


def load(path: Path) -> Personality:
    """A personality from a file that stands in place of ours. Raises documents.DocumentError."""
    return documents.load(path, Personality)


PERSONALITY: Final = parse(files(__package__ or "auren.neuros").joinpath("personality.yaml").read_text("utf-8"))
"""The personality that ships with this version."""
