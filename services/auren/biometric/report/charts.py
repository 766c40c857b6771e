"""What is drawn in a report: plain numbers, ready to be drawn. They go to the process that draws as JSON.

A place on the axis of time is a number of days since the first day began: 0.5 is noon of the first day, also where a
day has 23 or 25 hours.
"""

from __future__ import annotations

import msgspec


class Dot(msgspec.Struct, frozen=True):
    """One reading. A flagged one is shown, and shown as such."""

    x: float
    value: float
    flagged: bool = False


class Day(msgspec.Struct, frozen=True):
    """A day's value, and what is usual for the person as of that day; None where there is none."""

    value: float | None = None
    usual: float | None = None
    low: float | None = None
    high: float | None = None


class Line(msgspec.Struct, frozen=True, tag="line"):
    """Values of days joined by a line, single readings as dots, what is usual as a band. `unit` for the axis."""

    labels: tuple[str, ...]
    unit: str
    days: tuple[Day, ...]
    dots: tuple[Dot, ...] = ()
    lowest: float | None = None
    highest: float | None = None


class Part(msgspec.Struct, frozen=True):
    """One layer of the bars, a value for each day."""

    name: str
    values: tuple[float, ...]


class Stack(msgspec.Struct, frozen=True, tag="stack"):
    """A bar for each day, of parts above each other, and what is usual for the whole as a band."""

    labels: tuple[str, ...]
    unit: str
    parts: tuple[Part, ...]
    days: tuple[Day, ...]


class Span(msgspec.Struct, frozen=True):
    """A mode, from one place on the axis of time to another."""

    mode: str
    start: float
    end: float


class Modes(msgspec.Struct, frozen=True, tag="modes"):
    """Which mode held when."""

    labels: tuple[str, ...]
    spans: tuple[Span, ...]


Chart = Line | Stack | Modes
