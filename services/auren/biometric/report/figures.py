"""Draws charts as SVG. Run as a program it reads charts from its input and writes one SVG for each, as JSON.

In a process of its own, since drawing takes the interpreter for a tenth of a second and matplotlib takes 75 MB: both
are gone with the process. Sizes are in points of a figure as wide as a phone, so that letters stay readable there.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from typing import Any, Final, cast

import matplotlib
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from auren.biometric.report.charts import Chart, Day, Line, Modes, Stack

WIDTH_INCHES: Final = 4.5
HEIGHT_INCHES: Final = 2.6
MODE_INCHES: Final = 0.34
"""Of one row of the modes."""

INK: Final = "#1b2a34"
FAINT: Final = "#d5dde2"
VALUE: Final = "#0b6e8a"
BAND: Final = "#bfe0ea"
FLAGGED: Final = "#b3261e"
PARTS: Final = ("#173f5f", "#3b7ea1", "#9cc9dd")
MODES: Final = {
    "baseline": "#8fa3ad",
    "companion": "#6aa84f",
    "pattern": "#e3b23c",
    "hypothesis": "#3b7ea1",
    "sentinel": "#c27c0e",
    "guardian": "#b3261e",
    "reflex": "#7b3f98",
}

STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # letters stay letters: small, sharp, and found by a search
    "svg.hashsalt": "auren",
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
    "font.size": 11,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 10,
}
_NO_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
MOST_LABELS: Final = 8


def svg(chart: Chart) -> str:
    """The chart as an SVG document, the same for the same chart."""
    with matplotlib.rc_context(cast(Any, STYLE)):
        height = HEIGHT_INCHES
        if isinstance(chart, Modes):
            height = 1.0 + MODE_INCHES * len({span.mode for span in chart.spans})
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes = figure.subplots()
        match chart:
            case Line():
                _line(axes, chart)
            case Stack():
                _stack(axes, chart)
            case Modes():
                _modes(axes, chart)
        _days(axes, chart.labels)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=_NO_METADATA)
        return out.getvalue()


def _days(axes: Axes, labels: Sequence[str]) -> None:
    """The axis of time: a label under the middle of each day, or of every few."""
    step = -(-len(labels) // MOST_LABELS)
    shown = range(len(labels) - 1, -1, -step)
    axes.set_xticks([index + 0.5 for index in shown], [labels[index] for index in shown])
    axes.set_xlim(0, len(labels))
    axes.tick_params(length=0)


def _values(axes: Axes, unit: str) -> None:
    """The axis of values."""
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10)))
    axes.set_title(unit, loc="left", fontsize=10)


def _band(axes: Axes, days: Sequence[Day]) -> None:
    """What is usual: its range as a band, its middle as a dashed line, each day for itself."""
    label: str | None = "usual (28 days)"
    for index, day in enumerate(days):
        if day.low is None or day.high is None or day.usual is None:
            continue
        place = (index, index + 1)
        axes.fill_between(place, day.low, day.high, color=BAND, linewidth=0, label=label)
        axes.plot(place, (day.usual, day.usual), color=VALUE, linewidth=1, linestyle=(0, (3, 3)))
        label = None


def _line(axes: Axes, chart: Line) -> None:
    _values(axes, chart.unit)
    _band(axes, chart.days)
    if chart.dots:
        trusted = [dot for dot in chart.dots if not dot.flagged]
        axes.scatter([d.x for d in trusted], [d.value for d in trusted], s=7, color=VALUE, alpha=0.45, linewidth=0)
    values = [math.nan if day.value is None else day.value for day in chart.days]  # which interrupts the line
    if any(day.value is not None for day in chart.days):
        axes.plot(
            [index + 0.5 for index in range(len(values))],
            values,
            color=VALUE,
            linewidth=2,
            marker="o",
            markersize=5,
            label="day",
        )
    _limits(axes, chart)
    _flagged(axes, chart)
    _legend(axes)


def _limits(axes: Axes, chart: Line) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(
        low if chart.lowest is None else max(low, chart.lowest),
        high if chart.highest is None else min(high, chart.highest),
    )


def _flagged(axes: Axes, chart: Line) -> None:
    """Crosses. What lies outside stands at the edge: a wrong value must not make the right ones look flat."""
    flagged = [dot for dot in chart.dots if dot.flagged]
    if not flagged:
        return
    values = [dot.value for dot in flagged]
    if len(flagged) < len(chart.dots) or any(day.value is not None for day in chart.days):
        low, high = axes.get_ylim()
        values = [min(max(value, low), high) for value in values]
    else:
        axes.set_autoscaley_on(True)
    places = [dot.x for dot in flagged], values
    axes.scatter(*places, s=30, marker="x", color=FLAGGED, linewidth=1.6, clip_on=False, label="flagged, not counted")


def _stack(axes: Axes, chart: Stack) -> None:
    _values(axes, chart.unit)
    _band(axes, chart.days)
    places = [index + 0.5 for index in range(len(chart.labels))]
    bottom = [0.0] * len(places)
    for part, color in zip(chart.parts, PARTS, strict=False):
        axes.bar(places, part.values, 0.55, bottom=bottom, color=color, label=part.name)
        bottom = [low + value for low, value in zip(bottom, part.values, strict=True)]
    axes.set_ylim(bottom=0)
    _legend(axes)


def _modes(axes: Axes, chart: Modes) -> None:
    names = [mode for mode in MODES if any(span.mode == mode for span in chart.spans)]
    for span in chart.spans:
        axes.barh(names.index(span.mode), span.end - span.start, 0.62, left=span.start, color=MODES[span.mode])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    for edge in range(1, len(chart.labels)):
        axes.axvline(edge, color=FAINT, linewidth=0.8, zorder=0)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = min(len(labels), 4)
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=columns,
            columnspacing=0.8,
            handlelength=1.0,
            handletextpad=0.4,
            borderpad=0,
        )


def main() -> None:
    """From standard input to standard output."""
    charts = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Chart])
    sys.stdout.buffer.write(msgspec.json.encode([svg(chart) for chart in charts]))


if __name__ == "__main__":
    main()
