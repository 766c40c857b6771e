"""Quantities mean what Kubernetes says they mean."""

from __future__ import annotations

from decimal import Decimal

import pytest

from auren_operator.api.quantity import GREATEST, is_quantity, quantity, to_bytes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", "0.25"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("2Ki", "2048"),
        ("1.5Gi", "1610612736"),
        ("1k", "1000"),
        ("1E", "1e18"),
        ("1E3", "1000"),
        ("1e-3", "0.001"),
        ("-3", "-3"),
        ("+3", "3"),
        ("7n", "7e-9"),
        (3, "3"),
    ],
)
def test_values(text: str | int, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["1e999999999", "9Ei", "99999999999999999999"])
def test_beyond_64_bits_it_is_the_greatest(text: str) -> None:
    assert quantity(text) == GREATEST


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1g", "1KiB", "m", "1.2.3", "1e", "e3", "--1", "1\n", "\u0661", "0x1", "NaN"]
)
def test_what_is_none(text: str) -> None:
    assert not is_quantity(text)
    with pytest.raises(ValueError, match="not a quantity"):
        quantity(text)


@pytest.mark.parametrize(("text", "count"), [("1Ki", 1024), ("1", 1), ("1500m", 2), ("0.1Ki", 103), (7, 7)])
def test_bytes_are_whole_and_rounded_up(text: str | int, count: int) -> None:
    assert to_bytes(text) == count
