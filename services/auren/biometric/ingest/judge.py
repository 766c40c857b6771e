"""Stub."""

from __future__ import annotations

from auren.modes import DEFAULTS


class Judge:
    held = frozenset(DEFAULTS.metrics)

    def patterns(self, person, event):
        return ()

    def mode(self, person, event):
        return None
