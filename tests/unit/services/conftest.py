"""Settings of the properties: no time limits, for a busy machine breaks no promise. Logs are each test's own.

`--hypothesis-profile deep` looks at far more examples than a run in between has time for.
"""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("auren", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=10_000)
settings.load_profile("auren")


@pytest.fixture(autouse=True)
def _logs_of_one_test() -> Iterator[None]:
    """A program that was tested has set up its logs; the next test's are not filtered by it."""
    found = structlog.get_config()
    yield
    structlog.configure(**found)
