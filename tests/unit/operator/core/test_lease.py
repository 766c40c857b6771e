"""Leadership: taken when free, kept while it lasts, given up in time, judged by one's own clock alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from auren_operator.kube import lease as module
from auren_operator.kube.client import Refused, Unreachable
from auren_operator.kube.lease import LEASE_SECONDS, RENEW_DEADLINE_SECONDS, RETRY_SECONDS, Leadership, LeaseLost
from tests.unit.operator.core.clock import Clock
from tests.unit.operator.core.cluster import FakeKube

NAME = "auren-operator"


class Passing:
    """``asyncio`` whose sleeps take no time, but move a clock; ``then`` is asked at each of them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.then: list[Callable[[], object]] = []
        self.sleeps = 0
        self.timeouts: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        assert self.sleeps < 100, "it never ends"
        self.clock.advance(seconds)
        if self.then:
            self.then.pop(0)()
        await asyncio.sleep(0)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        self.timeouts.append(seconds)
        return asyncio.timeout(30)


class Lab:
    """A Lease in a cluster, and those who want it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kube = FakeKube()
        self.clock = Clock()
        self.passing = Passing(self.clock)
        fake = SimpleNamespace(sleep=self.passing.sleep, timeout=self.passing.timeout)
        monkeypatch.setattr(module, "asyncio", fake)
        monkeypatch.setattr(module, "time", self.clock)

    def candidate(self, identity: str = "me") -> Leadership:
        return Leadership(self.kube, "people", NAME, identity)

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.get("Lease", NAME)["spec"]
        return found

    def held_by(self, holder: str, renew: str = "2026-01-01T00:00:00.000000Z", **spec: Any) -> None:
        """Somebody holds it."""
        meta = {"name": NAME, "namespace": "people"}
        body = {"holderIdentity": holder, "renewTime": renew, "leaseDurationSeconds": 15, "leaseTransitions": 4} | spec
        self.kube.put("Lease", {"metadata": meta, "spec": body})

    def renewed(self, at: str) -> Callable[[], object]:
        """The holder renews."""
        return lambda: self.kube.edit("Lease", NAME, lambda lease: lease["spec"].update(renewTime=at))

    def fails(self, error: Exception | None) -> None:
        """From now on every call fails so, or none does."""
        self.kube.rules[:] = [lambda call: error] if error else []


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


async def test_a_lease_that_does_not_exist_is_made(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()
    assert me.held
    assert lab.spec["holderIdentity"] == "me"
    assert lab.spec["leaseDurationSeconds"] == LEASE_SECONDS
    assert lab.spec["acquireTime"] == lab.spec["renewTime"]
    assert lab.passing.sleeps == 0


async def test_a_lease_that_was_given_back_is_taken_at_once(lab: Lab) -> None:
    lab.held_by("")
    await lab.candidate().acquire()
    assert lab.passing.sleeps == 0
    assert (lab.spec["holderIdentity"], lab.spec["leaseTransitions"]) == ("me", 5)


async def test_a_lease_of_ones_own_is_taken_up_again_at_once(lab: Lab) -> None:
    lab.held_by("me", acquireTime="2025-01-01T00:00:00.000000Z")
    await lab.candidate().acquire()
    assert lab.passing.sleeps == 0
    assert lab.spec["leaseTransitions"] == 4
    assert lab.spec["acquireTime"] == "2025-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("spec", [None, {}])
async def test_a_lease_without_a_holder_is_taken(lab: Lab, spec: dict[str, Any] | None) -> None:
    lease: dict[str, Any] = {"metadata": {"name": NAME, "namespace": "people"}}
    lab.kube.put("Lease", lease | ({"spec": spec} if spec is not None else {}))
    await lab.candidate().acquire()
    assert lab.spec["holderIdentity"] == "me"


@pytest.mark.parametrize("renewed", ["2001-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"])
async def test_a_holder_that_does_not_renew_is_waited_for_as_long_as_its_lease_lasts_whatever_its_clock_says(
    lab: Lab, renewed: str
) -> None:
    lab.held_by("other", renewed, leaseDurationSeconds=7)
    started = lab.clock.now
    await lab.candidate().acquire()
    assert 7 < lab.clock.now - started <= 7 + 2 * RETRY_SECONDS
    assert lab.spec["holderIdentity"] == "me"


async def test_a_holder_that_renews_is_waited_for(lab: Lab) -> None:
    lab.held_by("other")
    lab.passing.then = [lab.renewed(f"2026-01-01T00:00:{second:02}.000000Z") for second in range(1, 31)]
    started = lab.clock.now
    await lab.candidate().acquire()
    assert lab.clock.now - started > 30 * RETRY_SECONDS + LEASE_SECONDS - RETRY_SECONDS


async def test_of_two_that_take_it_at_once_one_waits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.held_by("")
    me, other = lab.candidate("me"), lab.candidate("other")
    stale = lab.kube.get("Lease", NAME)
    await other.acquire()
    answers = [stale]

    async def read(*_: Any) -> Any:
        return answers.pop(0) if answers else lab.kube.get("Lease", NAME)

    monkeypatch.setattr(lab.kube, "read", read)
    assert not await me._try()
    assert not await me._try()
    assert lab.spec["holderIdentity"] == "other"


async def test_who_holds_it_renews_it(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()
    seen = []

    def look() -> None:
        seen.append(lab.spec["renewTime"])
        if len(seen) == 4:
            raise asyncio.CancelledError

    lab.passing.then = [look] * 4
    with pytest.raises(asyncio.CancelledError):
        await me.keep()
    assert len(set(seen)) >= 3
    assert lab.spec["leaseTransitions"] == 1
    assert me.held


@pytest.mark.parametrize("error", [Unreachable("cut"), Refused(503, "ServiceUnavailable", "no"), TimeoutError()])
async def test_who_cannot_renew_stops_before_anybody_else_may_start(lab: Lab, error: Exception) -> None:
    me = lab.candidate()
    await me.acquire()
    renewed_at = lab.clock.now
    lab.fails(error)
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await me.keep()
    assert not me.held
    assert RENEW_DEADLINE_SECONDS <= lab.clock.now - renewed_at < LEASE_SECONDS


@pytest.mark.parametrize("slow", [0.0, 3.9], ids=["after a quick renewal", "after a slow renewal"])
@pytest.mark.parametrize("first", [0.0, 0.5, 1.3, 1.9, 3.9])
async def test_calls_that_hang_do_not_keep_a_lost_lease_alive(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, first: float, slow: float
) -> None:
    """However the calls spread over time, the last of them ends before the Lease runs out for others, who may have
    seen its last renewal when it began."""
    me = lab.candidate()
    await me.acquire()
    renewed_at = lab.clock.now + RETRY_SECONDS
    lasts = [first] * 3
    renewals = [slow]

    class Hanging:
        def __init__(self, limit: float) -> None:
            self._limit = limit

        async def __aenter__(self) -> None:
            if not renewals:
                lab.clock.advance(min(self._limit, lasts.pop()) if lasts else self._limit)
                raise TimeoutError

        async def __aexit__(self, *_: object) -> None:
            if renewals:
                lab.clock.advance(renewals.pop())

    monkeypatch.setattr("auren_operator.kube.lease.asyncio.timeout", Hanging)
    with pytest.raises(LeaseLost):
        await me.keep()
    assert lab.clock.now - renewed_at < LEASE_SECONDS


async def test_a_short_trouble_costs_nothing(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()

    def stop() -> None:
        raise asyncio.CancelledError

    lab.passing.then = [
        lambda: lab.fails(Unreachable("cut")),
        lambda: None,
        lambda: lab.fails(None),
        *[lambda: None] * 8,
        stop,
    ]
    with pytest.raises(asyncio.CancelledError):
        await me.keep()
    assert me.held


async def test_who_sees_another_holder_stops_at_once(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()
    started = lab.clock.now
    lab.passing.then = [
        lambda: lab.kube.edit("Lease", NAME, lambda lease: lease["spec"].update(holderIdentity="other", renewTime="x"))
    ]
    with pytest.raises(LeaseLost, match="'other'"):
        await me.keep()
    assert lab.clock.now - started <= 2 * RETRY_SECONDS


async def test_a_deleted_lease_is_made_again(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()
    lab.kube.remove("Lease", NAME)
    assert await me._try()
    assert lab.spec["holderIdentity"] == "me"


async def test_every_call_has_a_limit_of_time(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()
    await me.release()
    assert lab.passing.timeouts
    assert all(0 < limit < LEASE_SECONDS - RENEW_DEADLINE_SECONDS for limit in lab.passing.timeouts)


async def test_a_call_that_hangs_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()

    async def forever(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(kube, "read", forever)
    assert not await Leadership(kube, "people", NAME, "me")._try(0.001)


async def test_it_is_given_back_so_that_the_next_need_not_wait(lab: Lab) -> None:
    me = lab.candidate()
    await me.acquire()
    await me.release()
    assert not me.held
    assert not lab.spec["holderIdentity"]
    assert lab.spec["leaseDurationSeconds"] == 1
    await lab.candidate("other").acquire()
    assert lab.passing.sleeps == 0


async def test_only_what_one_holds_is_given_back(lab: Lab) -> None:
    lab.held_by("other")
    me = lab.candidate()
    await me.release()
    assert lab.kube.calls == []
    me.held = True
    await me.release()
    assert lab.spec["holderIdentity"] == "other"


@pytest.mark.parametrize("error", [Unreachable("cut"), Refused(409, "Conflict", "no"), TimeoutError()])
async def test_a_lease_that_cannot_be_given_back_keeps_nobody_from_stopping(lab: Lab, error: Exception) -> None:
    me = lab.candidate()
    await me.acquire()
    lab.fails(error)
    await me.release()
    assert not me.held


async def test_when_the_loop_turned_last_is_known(lab: Lab) -> None:
    me = lab.candidate()
    lab.held_by("other")
    lab.clock.advance(100)
    await me._try()
    assert me.turned_at == lab.clock.now
    lab.fails(Unreachable("cut"))
    lab.clock.advance(100)
    await me._try()
    assert me.turned_at == lab.clock.now, "an API server that is away is no reason to start this process again"


def test_the_times_leave_room_for_the_slowest_way_out() -> None:
    assert RENEW_DEADLINE_SECONDS + RETRY_SECONDS < LEASE_SECONDS
