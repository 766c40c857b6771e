"""Kubernetes quantities (``250m``, ``1.5``, ``20Gi``, ``1e3``) as exact numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

GREATEST: Final = Decimal(2**63 - 1)
"""Kubernetes caps every quantity at the greatest signed 64-bit integer."""

_GRAMMAR: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,9}))?", re.ASCII)
_DECIMAL_POWERS: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_POWERS: Final[Mapping[str, int]] = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(text: str | int) -> Decimal:
    """The number that a quantity stands for, in its base unit (cores, bytes).

    Raises ValueError when the text is no quantity. Grammar: k8s.io/apimachinery/pkg/api/resource.
    """
    match = _GRAMMAR.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, suffix, exponent = match.groups()
    if suffix in _BINARY_POWERS:
        value = Decimal(number) * Decimal(1024 ** _BINARY_POWERS[suffix])
    else:
        value = Decimal(f"{number}e{exponent or _DECIMAL_POWERS.get(suffix, 0)}")
    return max(-GREATEST, min(GREATEST, value))


def is_quantity(text: object) -> bool:
    """Whether a value of the API is a quantity: a string of its grammar, or an integer."""
    return isinstance(text, int) or (isinstance(text, str) and _GRAMMAR.fullmatch(text) is not None)


def to_bytes(text: str | int) -> int:
    """A quantity of bytes as a number, rounded up to a whole one as Kubernetes does. Raises as `quantity` does."""
    return int(quantity(text).to_integral_value(rounding=ROUND_CEILING))
