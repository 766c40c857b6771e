"""One language model: breaker, budget, retries and time bounds around the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import stamina
from redis.asyncio import Redis

from auren.health import UnhealthyError
from auren.link import OPEN
from auren.neuros.models.breaker import Breaker
from auren.neuros.models.budget import Budget, Reservation
from auren.neuros.models.framing import Asked, framed
from auren.neuros.models.measure import Measures
from auren.neuros.models.partial import PartialReply
from auren.neuros.models.pieces import Fault, Piece, Pieces, Usage, wait_before_retry
from auren.neuros.models.port import BudgetSpentError, Finished, ModelUnavailableError, Outcome, Prompt
from auren.neuros.models.settings import ModelSettings
from auren.telemetry import Metrics

if TYPE_CHECKING:
    from auren.neuros.models.wire import Wire

Result = TypeVar("Result")

ATTEMPTS: Final = 3
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 1.0
JITTER_SECONDS: Final = 0.2
"""Of the back-off between attempts where the server names no time."""

BYTES_OF_A_TOKEN: Final = 2
"""For what a reply that ended without a count has cost: tokenizers make one token of three to four bytes."""


@dataclass(slots=True)
class Tally:
    """What a reply has cost so far. `begun`: the requests with which the model may have begun to work."""

    asked: Asked
    most_output_tokens: int
    begun: int = 0
    usage: Usage | None = None

    @property
    def most_tokens(self) -> int:
        """What the reply can cost at most."""
        return self.asked.most_input_tokens + self.most_output_tokens

    @property
    def tokens(self) -> int:
        """As the server counted; for requests that ended without a count, what they may have cost."""
        usage = self.usage
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return self.begun * self._uncounted
        return usage.input_tokens + usage.output_tokens + (self.begun - 1) * self._uncounted

    @property
    def _uncounted(self) -> int:
        return self.asked.input_bytes // BYTES_OF_A_TOKEN + self.most_output_tokens


class LanguageModel:
    """A port.Model. One for the process, used from one event loop; `load` may be called in a thread before."""

    def __init__(self, settings: ModelSettings, redis: Redis, metrics: Metrics) -> None:
        """Takes over `redis` and closes it. Nothing is connected before it is used."""
        self.name = settings.llm_model
        self._settings = settings
        self._redis = redis
        self._budget = Budget(redis, settings.llm_daily_tokens)
        self._breaker = Breaker()
        self._measures = Measures(metrics, lambda: self.breaker_state)
        self._wire: Wire | None = None
        self._settling: set[asyncio.Task[None]] = set()

    def load(self) -> Wire:
        """Import the SDK and make its client, which takes half a second."""
        from auren.neuros.models.wire import Wire

        if self._wire is None:
            self._wire = Wire(self._settings)
        return self._wire

    async def start(self) -> None:
        """Nothing to do: connections are made when they are used."""

    async def stop(self) -> None:
        """Wait for the budgets of the last replies, then close the connections."""
        await asyncio.gather(*self._settling)
        if self._wire is not None:
            await self._wire.close()
        await self._redis.aclose()

    @property
    def breaker_state(self) -> int:
        """0 closed, 1 half-open, 2 open (auren.link)."""
        return self._breaker.state

    @property
    def fact(self) -> str:
        """For the health report: which model is asked, how, and whether it is left alone."""
        settings = self._settings
        state = ("closed", "half-open", "open")[self.breaker_state]
        return f"{settings.llm_model} ({settings.llm_mode}, {settings.llm_api}), breaker {state}"

    async def check(self) -> None:
        """For the health report: raises UnhealthyError while replies must do without the model. Does not ask it."""
        if self._keyless:
            raise UnhealthyError("no key: mode openai needs the file auren_llm_api_key")
        if self.breaker_state == OPEN:
            raise UnhealthyError("left alone after failures")

    async def reply(self, user_id: str, prompt: Prompt) -> AsyncGenerator[str | Finished]:
        """As port.Model says."""
        began, outcome, told = time.perf_counter(), Outcome.FAILED, False
        try:
            async with aclosing(self._guarded(user_id, framed(prompt))) as items:
                async for item in items:
                    if not told:
                        self._measures.first(time.perf_counter() - began)
                        told = True
                    yield item
            outcome = Outcome.OK
        except ModelUnavailableError as error:
            outcome = error.outcome
            raise
        except BudgetSpentError:
            outcome = Outcome.BUDGET_SPENT
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = Outcome.CANCELLED
            raise
        finally:
            self._measures.ended(outcome, time.perf_counter() - began)

    @property
    def _keyless(self) -> bool:
        """OpenAI itself wants a key; a server at another address may not."""
        return self._settings.llm_mode == "openai" and not self._settings.llm_base_url and not self._settings.llm_key

    async def _guarded(self, user_id: str, asked: Asked) -> AsyncGenerator[str | Finished]:
        """The reply behind breaker and budget."""
        if self._keyless:
            raise ModelUnavailableError("no key is configured", Outcome.NO_KEY)
        with self._breaker.attempt():
            tally = Tally(asked, self._settings.llm_max_output_tokens)
            reserved = await self._budget.reserve(user_id, tally.most_tokens)
            try:
                async with aclosing(self._streamed(tally)) as items:
                    async for item in items:
                        yield item
            finally:
                await self._settle(reserved, tally)

    async def _streamed(self, tally: Tally) -> AsyncGenerator[str | Finished]:
        """The reply within its time, the budget's count kept in `tally`."""
        began, settings, output = asyncio.get_running_loop().time(), self._settings, PartialReply()
        whole = began + settings.llm_timeout_seconds
        first = min(whole, began + settings.llm_first_token_seconds)
        pieces, piece = await _by(first, self._opened(tally))
        async with aclosing(pieces):
            while piece is not None:
                if isinstance(piece, str):
                    for sentence in output.feed(piece):
                        yield sentence
                else:
                    tally.usage = piece
                    self._measures.spent(piece.input_tokens, piece.output_tokens)
                piece = await _by(whole, anext(pieces, None))
        usage = tally.usage
        yield Finished(
            output.reply(),
            (usage.model if usage else "") or self.name,
            usage.input_tokens if usage else None,
            usage.output_tokens if usage else None,
        )

    async def _opened(self, tally: Tally) -> tuple[Pieces, Piece | None]:
        """An answer that has begun and its first piece; asked again only before that, where the fault allows it."""
        wire = self._wire if self._wire is not None else await asyncio.to_thread(self.load)
        async for attempt in stamina.retry_context(
            on=wait_before_retry,
            attempts=ATTEMPTS,
            timeout=self._settings.llm_first_token_seconds,
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=JITTER_SECONDS,
        ):
            with attempt:
                self._measures.request()
                return await _begun(wire, tally)
        raise ModelUnavailableError("it was not asked")  # for type checkers: stamina raises the last fault before

    async def _settle(self, reserved: Reservation, tally: Tally) -> None:
        """Give back what the reply did not cost, also when its reader is cancelled a second time meanwhile."""
        task = asyncio.create_task(self._budget.settle(reserved, tally.tokens), name="settle-tokens")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.shield(task)


async def _begun(wire: Wire, tally: Tally) -> tuple[Pieces, Piece | None]:
    """One request, until the first piece of its answer. Raises Fault."""
    tally.begun += 1
    try:
        pieces = await wire.open(tally.asked)
    except Fault as fault:
        if fault.outcome is not Outcome.TIMEOUT:  # it did not come to the model, or was turned away
            tally.begun -= 1
        raise
    return pieces, await anext(pieces, None)


async def _by(when: float, result: Awaitable[Result]) -> Result:
    """`result`, if it is there by `when` of the loop's clock. Raises ModelUnavailableError (TIMEOUT).

    Time is bounded step by step: a bound around a generator's `yield` would end whatever its reader does meanwhile.
    """
    try:
        async with asyncio.timeout_at(when):
            return await result
    except TimeoutError:
        raise ModelUnavailableError("no answer in time", Outcome.TIMEOUT) from None
