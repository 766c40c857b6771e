"""Background tasks: no error ends them, and one that ends all the same shows in the liveness of its process."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from auren import background
from auren.background import Background, ended
from auren.health import Health


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_BACKOFF_SECONDS", 0.001)


class Work:
    """Fails as often as the test says, then waits or returns."""

    def __init__(self, failures: int, *, returns: bool = False) -> None:
        self.failures = failures
        self.returns = returns
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("defect")
        self.reached.set()
        if not self.returns:
            await asyncio.Event().wait()


def live() -> int:
    return TestClient(Starlette(routes=Health("test").routes())).get("/health/live").status_code


async def test_it_goes_on_after_errors_until_it_is_stopped() -> None:
    work = Work(3)
    task = Background("testing", work)
    task.start()
    await asyncio.wait_for(work.reached.wait(), 10)
    assert "testing" not in ended()
    await task.stop()
    assert task._task is not None
    assert task._task.done()
    assert "testing" not in ended()


async def test_one_that_ends_fails_the_liveness() -> None:
    task = Background("testing", Work(0, returns=True))
    task.start()
    assert task._task is not None
    await asyncio.wait({task._task})
    assert not task.running
    assert ended() == ["testing"]
    assert await asyncio.to_thread(live) == 503
    await task.stop()
    assert await asyncio.to_thread(live) == 200


async def test_one_that_is_cancelled_from_elsewhere_fails_it_too() -> None:
    task = Background("testing", Work(0))
    task.start()
    assert task._task is not None
    task._task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task._task
    assert ended() == ["testing"]
    await task.stop()


async def test_work_that_is_needed_once_may_finish() -> None:
    task = Background("testing", Work(2, returns=True), once=True)
    task.start()
    assert task._task is not None
    await asyncio.wait({task._task})
    assert task.running
    assert ended() == []
    await task.stop()
