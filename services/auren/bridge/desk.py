"""What every delivery goes through, from the log or parked: whose it is, what it holds, what it says of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, TypeVar, TypeVarTuple, Unpack

import msgspec

from auren.bridge.connections import Connections, InvalidIdError, Subject, TakenError
from auren.bridge.decoders import ConnectionChange, Decoded, DecodeError, Decoder, Reader, Whose
from auren.events import Delivery
from auren.telemetry import logger

THREAD_FROM_BYTES: Final = 256 * 1024
"""Larger bodies are decoded in a thread: the event loop must go on to keep the membership of the group."""

ErasedUsers = Callable[[Sequence[str]], Awaitable[Mapping[str, datetime]]]
"""When users were erased, for those of the given ones who were: they stay so. Raises UnavailableError."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """How one provider's deliveries are read. Without `read_whose` the delivery's token named the user."""

    decode: Decoder
    read_whose: Reader | None = None


class Fate(Enum):
    """What is known of a delivery's person."""

    KNOWN = "known"
    NOBODY = "nobody"
    """It is about nobody: decode it, it may hold pointers."""
    UNKNOWN = "unknown"
    """It is about somebody whom no connection names yet."""
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Owned:
    """A delivery, with our user filled in where it is known."""

    delivery: Delivery
    fate: Fate


class Desk:
    """For all providers. Every method but `knows` raises UnavailableError while the database is away."""

    def __init__(self, sources: Mapping[str, Source], connections: Connections, erased_users: ErasedUsers) -> None:
        """`sources` by provider name."""
        self._sources = sources
        self._connections = connections
        self._erased_users = erased_users

    def knows(self, provider: str) -> bool:
        """Whether there is such a provider: a header is not trusted to make a metric label."""
        return provider in self._sources

    async def owners(self, deliveries: Sequence[Delivery]) -> list[Owned | DecodeError]:
        """Whose each delivery is, in the same order, with one query for all; or why it cannot be read."""
        read = []
        for delivery in deliveries:
            read.append(await self._read_whose(delivery))
            await asyncio.sleep(0)  # reading does not wait for anything, and others must get their turn
        subjects = [
            Subject(delivery.provider, whose.provider_user_id, delivery.received_at)
            for delivery, whose in zip(deliveries, read, strict=True)
            if isinstance(whose, Whose) and not whose.user_id
        ]
        users = await self._connections.users_of(subjects) if subjects else {}
        owned = [_owned(delivery, whose, users) for delivery, whose in zip(deliveries, read, strict=True)]
        erased = await self._erased(owned)
        return [_unless_erased(one, erased) for one in owned]

    async def decode(self, delivery: Delivery) -> Decoded:
        """What the delivery holds. Raises DecodeError."""
        source = self._source(delivery)
        return await off_the_loop(delivery.provider, _size(delivery), source.decode, delivery)

    async def connect(self, delivery: Delivery, changes: Sequence[ConnectionChange]) -> None:
        """Take in what the vendor says of connections. Raises DecodeError where that cannot be."""
        for change in changes:
            try:
                await self._change(delivery, change)
            except (TakenError, InvalidIdError) as error:
                raise DecodeError(str(error)) from None

    async def _change(self, delivery: Delivery, change: ConnectionChange) -> None:
        provider, at = delivery.provider, delivery.received_at
        if not change.connected:
            await self._connections.disconnect(provider, change.provider_user_id, at)
            return
        if change.former_provider_user_id:
            former, new = change.former_provider_user_id, change.provider_user_id
            if await self._connections.rename(provider, former, new, at) is not None:
                return
        await self._connections.connect(provider, change.provider_user_id, change.user_id, at)

    async def _read_whose(self, delivery: Delivery) -> Whose | DecodeError | None:
        if delivery.user_id:
            return Whose("", delivery.user_id)
        try:
            reader = self._source(delivery).read_whose
            if reader is None:
                raise DecodeError("the delivery names no user")
            return await off_the_loop(delivery.provider, _size(delivery), reader, delivery)
        except DecodeError as error:
            return error

    def _source(self, delivery: Delivery) -> Source:
        source = self._sources.get(delivery.provider)
        if source is None:
            raise DecodeError("no decoder for this provider")
        return source

    async def _erased(self, owned: Sequence[Owned | DecodeError]) -> Mapping[str, datetime]:
        users = {one.delivery.user_id for one in owned if isinstance(one, Owned)} - {""}
        return await self._erased_users(sorted(users)) if users else {}


def _owned(delivery: Delivery, whose: Whose | DecodeError | None, users: Mapping[Subject, str]) -> Owned | DecodeError:
    if isinstance(whose, DecodeError):
        return whose
    if whose is None:
        return Owned(delivery, Fate.NOBODY)
    subject = Subject(delivery.provider, whose.provider_user_id, delivery.received_at)
    user = whose.user_id or users.get(subject, "")
    if not user:
        return Owned(delivery, Fate.UNKNOWN)
    return Owned(msgspec.structs.replace(delivery, user_id=user), Fate.KNOWN)


def _unless_erased(owned: Owned | DecodeError, erased: Mapping[str, datetime]) -> Owned | DecodeError:
    if isinstance(owned, DecodeError):
        return owned
    if owned.delivery.user_id in erased:
        return Owned(owned.delivery, Fate.ERASED)
    return owned


def _size(delivery: Delivery) -> int:
    """In bytes; nobody knows it of a body that is packed."""
    return THREAD_FROM_BYTES if delivery.content_encoding else len(delivery.body)


async def off_the_loop(
    provider: str, size: int, function: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments
) -> Result:
    """What a decoder makes of `size` bytes, in a thread where they are many. Raises DecodeError, for a defect too."""
    try:
        if size < THREAD_FROM_BYTES:
            return function(*arguments)
        return await asyncio.to_thread(function, *arguments)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        # decoders are pure: what one raises now it raises always
        _log.exception("a decoder has a defect", provider=provider)
        raise DecodeError(f"defect: {type(error).__name__}") from error
