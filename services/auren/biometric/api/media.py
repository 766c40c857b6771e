"""Which form of an answer a caller wants: content negotiation by Accept (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from typing import Final

from auren.http import ProblemError
from auren.openapi import Answers, problem

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
FORMS: Final = (JSON, CSV, ARROW)

NOT_ACCEPTABLE: Final[Answers] = problem(406, "none of the forms is accepted", "not-acceptable")


def chosen(accept: str | None, offered: Sequence[str] = FORMS) -> str:
    """The form that the header wants most; of equal ones the first. Raises ProblemError (406) when it wants none."""
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    quality = {form: _quality(form, ranges) for form in offered}
    best = max(offered, key=lambda form: quality[form])
    if quality[best] <= 0:
        raise ProblemError(406, "not-acceptable", "none of the forms is accepted", "there is " + ", ".join(offered))
    return best


def _range(part: str) -> tuple[str, float]:
    """(media range, its weight); one that cannot be read has no weight."""
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return media, float(weights[0]) if weights else 1.0
    except ValueError:
        return media, 0.0


def _quality(form: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The weight of the most specific range that the form lies in."""
    for wanted in (form, form.partition("/")[0] + "/*", "*/*"):
        weights = [weight for media, weight in ranges if media == wanted]
        if weights:
            return weights[0]
    return 0.0
