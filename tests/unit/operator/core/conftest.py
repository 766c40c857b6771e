"""What the tests of the operator's core share."""

from __future__ import annotations

import pytest

from tests.unit.operator.core.world import World


@pytest.fixture
def world() -> World:
    """An operator on an empty cluster."""
    return World()
