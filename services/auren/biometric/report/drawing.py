"""Draws charts in a process of its own, one at a time: the event loop turns meanwhile, and the memory is given back."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from auren.biometric.report.charts import Chart
from auren.link import UnavailableError

MOST_WAITING: Final = 8
"""Reports at a time, the one that is drawn among them. Beyond it the answer is to come back later."""

TIMEOUT_SECONDS: Final = 30.0
"""For one report. It takes a second of a processor."""

FOLDER: Final = Path(tempfile.gettempdir()) / "auren-matplotlib"
"""Where matplotlib remembers the fonts it has found."""


class DrawingError(Exception):
    """The process did not draw; a defect."""


class Drawing:
    """The one place where charts are drawn."""

    def __init__(self, most_waiting: int = MOST_WAITING, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Nothing runs before the first chart."""
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self._most_waiting = most_waiting
        self._timeout_seconds = timeout_seconds

    async def draw(self, charts: list[Chart]) -> list[str]:
        """An SVG document for each chart.

        Raises UnavailableError when too many wait or the machine is too busy, DrawingError for a defect.
        """
        if not charts:
            return []
        if self._waiting >= self._most_waiting:
            raise UnavailableError("reports", "too many are being drawn")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_seconds), self._turn:
                return await _draw(charts)
        except TimeoutError:
            raise UnavailableError("reports", f"not drawn within {self._timeout_seconds:.0f} s") from None
        finally:
            self._waiting -= 1


async def _draw(charts: list[Chart]) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "auren.biometric.report.figures",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a message of it may hold what was to be drawn
        # Nothing of the service's environment but where Python finds its modules.
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
        | {"MPLCONFIGDIR": str(FOLDER), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        drawn, _ = await process.communicate(msgspec.json.encode(charts))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DrawingError(f"the process that draws ended with {process.returncode}")
    return msgspec.json.decode(drawn, type=list[str])
