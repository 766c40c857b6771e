"""What goes wrong, and when: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.api.processes import Server, ServerFailedError
from tests.api.relay import Relay

PAUSE_SECONDS: Final = (0.5, 4.0)
DOWN_SECONDS: Final = (0.0, 4.0)
FROZEN_SECONDS: Final = (1.0, 5.0)
LONG_FROZEN_SECONDS: Final = 14.0
"""Longer than the broker waits for a member of a group: others have its partitions when it wakes up."""

RESTARTS: Final = 20
"""A store that was killed may find for a moment that its predecessor is not quite gone."""


How = Literal["kill", "freeze", "cut off"]


@dataclass(frozen=True)
class Fault:
    """Something that happens to one server, or to two at once, after a pause, for some seconds.

    To be cut off is for stores: what they are asked takes effect, but the answer is lost with the connection.
    """

    how: How
    targets: tuple[str, ...]
    pause_seconds: float
    lasts_seconds: float

    def __str__(self) -> str:
        """For the log of the run."""
        return f"{self.how} {' and '.join(self.targets)} for {self.lasts_seconds:.1f} s"


def faults(seed: int, names: Sequence[str], stores: Sequence[str]) -> Iterator[Fault]:
    """Without an end. Each server is killed once, and each store cut off, before one is chosen freely."""
    chance = random.Random(seed)
    first: list[tuple[How, str]] = [*(("kill", name) for name in names), *(("cut off", name) for name in stores)]
    chance.shuffle(first)
    for how, name in first:
        yield Fault(how, (name,), chance.uniform(*PAUSE_SECONDS), chance.uniform(*DOWN_SECONDS))
    while True:
        targets = tuple(chance.sample(names, chance.choice((1, 1, 1, 2))))
        pause, long, kind = chance.uniform(*PAUSE_SECONDS), chance.random() < 0.2, chance.random()
        if kind < 0.35:
            yield Fault("kill", targets, pause, chance.uniform(*DOWN_SECONDS))
        elif kind < 0.55:
            yield Fault("cut off", (chance.choice(stores),), pause, chance.uniform(*DOWN_SECONDS))
        else:
            yield Fault("freeze", targets, pause, LONG_FROZEN_SECONDS if long else chance.uniform(*FROZEN_SECONDS))


def inject(fault: Fault, servers: Mapping[str, Server], relays: Mapping[str, Relay]) -> None:
    """Let it happen and mend it; returns when the servers answer again. `relays` stand before the stores.

    Raises ServerFailedError when a server had ended by itself before, or does not come back.
    """
    time.sleep(fault.pause_seconds)
    for name in fault.targets:
        if not servers[name].running:
            raise ServerFailedError(f"{name} ended by itself:\n{servers[name].tail()}")
    for name in fault.targets:
        _begin(fault.how, servers[name], relays.get(name))
    time.sleep(fault.lasts_seconds)
    for name in fault.targets:
        _end(fault.how, servers[name], relays.get(name))
    for name in fault.targets:
        servers[name].wait_ready()


def _begin(how: How, server: Server, relay: Relay | None) -> None:
    match how:
        case "kill":
            _signal_all(server, signal.SIGKILL)
        case "freeze":
            _signal_all(server, signal.SIGSTOP)
        case "cut off":
            assert relay is not None, f"{server.name} has no relay"
            relay.lose("answer")


def _end(how: How, server: Server, relay: Relay | None) -> None:
    match how:
        case "kill":
            server.kill()
            _restart(server)
        case "freeze":
            _signal_all(server, signal.SIGCONT)
        case "cut off":
            assert relay is not None, f"{server.name} has no relay"
            relay.pass_on()


def _signal_all(server: Server, number: signal.Signals) -> None:
    """The process and its children, as a container's end or a node without processor time has it."""
    children = [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]
    server.signal(number)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)


def _restart(server: Server) -> None:
    for _ in range(RESTARTS):
        try:
            return server.start()
        except ServerFailedError:
            if server.running:
                raise
            time.sleep(0.5)
    raise ServerFailedError(f"{server.name} does not start again:\n{server.tail()}")
