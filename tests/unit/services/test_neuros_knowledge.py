"""What is known of a person is read anew when there is something new, and is not kept for longer than a talk."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from auren.neuros import knowledge
from auren.neuros.knowledge import Known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from auren.database import Database

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Tables:
    """The database: one person's row, and resting heart rates of the days before; counts what is asked."""

    def __init__(self) -> None:
        self.person: dict[str, Any] | None = {"revision": 1, "state": "{}"} | dict.fromkeys(
            ("reason", "confidence", "evidence")
        )
        self.rate = 50
        self.asked = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        yield self

    async def fetchrow(self, _statement: str, _user: str) -> dict[str, Any] | None:
        return self.person

    async def fetch(self, statement: str, *_arguments: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        days = [NOON.date() - timedelta(days=ago) for ago in range(1, 11)]
        rows = [("resting_heart_rate", day, "w", 1, self.rate * 1_000_000) for day in days]
        return rows if "daily_values" in statement else []


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def seconds() -> list[float]:
    """What the clock says, changed by the test."""
    return [0.0]


@pytest.fixture
def known(tables: Tables, seconds: list[float]) -> Known:
    return Known(cast("Database", tables), lambda: seconds[0])


async def usual(known: Known, now: datetime = NOON, user: str = "anna") -> float:
    return (await known.of(user, now)).usual["resting_heart_rate"].mean


async def test_days_are_read_once_while_nothing_is_new(known: Known, tables: Tables) -> None:
    assert await usual(known) == 50
    asked = tables.asked
    assert await usual(known) == 50
    assert tables.asked == asked


async def test_a_new_revision_or_a_new_day_is_read(known: Known, tables: Tables) -> None:
    await usual(known)
    tables.rate = 60
    assert tables.person is not None
    tables.person["revision"] = 2
    assert await usual(known) == 60
    tables.rate = 70
    assert await usual(known, NOON + timedelta(days=1)) == 70


async def test_nothing_is_kept_of_somebody_whose_row_is_gone_or_who_talks_no_more(
    known: Known, tables: Tables, seconds: list[float]
) -> None:
    await usual(known)
    tables.person, before = None, tables.person
    assert not (await known.of("anna", NOON)).usual
    assert not known._kept
    tables.person = before
    await usual(known)
    seconds[0] = knowledge.KEPT_SECONDS + 1
    await usual(known, user="ben")
    assert list(known._kept) == ["ben"]


async def test_of_many_people_those_who_talked_last_are_kept(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "MOST_KEPT", 1)
    for user in ("anna", "ben", "chris", "dora"):
        await usual(known, user=user)
    assert list(known._kept) == ["dora"]
