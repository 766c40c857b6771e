"""Periodic jobs of the bridge, run inside `collect`: of several replicas one does each, and a restart repeats none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


class ChoreFailedError(Exception):
    """A chore could not do its work, and may later; the message says why, for people, without data of people."""


class IdleError(Exception):
    """There is nothing that the chore could work on: something is not configured. The message says what."""


@dataclass(frozen=True, slots=True)
class Chore:
    """One periodic job. `name` is its lock's, its row's and its metrics' name.

    `work` may run again at any time, and in two processes at once: a lock that is lost with its connection stops
    nobody. It raises ChoreFailedError, IdleError, vendors.VendorError or UnavailableError. `at_start`: it runs when
    its process starts, however recently it worked elsewhere.
    """

    name: str
    period_seconds: float
    work: Callable[[], Awaitable[None]]
    at_start: bool = False
