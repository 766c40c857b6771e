"""Stub."""

from datetime import datetime

import msgspec

from auren.modes.thresholds import Mode


class ModeState(msgspec.Struct, frozen=True):
    mode: Mode = Mode.BASELINE
    since: datetime | None = None


INITIAL = ModeState()
