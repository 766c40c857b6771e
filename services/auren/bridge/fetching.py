"""From a notice to what it is about: a deletion as it stands there, a document from the vendor with the person's token.

How a fetch failed says what becomes of the delivery (`later.py`):

- The vendor has no such document: perhaps not yet, so it is asked again for a quarter of an hour. Then the delivery is
  done and no dead letter: a replay could only find nothing again, a deletion has a notice of its own, and a document
  that comes so late is in the vendor's lists, which are reconciled.
- No token of the person works: it waits, for they may connect again. Only a scope is missing: a dead letter at once,
  for no retry grants it, and a replay fetches it when it is granted.
- The vendor is away, limits us, or still computes: it waits as long as that takes, at most a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from auren.bridge.decoders import Decoded, Document, DocumentDecoder, Notice, merged
from auren.bridge.decoders.fetched import PENDING
from auren.bridge.desk import off_the_loop
from auren.bridge.later import GONE, HELD_BACK, NOT_CONNECTED, PENDING_SCORE, TOKENS_UNREADABLE, VENDOR_AWAY, LaterError
from auren.bridge.tokens import DecryptionError
from auren.bridge.vendors import (
    Fetch,
    Fetched,
    GoneError,
    NotAllowedError,
    RetryLaterError,
    UnusableError,
    UpstreamFailedError,
)
from auren.events import Delivery, Event
from auren.telemetry import Metrics, logger

HOLD_SECONDS: Final = 5.0
"""For how long nothing of a vendor is taken off the table after it, or a limit, wanted no more. Short, for what holds
one person up (a token that cannot be refreshed now) need not hold up all."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Fetchable:
    """How the documents of one provider are had."""

    fetch: Fetch
    decode: DocumentDecoder
    deletion: Callable[[Document], Event]


class Question(NamedTuple):
    """What a vendor is asked for."""

    provider: str
    user_id: str
    data_type: str
    document_id: str


Answer = list[Fetched] | LaterError | NotAllowedError | UnusableError


class Asked:
    """What was asked in one turn: notices about the same document that are due together share one answer.

    All of them came before the question, so the answer is new enough for each.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._answers: dict[Question, Answer] = {}
        self._locks: dict[Question, asyncio.Lock] = {}

    async def once(self, question: Question, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer; `ask` is called unless there is one."""
        async with self._locks.setdefault(question, asyncio.Lock()):
            if question not in self._answers:
                self._answers[question] = await ask()
            return self._answers[question]


class Fetching:
    """For all providers whose webhooks hold ids only. One for the process: it registers the metrics."""

    def __init__(self, sources: Mapping[str, Fetchable], metrics: Metrics) -> None:
        """`sources` by provider name."""
        self._sources = sources
        self._fetches = metrics.counter("fetches", "Times a vendor was asked for a document", ("provider", "outcome"))
        self._documents = metrics.counter("documents", "Documents fetched", ("provider", "type"))
        self._held: dict[str, datetime] = {}
        self._told: set[str] = set()

    def knows(self, provider: str) -> bool:
        """Whether the provider's deliveries hold ids only."""
        return provider in self._sources

    def held(self, now: datetime) -> list[str]:
        """Providers of which nothing should be taken in hand now."""
        return [provider for provider, until in self._held.items() if until > now]

    async def read(self, delivery: Delivery, notice: Notice, asked: Asked, now: datetime) -> Decoded:
        """What a notice is about, as events.

        Raises LaterError; NotAllowedError, UnusableError and DecodeError for dead letters; UnavailableError.
        """
        source = self._sources[delivery.provider]
        document = Document(
            user_id=delivery.user_id,
            data_type=notice.data_type,
            document_id=notice.document_id,
            version=notice.version,
            received_at=delivery.received_at,
        )
        if notice.deleted:
            return Decoded(events=[source.deletion(document)])
        question = Question(delivery.provider, delivery.user_id, notice.data_type, notice.document_id)
        answer = await asked.once(question, lambda: self._ask(question, notice, now))
        if isinstance(answer, Exception):
            raise answer
        return await self._decoded(delivery.provider, document, answer)

    async def _decoded(self, provider: str, document: Document, answer: list[Fetched]) -> Decoded:
        decode = self._sources[provider].decode
        parts = []
        for fetched in answer:
            its = replace(document, data_type=fetched.document_type)
            parts.append(await off_the_loop(provider, len(fetched.raw), decode, its, fetched.raw))
        found = merged(parts)
        if PENDING in found.skipped:
            raise LaterError(PENDING_SCORE)
        return found

    async def _ask(self, question: Question, notice: Notice, now: datetime) -> Answer:
        """The vendor's answer, or what is to be done without one. Raises UnavailableError."""
        if question.provider in self.held(now):  # this turn has met a limit, and the others would meet it too
            return LaterError(HELD_BACK, (self._held[question.provider] - now).total_seconds())
        answer = await self._asked(question, notice, now)
        if isinstance(answer, LaterError):
            outcome = answer.reason
        elif isinstance(answer, NotAllowedError):
            outcome = "refused"
        else:
            outcome = "unusable" if isinstance(answer, UnusableError) else "fetched"
        self._fetches.labels(question.provider, outcome).inc()
        return answer

    async def _asked(self, question: Question, notice: Notice, now: datetime) -> Answer:
        provider = question.provider
        try:
            found = await self._sources[provider].fetch(question.user_id, notice)
        except UpstreamFailedError as error:
            return LaterError(VENDOR_AWAY, error.seconds, error.reason)
        except RetryLaterError as error:
            self._held[provider] = now + timedelta(seconds=min(error.seconds, HOLD_SECONDS))
            return LaterError(HELD_BACK, error.seconds, error.reason)
        except GoneError as error:
            return LaterError(GONE, detail=error.reason)
        except NotAllowedError as error:
            return LaterError(NOT_CONNECTED, detail=error.reason) if error.connection_broken else error
        except UnusableError as error:
            return error
        except DecryptionError as error:
            self._tell(provider, error)
            return LaterError(TOKENS_UNREADABLE, detail=type(error).__name__)
        for fetched in found:
            self._documents.labels(provider, fetched.document_type).inc()
        return found

    def _tell(self, provider: str, error: DecryptionError) -> None:
        """Once for each provider: the counter shows how many there are."""
        if provider not in self._told:
            self._told.add(provider)
            _log.error("stored tokens do not open, deliveries wait", provider=provider, reason=type(error).__name__)
