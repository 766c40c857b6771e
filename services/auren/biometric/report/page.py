"""The report as one HTML page that needs nothing else: no script, no address to load from, charts inside.

Names of devices and what else comes from outside pass through the template's escaping, and the page's own policy lets
nothing run or load: see CSP.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from auren.biometric.report.charts import Chart

CSP: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; sandbox allow-modals allow-downloads"
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the first of each its name. `texts`: cells that are words stand to the left."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One part of the report: what is to be said, a chart with its words, the numbers, what is flagged.

    `nothing` says why there is neither chart nor number; `image` is what was drawn of the chart.
    """

    title: str
    sentences: tuple[str, ...] = ()
    chart: Chart | None = None
    alt: str = ""
    table: Table | None = None
    flagged: tuple[str, ...] = ()
    nothing: str = ""
    wide: bool = False
    image: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that stands on the page."""

    title: str
    subtitle: str
    cards: tuple[Card, ...]
    footer: tuple[str, ...]

    @property
    def charts(self) -> list[Chart]:
        """What is to be drawn, in the order of the cards."""
        return [card.chart for card in self.cards if card.chart is not None]


_environment = Environment(
    loader=PackageLoader("auren.biometric.report", ""), autoescape=True, undefined=StrictUndefined
)


def html(report: Report, drawn: list[str]) -> str:
    """The page; `drawn` has an SVG document for each chart."""
    images = iter(drawn)
    cards = tuple(card if card.chart is None else replace(card, image=_data(next(images))) for card in report.cards)
    return _environment.get_template("page.html").render(report=replace(report, cards=cards))


def _data(svg: str) -> str:
    """An SVG in an image runs no script and loads nothing, wherever it is shown."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
