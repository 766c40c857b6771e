"""Keeps Oura's webhook subscriptions: made where one is missing, renewed in time, moved with the bridge's address.

One application of Oura's may serve several stacks and other programs, and the list holds the subscriptions of all. Ours
are those at our present address, and those that we remember having made (`oura_subscriptions`): a subscription at
another address is touched only when its id is remembered. An address by itself proves nothing, for another stack's
differs from a former one of ours in nothing but the host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

from auren.bridge.chores import ChoreFailedError, IdleError
from auren.bridge.credentials import CLIENT_ID, CLIENT_SECRET, Credentials
from auren.bridge.decoders.oura import EVENT_TYPES, READERS
from auren.bridge.decoders.values import UnreadableError, moment
from auren.bridge.vendors import GoneError, UnusableError, UpstreamFailedError
from auren.bridge.vendors.subscriptions import Subscription, SubscriptionApi, TakenError
from auren.bridge.webhooks.oura import callback, verification_token
from auren.database import Database
from auren.telemetry import Metrics, logger

WANTED: Final = tuple(product(READERS, EVENT_TYPES))
"""(data type, event type): whatever a decoder reads, in each way that it may change."""

RENEW_BEFORE: Final = timedelta(days=7)
"""How long before its end a subscription is renewed: longer than a bridge is down. Oura does not say how long one
lasts; one that lasts for less is renewed each time."""

MOST_REFUSALS: Final = 3
"""Then the reason is the same for all of them: Oura does not reach us."""

_ALL: Final = "SELECT id FROM oura_subscriptions"
_ADD: Final = "INSERT INTO oura_subscriptions (id) SELECT unnest($1::text[]) ON CONFLICT (id) DO NOTHING"
_REMOVE: Final = "DELETE FROM oura_subscriptions WHERE id = ANY($1::text[])"

_log = logger(__name__)


class Remembered:
    """The table `oura_subscriptions`. Every method raises UnavailableError."""

    def __init__(self, database: Database) -> None:
        """The pool is the process'."""
        self._database = database

    async def all(self) -> frozenset[str]:
        """Ids of what we have made."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_ALL)
        return frozenset(row["id"] for row in rows)

    async def add(self, ids: Iterable[str]) -> None:
        """These are ours."""
        await self._execute(_ADD, ids)

    async def remove(self, ids: Iterable[str]) -> None:
        """These are at an end."""
        await self._execute(_REMOVE, ids)

    async def _execute(self, statement: str, ids: Iterable[str]) -> None:
        if found := list(ids):
            async with self._database.connection() as connection:
                await connection.execute(statement, found)


@dataclass(frozen=True)
class Plan:
    """What to do with the subscriptions. `kept` are right as they are, `soon_over` of them end soon."""

    kept: list[Subscription] = field(default_factory=list)
    soon_over: list[Subscription] = field(default_factory=list)
    moved: list[Subscription] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    superfluous: list[Subscription] = field(default_factory=list)


def plan(listed: Iterable[Subscription], remembered: Collection[str], address: str, now: datetime) -> Plan:
    """From what Oura has to what we want; pure. What is neither at our address nor remembered is not in it."""
    listed = list(listed)
    found = Plan()
    for about in WANTED:
        here = [s for s in listed if s.about == about and s.callback_url == address]
        elsewhere = [s for s in listed if s.about == about and s.callback_url != address and s.id in remembered]
        if here:
            found.kept.append(here[0])
        elif elsewhere:
            found.moved.append(elsewhere.pop(0))
        else:
            found.missing.append(about)
        found.superfluous.extend(s for s in here[1:] if s.id in remembered)
        found.superfluous.extend(elsewhere)
    # Of a type that a former version read, and made by it.
    found.superfluous.extend(s for s in listed if s.about not in WANTED and s.id in remembered)
    found.soon_over.extend(s for s in found.kept if _soon_over(s, now))
    return found


def _soon_over(subscription: Subscription, now: datetime) -> bool:
    text = subscription.expiration_time
    try:
        end = moment(text)
    except UnreadableError:
        try:
            end = moment(f"{text}+00:00")  # Oura's documents show times with and without an offset
        except UnreadableError:
            return True
    return end - now < RENEW_BEFORE


class OuraSubscriptions:
    """The chore. One for the process: it registers the metrics."""

    def __init__(
        self,
        api: SubscriptionApi,
        credentials: Credentials,
        public_url: str,
        remembered: Remembered,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`public_url` of the bridge, without a path; it may be empty."""
        self._api = api
        self._credentials = credentials
        self._public_url = public_url
        self._remembered = remembered
        self._now = now
        self._count = metrics.gauge("oura_subscriptions", "Webhook subscriptions at Oura", ("state",))

    async def run(self) -> None:
        """Raises IdleError, ChoreFailedError, VendorError and UnavailableError."""
        address, token = self._address()
        listed = await self._api.all()
        remembered = await self._remembered.all()
        todo = plan(listed, remembered, address, self._now())
        await self._remembered.remove(remembered - {s.id for s in listed})
        await self._remembered.add(s.id for s in todo.kept)
        missing = todo.missing + await self._renew(todo.soon_over)
        maker = _Maker(self._api, self._remembered, address, token)
        try:
            for subscription in todo.moved:
                await maker.move(subscription)
            for about in missing + maker.gone:
                await maker.create(about)
        finally:
            self._count.labels("active").set(len(WANTED) - len(missing) - len(todo.moved) + maker.made)
            self._count.labels("taken").set(len(maker.taken))
        await self._end(todo.superfluous)
        maker.tell()

    def _address(self) -> tuple[str, str]:
        """Our address, and the token by which it knows Oura's challenge. Raises IdleError."""
        if not self._public_url:
            raise IdleError("AUREN_PUBLIC_URL is not set: Oura cannot be told where to deliver")
        client_id, secret = self._credentials.get(CLIENT_ID), self._credentials.get(CLIENT_SECRET)
        if client_id is None or secret is None:
            raise IdleError("there are no client credentials of Oura")
        address = callback(self._public_url)
        return address, verification_token(secret, address)

    async def _renew(self, subscriptions: Iterable[Subscription]) -> list[tuple[str, str]]:
        """What has gone meanwhile and has to be made again."""
        gone = []
        for subscription in subscriptions:
            try:
                await self._api.renew(subscription)
            except GoneError:
                await self._remembered.remove([subscription.id])
                gone.append(subscription.about)
        return gone

    async def _end(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
            with contextlib.suppress(GoneError):
                await self._api.delete(subscription)
            await self._remembered.remove([subscription.id])


class _Maker:
    """Makes and moves subscriptions, for which Oura asks our address; `made` counts them."""

    def __init__(self, api: SubscriptionApi, remembered: Remembered, address: str, token: str) -> None:
        self._api = api
        self._remembered = remembered
        self._address = address
        self._token = token
        self._refusals: list[str] = []
        self.made = 0
        self.taken: list[tuple[str, str]] = []
        self.gone: list[tuple[str, str]] = []

    async def create(self, about: tuple[str, str]) -> None:
        """Raises ChoreFailedError when too many were refused."""
        try:
            subscription = await self._api.create(self._address, self._token, about)
        except TakenError:
            self.taken.append(about)
        except UnusableError as error:
            self._refused(error.reason)
        except UpstreamFailedError as error:
            self._refused(error.reason, last=True)
        else:
            await self._remembered.add([subscription.id])
            self.made += 1

    async def move(self, subscription: Subscription) -> None:
        """Raises ChoreFailedError when too many were refused."""
        try:
            await self._api.move(subscription, self._address, self._token)
        except GoneError:
            await self._remembered.remove([subscription.id])
            self.gone.append(subscription.about)
        except TakenError:
            self.taken.append(subscription.about)
        except UnusableError as error:
            self._refused(error.reason)
        except UpstreamFailedError as error:
            self._refused(error.reason, last=True)
        else:
            self.made += 1

    def tell(self) -> None:
        """Raises ChoreFailedError when something was refused."""
        if self.taken:
            names = sorted("/".join(about) for about in self.taken)
            _log.warning("Oura has subscriptions of these kinds that are not ours, and makes no others", kinds=names)
        if self._refusals:
            raise ChoreFailedError(
                f"{len(self._refusals)} webhook subscriptions could not be made: {self._refusals[-1]}. Oura asks "
                f"{self._address} for a challenge meanwhile, which must reach the bridge and be answered there"
            )

    def _refused(self, reason: str, *, last: bool = False) -> None:
        self._refusals.append(reason)
        if last or len(self._refusals) >= MOST_REFUSALS:
            self.tell()
