"""The spelling of names, as Kubernetes has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from auren_operator.api.schema import Rule

LABEL_KEY: Final = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"


def matches(pattern: str) -> Callable[[str], bool]:
    """A test whether a whole string is of ``pattern``."""
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


OBJECT_NAME: Final = Rule(
    "must be an object's name: lower case letters, digits, '-' and '.'",
    matches(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"),
)

LABEL_KEYS: Final = Rule(
    "a key must be a label's name such as team or example.com/team",
    lambda labels: all(map(matches(LABEL_KEY), labels)),
)
