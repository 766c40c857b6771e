"""Health from the same checks for machines and people: what is missing is named, and every check can fail.

`/health/live`: the event loop turns, and no background task has ended. `/health/serving`: started and not draining.
`/health/ready`: 503 with the list of what is missing. `/health`: the readable summary of the same checks, with facts
about the service.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from auren.background import ended

CHECK_TIMEOUT_SECONDS: Final = 2.0
CACHE_SECONDS: Final = 1.0
"""However often probes ask, a dependency is asked at most once in this time."""

Check = Callable[[], Awaitable[None]]
"""Returns when the dependency works now; raises UnhealthyError with the reason when it does not."""


class UnhealthyError(Exception):
    """A check failed; the message says what is missing, for people."""


@dataclass(frozen=True, slots=True)
class Result:
    """One check's answer: `reason` is None when it passed."""

    name: str
    reason: str | None


class Health:
    """The checks and the state of one service."""

    def __init__(self, service: str) -> None:
        """`service` as people know it, e.g. biometric-bridge."""
        self.service = service
        self._checks: dict[str, Check] = {}
        self._facts: dict[str, Callable[[], str | None]] = {}
        self._serving = False
        self._draining = False
        self._cached: tuple[Result, ...] = ()
        self._cached_at = float("-inf")
        self._lock = asyncio.Lock()

    def add(self, name: str, check: Check) -> None:
        """Register a check under the name that people will read, e.g. kafka."""
        if name in self._checks:
            raise ValueError(f"check {name} exists")
        self._checks[name] = check

    def fact(self, name: str, value: Callable[[], str | None]) -> None:
        """Show a fact in the summary, e.g. the edition of the database; None means not known yet."""
        self._facts[name] = value

    def started(self) -> None:
        """The listener is open and takes requests."""
        self._serving = True

    def drain(self) -> None:
        """The process is told to stop: no new work."""
        self._draining = True

    @property
    def serving(self) -> bool:
        """Started and not draining."""
        return self._serving and not self._draining

    async def results(self) -> tuple[Result, ...]:
        """Every check's answer, at most a second old, within the check's time bound."""
        async with self._lock:
            if time.monotonic() - self._cached_at >= CACHE_SECONDS:
                self._cached = tuple(
                    await asyncio.gather(*(self._ask(name, check) for name, check in self._checks.items()))
                )
                self._cached_at = time.monotonic()
            return self._cached

    async def _ask(self, name: str, check: Check) -> Result:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await check()
        except UnhealthyError as error:
            return Result(name, str(error))
        except TimeoutError:
            return Result(name, f"no answer within {CHECK_TIMEOUT_SECONDS:.0f} s")
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer: not healthy
            return Result(name, type(error).__name__)
        return Result(name, None)

    async def live(self, _request: Request) -> JSONResponse:
        """Answered by the event loop itself: no answer means that it does not turn.

        503 when a background task of this process has ended: no dependency can do that, only a restart helps.
        """
        if dead := ended():
            return JSONResponse({"status": "broken", "ended": dead}, status_code=503)
        return JSONResponse({"status": "live"})

    async def serving_probe(self, _request: Request) -> JSONResponse:
        """503 before the start is complete and while draining."""
        if self.serving:
            return JSONResponse({"status": "serving"})
        return JSONResponse({"status": "draining" if self._draining else "starting"}, status_code=503)

    async def ready(self, _request: Request) -> JSONResponse:
        """503 with the list of what is missing."""
        missing = [{"name": r.name, "reason": r.reason} for r in await self.results() if r.reason is not None]
        if not self.serving:
            missing.insert(0, {"name": self.service, "reason": "draining" if self._draining else "starting"})
        if missing:
            return JSONResponse({"status": "not ready", "missing": missing}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def summary(self, _request: Request) -> JSONResponse:
        """The readable summary: a sentence, every check, and the facts. 503 when a check fails."""
        results = await self.results()
        missing = [r for r in results if r.reason is not None]
        body: dict[str, Any] = {
            "service": self.service,
            "status": "ready" if self.serving and not missing else "not ready",
            "message": self._sentence(missing),
            "checks": {r.name: r.reason or "ok" for r in results},
            "facts": {name: value() or "unknown" for name, value in self._facts.items()},
        }
        return JSONResponse(body, status_code=503 if missing or not self.serving else 200)

    def _sentence(self, missing: list[Result]) -> str:
        if self._draining:
            return f"{self.service} is stopping"
        if not self._serving:
            return f"{self.service} is starting"
        if not missing:
            return f"{self.service} has all it needs"
        return f"{self.service} lacks " + "; ".join(f"{r.name} ({r.reason})" for r in missing)

    def routes(self) -> list[Route]:
        """The four routes."""
        return [
            Route("/health/live", self.live),
            Route("/health/serving", self.serving_probe),
            Route("/health/ready", self.ready),
            Route("/health", self.summary),
        ]
