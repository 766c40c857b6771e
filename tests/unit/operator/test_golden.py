"""Every component at every size is made of what its golden file shows."""

from __future__ import annotations

import pytest

from tests.unit.operator import golden
from tests.unit.operator.built import ALL, SIZES


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("component", ALL)
def test_a_component_is_made_of_what_its_golden_file_shows(component: str, size: str) -> None:
    file = golden.path(component, size)
    shown = file.read_text() if file.exists() else ""
    assert golden.rendered(component, size) == shown, "if wanted: python -m tests.unit.operator.golden"


def test_no_golden_file_is_left_over() -> None:
    expected = {golden.path(component, size) for component in ALL for size in SIZES}
    assert {file for file in golden.FOLDER.rglob("*") if file.is_file()} <= expected
