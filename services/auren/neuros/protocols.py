"""The exercises that NEUROS may suggest, from protocols.toml."""

from importlib.resources import files
from typing import Final

import msgspec

from auren.events import METRICS
from auren.modes import Mode


class Protocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One exercise: why, how, how long, what shows whether it helps, and when to stop."""

    title: str
    goal: str
    duration_minutes: int
    steps: tuple[str, ...]
    measured: tuple[str, ...]
    stop_when: str
    modes: tuple[Mode, ...]


def parse(text: str) -> dict[str, Protocol]:
    """Protocols by name from TOML. Raises msgspec.ValidationError; ValueError for a metric that does not exist."""
    found = msgspec.toml.decode(text, type=dict[str, Protocol])
    unknown = {metric for protocol in found.values() for metric in protocol.measured} - METRICS.keys()
    if unknown:
        raise ValueError(f"protocols name metrics that do not exist: {sorted(unknown)}")
    return found


PROTOCOLS: Final = parse(files(__package__ or "auren.neuros").joinpath("protocols.toml").read_text())
NAMES: Final = {protocol: name for name, protocol in PROTOCOLS.items()}


def suited(mode: Mode) -> tuple[Protocol, ...]:
    """The protocols for a mode."""
    return tuple(protocol for protocol in PROTOCOLS.values() if mode in protocol.modes)
