"""The exercises that NEUROS may suggest, from protocols.yaml or a file in its place."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, RootModel, model_validator

from auren.events import METRICS
from auren.modes import Mode
from auren.neuros import documents
from auren.neuros.guard.check import Known, check

MOST: Final = 20
"""Protocols in a file."""


def _metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"there is no metric {name}; give one of {', '.join(METRICS)}")
    return name


Text = Annotated[str, Field(min_length=3, max_length=300)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=40)]
Metric = Annotated[str, AfterValidator(_metric)]


class Protocol(documents.Part):
    """One exercise: why, how, how long, what shows whether it helps, and when to stop."""

    title: Text
    goal: Text
    duration_minutes: Annotated[int, Field(ge=1, le=24 * 60)]
    steps: Annotated[tuple[Text, ...], Field(min_length=1, max_length=12)]
    measured: Annotated[tuple[Metric, ...], Field(min_length=1)]
    stop_when: Text
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _says_what_may_be_said(self) -> Self:
        known = Known(texts=())
        for text in self.texts:
            fault = check(text, known)
            if fault is not None and fault.kind != "number":
                raise ValueError(f"{text!r} may not be said ({fault.kind}: {fault.what}); say it without that")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is said of it, whose numbers a reply may repeat."""
        return (self.title, self.goal, *self.steps, self.stop_when, f"{self.duration_minutes} minutes")


class _Document(RootModel[dict[Name, Protocol]]):
    @model_validator(mode="after")
    def _count(self) -> Self:
        if not 1 <= len(self.root) <= MOST:
            raise ValueError(f"there are {len(self.root)} protocols; give 1 to {MOST}")
        return self


def parse(text: str, name: str = "protocols.yaml") -> dict[str, Protocol]:
    """Protocols by name from YAML. Raises documents.DocumentError that says what to do about which line."""
    return documents.parse(text, _Document, name).root


def load(path: Path) -> dict[str, Protocol]:
    """Protocols from a file that stands in place of ours. Raises documents.DocumentError."""
    return documents.load(path, _Document).root


PROTOCOLS: Final = parse(files(__package__ or "auren.neuros").joinpath("protocols.yaml").read_text("utf-8"))
NAMES: Final = {protocol: name for name, protocol in PROTOCOLS.items()}


def suited(mode: Mode, protocols: Mapping[str, Protocol] = PROTOCOLS) -> tuple[Protocol, ...]:
    """The protocols for a mode."""
    return tuple(protocol for protocol in protocols.values() if mode in protocol.modes)
