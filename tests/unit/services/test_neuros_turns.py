"""Turns that do not go their usual way: whose reader leaves, and whose mode only the hysteresis holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta

import anyio
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from auren.modes import Evidence, Mode
from auren.modes.machine import ModeState
from auren.neuros import graph as graphs
from auren.neuros.knowledge import Knowledge, Standing
from auren.neuros.models import Prompt
from auren.neuros.nodes import Resources
from auren.neuros.saver import Bounded
from auren.neuros.turn import Turn
from tests.unit.services.talking import NOW, month, says, session_of, talk, values


class Sessions(Bounded, InMemorySaver):
    """Sessions in memory, kept as those in PostgreSQL are."""


class Endless:
    """A model that says one sentence and then nothing more."""

    name = "endless"

    def __init__(self) -> None:
        self.said, self.closed = asyncio.Event(), asyncio.Event()

    async def reply(self, _user_id: str, _prompt: Prompt) -> AsyncIterator[str]:
        try:
            yield "Today looks steady."
            self.said.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.closed.set()


async def read(model: Endless, saver: InMemorySaver) -> None:
    """Read a turn of the session that `talk` talks in, until something ends it."""

    async def latest(_user_id: str) -> object:
        return values()

    graph = graphs.build(Resources(latest, model=model), saver)  # type: ignore[arg-type]
    async with aclosing(graphs.run(graph, Turn("anna", "s", "Two?", NOW), "anna/s")) as steps:  # type: ignore[type-var]
        async for _ in steps:
            pass


@pytest.mark.parametrize("server", [True, False], ids=["server", "task"])
async def test_a_reader_that_leaves_ends_the_model_and_leaves_the_session_as_it_was(server: bool) -> None:
    """A web server cancels in anyio's way: again at each step of the clean-up."""
    saver, model = Sessions(), Endless()
    await talk("One?", model=says("All is as usual."), saver=saver)
    before = await session_of(saver)
    if server:
        async with anyio.create_task_group() as group:
            group.start_soon(read, model, saver)
            await model.said.wait()
            group.cancel_scope.cancel()
    else:
        reading = asyncio.create_task(read(model, saver))
        await model.said.wait()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    async with asyncio.timeout(10):
        await model.closed.wait()
        await asyncio.gather(*graphs._running, return_exceptions=True)
    assert await session_of(saver) == before
    assert len(list(saver.list({"configurable": {"thread_id": "anna/s"}}))) == 1


def standing(reason: str | None) -> Standing:
    """In reflex for an hour, since HRV was 38 ms."""
    at = NOW - timedelta(hours=1)
    evidence = Evidence("hrv_rmssd", 38, "ms", at, "drop_ratio", 0.3, 60)
    return Standing(ModeState(Mode.REFLEX, at, "hrv-fall", at), reason, 0.9, (evidence,) if reason else ())


REASON = "HRV (RMSSD) is 38 ms, more than 30 % below the usual 60 ms"


async def test_a_mode_that_only_the_hysteresis_holds_is_told_by_what_led_to_it() -> None:
    knowledge = Knowledge(NOW.date(), standing=standing(REASON), month=month(hrv_rmssd=60.0))
    held = await talk(latest=values(hrv_rmssd=42.5), knowledge=knowledge)
    assert held.turn.decision is not None
    assert (held.turn.decision.mode, held.turn.decision.rule) == (Mode.REFLEX, "hrv-fall")
    assert held.turn.decision.reason == REASON
    assert "42.5 ms" in " ".join(held.said)
    left = await talk(latest=values(hrv_rmssd=44.0), knowledge=knowledge)
    assert left.turn.decision is not None
    assert left.turn.decision.mode is Mode.BASELINE
