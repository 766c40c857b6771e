"""Writes of one turn of the event loop leave together, in order, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from auren.transport import JoinedWrites


class Wire:
    """A transport that notes what it was given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return f"the wire's {name}"


def joined() -> tuple[Wire, Any]:
    wire = Wire()
    return wire, JoinedWrites(cast(asyncio.Transport, wire), asyncio.get_running_loop())


async def test_writes_of_one_turn_leave_as_one() -> None:
    wire, transport = joined()
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"head body"]


async def test_writes_of_two_turns_leave_in_order() -> None:
    wire, transport = joined()
    for part in (b"one", b"two", b"three"):
        transport.write(part)
        await asyncio.sleep(0)
    assert wire.sent == [b"one", b"two", b"three"]


async def test_what_was_written_leaves_before_the_connection_is_closed() -> None:
    wire, transport = joined()
    transport.write(b"bye")
    transport.close()
    assert (wire.sent, wire.closed) == ([b"bye"], True)
    await asyncio.sleep(0)
    assert wire.sent == [b"bye"]


async def test_everything_else_is_the_transports_own() -> None:
    _, transport = joined()
    assert transport.get_extra_info("peername") == "the wire's peername"
