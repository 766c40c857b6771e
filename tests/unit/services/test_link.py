"""A connection in the background: there when it can be, gone without a fuss, made anew when lost."""

from __future__ import annotations

import asyncio

import pytest

from auren import background
from auren import link as module
from auren.background import backoff_seconds
from auren.health import UnhealthyError
from auren.link import Link, UnavailableError


class Peer:
    """Something to connect to, that may be away or hang."""

    def __init__(self) -> None:
        self.away = False
        self.hangs_on_close = False
        self.defects: list[Exception] = []
        self.made = 0
        self.refused = asyncio.Event()
        self.closed: list[int] = []

    async def connect(self) -> int:
        if self.defects:
            raise self.defects.pop()
        if self.away:
            self.refused.set()
            raise ConnectionRefusedError(111, "Connection refused")
        self.made += 1
        return self.made

    async def close(self, client: int) -> None:
        if self.hangs_on_close:
            await asyncio.Event().wait()
        self.closed.append(client)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    monkeypatch.setattr(background, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_SECONDS", 0.01)
    return Peer()


@pytest.fixture
def link(peer: Peer) -> Link[int]:
    return Link("kafka", peer.connect, peer.close)


async def test_start_does_not_wait_and_the_client_comes_by_itself(link: Link[int], peer: Peer) -> None:
    peer.away = True
    await link.start()
    with pytest.raises(UnavailableError, match="kafka: not connected yet"):
        _ = link.client
    async with asyncio.timeout(5):
        await peer.refused.wait()
    assert await _trouble(link) == "ConnectionRefusedError: Connection refused"
    peer.away = False
    assert await link.wait() == 1
    await link.check()
    await link.stop()
    assert peer.closed == [1]


async def _trouble(link: Link[int]) -> str:
    with pytest.raises(UnhealthyError) as trouble:
        await link.check()
    return str(trouble.value)


async def test_a_lost_client_is_replaced_once(link: Link[int], peer: Peer) -> None:
    await link.start()
    first = await link.wait()
    link.lost(first, "no answer")
    link.lost(first, "no answer")
    assert not link.connected
    assert await _trouble(link) == "no answer"
    assert await link.wait() == 2
    link.lost(first, "late news of the old one")
    assert link.client == 2
    await link.stop()
    assert peer.closed == [1, 2]


async def test_stop_is_bounded_when_the_peer_is_gone(link: Link[int], peer: Peer) -> None:
    await link.start()
    await link.wait()
    peer.hangs_on_close = True
    async with asyncio.timeout(5):
        await link.stop()
    with pytest.raises(UnavailableError, match="stopped"):
        _ = link.client


async def test_stop_while_connecting(link: Link[int], peer: Peer) -> None:
    peer.away = True
    await link.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await link.stop()


async def test_a_defect_of_connecting_is_told_and_tried_again(link: Link[int], peer: Peer) -> None:
    peer.defects = [RuntimeError("defect"), KeyError("anna")]
    await link.start()
    async with asyncio.timeout(5):
        assert await link.wait() == 1
    await link.stop()


def test_the_pause_grows_to_a_bound() -> None:
    assert 0.1 <= backoff_seconds(1) <= 0.2
    assert 2.5 <= backoff_seconds(10) <= 5
    assert 2.5 <= backoff_seconds(10_000) <= 5
