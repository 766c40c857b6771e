"""The vendors: ``python -m tests.api.chaos.sender PLAN RESULT`` sends a plan's deliveries, each until it is accepted.

Open loop: a delivery begins at its moment whether or not earlier ones were answered, as long as one of CONNECTIONS is
free. What was refused, or broken off before an answer, is sent again with the same body and a signature of that moment.
The result counts both apart, for what was broken off may or may not be in the log. It is a process of its own, so that
the test can wait for a server without holding up the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.api.chaos.deliveries import TURN, Plan

CONNECTIONS: Final = 128
TIMEOUT_SECONDS: Final = 10.0
"""Vendors wait about as long for an answer."""

REPEAT_SECONDS: Final = (2.0, 4.0)
LONGEST_REPEAT_SECONDS: Final = 15.0
"""Repeats come after a time that doubles, up to this: vendors back off as well, for longer than a test can."""

LATE_SECONDS: Final = 0.25

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_LAST: Final = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


@dataclass
class Result:
    """What became of the deliveries. `never`: numbers of those that were not accepted up to the end."""

    sent: Counter[str] = field(default_factory=Counter)
    """First attempts by provider."""
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that are not 2xx, by status."""
    unknown: int = 0
    """Connections that ended before an answer."""
    unreached: int = 0
    """No connection: certainly not in the log."""
    repeats: int = 0
    late: int = 0
    never: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Result:
        """What the sender has left."""
        found = json.loads(file.read_text())
        return cls(**found | {name: Counter(found[name]) for name in ("sent", "accepted", "refused")})


class Connection:
    """One connection that is kept as long as it holds."""

    def __init__(self, port: int) -> None:
        """Connects when it is needed."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> int | None:
        """The status of the answer; None where the connection ended before one. ConnectionRefusedError: not sent."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                return await self._answer(*self._streams, request)
        except ConnectionRefusedError:
            raise
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.close()
            return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        try:
            length = _LENGTH.search(head)
            await reader.readexactly(int(length.group(1)) if length else 0)
        except (OSError, asyncio.IncompleteReadError):  # the status counts
            self.close()
        if _LAST.search(head):
            self.close()
        return status

    def close(self) -> None:
        """The next exchange connects anew."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


class Sender:
    """Sends a plan."""

    def __init__(self, plan: Plan) -> None:
        """See the module."""
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._due: asyncio.Queue[tuple[int, float, int]] = asyncio.Queue()
        self._open: set[int] = set(range(plan.count))
        self._all_accepted = asyncio.Event()
        self.result = Result()

    async def run(self) -> None:
        """Returns when everything was accepted, or when patience has ended."""
        workers = [asyncio.create_task(self._work()) for _ in range(CONNECTIONS)]
        await self._begin_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.patience_seconds):
                await self._all_accepted.wait()
        for worker in workers:
            worker.cancel()
        ends = await asyncio.gather(*workers, return_exceptions=True)
        defects = [end for end in ends if isinstance(end, Exception)]
        if defects:
            raise defects[0]
        self.result.never = sorted(self._open)

    async def _begin_all(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(self._plan.count):
            moment = began + number / self._plan.rate
            if moment > loop.time():
                await asyncio.sleep(moment - loop.time())
            self.result.sent[TURN[number % len(TURN)]] += 1
            self._due.put_nowait((number, moment, 0))

    async def _work(self) -> None:
        loop, connection = asyncio.get_running_loop(), Connection(self._plan.port)
        while True:
            number, moment, repeats = await self._due.get()
            self.result.late += loop.time() - moment > LATE_SECONDS
            if not await self._accepted(connection, number):
                wait = min(LONGEST_REPEAT_SECONDS, self._chance.uniform(*REPEAT_SECONDS) * 2**repeats)
                loop.call_later(wait, self._repeat, number, loop.time() + wait, repeats + 1)

    def _repeat(self, number: int, moment: float, repeats: int) -> None:
        self.result.repeats += 1
        self._due.put_nowait((number, moment, repeats))

    async def _accepted(self, connection: Connection, number: int) -> bool:
        provider = TURN[number % len(TURN)]
        try:
            status = await connection.exchange(self._request(number))
        except ConnectionRefusedError:
            self.result.unreached += 1
            return False
        if status is None:
            self.result.unknown += 1
        elif status // 100 != 2:
            self.result.refused[str(status)] += 1
        else:
            self.result.accepted[provider] += 1
            self._open.discard(number)
            if not self._open:
                self._all_accepted.set()
            return True
        return False

    def _request(self, number: int) -> bytes:
        delivery = self._plan.delivery(number)
        headers = delivery.headers(self._plan.secrets, datetime.now(UTC))
        lines = [f"POST /webhooks/{delivery.provider} HTTP/1.1", "host: bridge", "content-type: application/json"]
        lines += [f"content-length: {len(delivery.body)}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + delivery.body


def main() -> None:
    """Read the plan, send it, write the result."""
    plan, result = map(Path, sys.argv[1:])
    sender = Sender(Plan.read(plan))
    asyncio.run(sender.run())
    result.write_text(json.dumps(vars(sender.result)))


if __name__ == "__main__":
    main()
