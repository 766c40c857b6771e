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

PAUSE_SECONDS: Final = (0.5, 4.0)
DOWN_SECONDS: Final = (0.0, 4.0)
FROZEN_SECONDS: Final = (1.0, 5.0)
LONG_FROZEN_SECONDS: Final = 14.0
"""Longer than the broker waits for a member of a group: others have its partitions when it wakes up."""

RESTARTS: Final = 20
"""A store that was killed may find for a moment that its predecessor is not quite gone."""


@dataclass(frozen=True)
class Fault:
    """Something that happens to one server, or to two at once, after a pause, for some seconds."""

    how: Literal["kill", "freeze"]
    targets: tuple[str, ...]
    pause_seconds: float
    lasts_seconds: float

    def __str__(self) -> str:
        """For the log of the run."""
        return f"{self.how} {' and '.join(self.targets)} for {self.lasts_seconds:.1f} s"


def faults(seed: int, names: Sequence[str]) -> Iterator[Fault]:
    """Without an end. Each server is killed once before one is chosen freely."""
    chance = random.Random(seed)
    first = list(names)
    chance.shuffle(first)
    for name in first:
        yield Fault("kill", (name,), chance.uniform(*PAUSE_SECONDS), chance.uniform(*DOWN_SECONDS))
    while True:
        targets = tuple(chance.sample(names, chance.choice((1, 1, 1, 2))))
        pause, long = chance.uniform(*PAUSE_SECONDS), chance.random() < 0.2
        if chance.random() < 0.4:
            yield Fault("kill", targets, pause, chance.uniform(*DOWN_SECONDS))
        else:
            yield Fault("freeze", targets, pause, LONG_FROZEN_SECONDS if long else chance.uniform(*FROZEN_SECONDS))


def inject(fault: Fault, servers: Mapping[str, Server]) -> None:
    """Let it happen and mend it; returns when the servers answer again.

    Raises ServerFailedError when a server had ended by itself before, or does not come back.
    """
    time.sleep(fault.pause_seconds)
    for name in fault.targets:
        if not servers[name].running:
            raise ServerFailedError(f"{name} ended by itself:\n{servers[name].tail()}")
    number = signal.SIGKILL if fault.how == "kill" else signal.SIGSTOP
    for name in fault.targets:
        _signal_all(servers[name], number)
    time.sleep(fault.lasts_seconds)
    for name in fault.targets:
        if fault.how == "kill":
            servers[name].kill()
            _restart(servers[name])
        else:
            _signal_all(servers[name], signal.SIGCONT)
    for name in fault.targets:
        servers[name].wait_ready()


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
