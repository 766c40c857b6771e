"""The recent latest value of each metric of a person: hot in Redis, rebuilt from PostgreSQL whenever Redis lacks it.

One Redis hash per person, a field per metric. Whoever writes puts newer values in (`put`), never decides by the order
of arrival: a value replaces another when its time is later, or equal with a version that is not lower. Whoever reads
takes the hash only while it is marked complete; otherwise the values come from PostgreSQL and complete the hash.

A write that Redis missed makes the hash stale without anybody noticing, so the mark is good for an hour only.
A deletion empties the hash and gives it a new epoch; a rebuild that began in an older epoch is not written. A rebuild
begins with an empty hash, too: what it does not find is gone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import asyncpg
import msgspec
from redis.asyncio import Redis

from auren import live
from auren.database import Database
from auren.events import METRICS
from auren.health import UnhealthyError
from auren.link import UnavailableError, describe
from auren.modes import LARGEST_SKEW
from auren.plausibility import UNTRUSTED
from auren.redis_client import AWAY, redis_client
from auren.settings import RedisSettings
from auren.telemetry import logger

LOOKBACK: Final = timedelta(days=30)
"""A value that is older is history. Each day is a chunk to look into, some 20 microseconds per metric."""

ERASED_SECONDS: Final = 600
"""Longer than a reader takes from the tables to Redis, or an ingest from its commit to Redis."""

REBUILD_SECONDS: Final = 2
"""Who needs a rebuild that somebody began so short a time ago joins it: it has found no less than the tables hold."""

KEPT_SECONDS: Final = 72 * 3600
"""A person of whom nothing comes and whom nobody asks for leaves Redis after this time."""

COMPLETE_SECONDS: Final = 3600
"""How long a rebuilt hash is taken as complete."""

TIMEOUT_SECONDS: Final = 1.0
CONNECTIONS: Final = 16

_log = logger(__name__)


class LatestValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest reading of one metric, in the metric's canonical unit."""

    metric: str
    value: float
    time: datetime
    version: int
    source: str
    provider: str
    end_time: datetime | None = None
    flags: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """UCUM."""
        return METRICS[self.metric].unit

    def shown(self) -> dict[str, Any]:
        """As people and programs outside get it: the unit with it, without the bookkeeping."""
        names = ("metric", "value", "unit", "time", "source", "end_time", "flags")
        return {name: getattr(self, name) for name in names}


class Latest(msgspec.Struct, frozen=True):
    """A person's latest values by metric, and the store that they came from."""

    values: Mapping[str, LatestValue]
    origin: Literal["redis", "postgres"]
    redis_trouble: str | None = None


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(LatestValue)

# A field's value is "<time in ms>:<version>:<json>". Lua counts in doubles: milliseconds fit exactly, microseconds of
# far future years would not.
_STORE_NEWER: Final = """
local function store(first)
  for i = first, #ARGV, 4 do
    local time, version = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local old = redis.call('HGET', KEYS[1], ARGV[i])
    local newer = true
    if old then
      local old_time, old_version = string.match(old, '^(-?%d+):(-?%d+):')
      old_time, old_version = tonumber(old_time), tonumber(old_version)
      newer = time > old_time or (time == old_time and version >= old_version)
    end
    if newer then
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ':' .. ARGV[i + 2] .. ':' .. ARGV[i + 3])
    end
  end
end
"""
_PUT: Final = (
    live.TELL
    + _STORE_NEWER
    + """
if redis.call('HEXISTS', KEYS[1], '_erased') == 1 then return end
store(2)
redis.call('EXPIRE', KEYS[1], ARGV[1])
local told = {}
for i = 5, #ARGV, 4 do told[#told + 1] = ARGV[i] end
tell(KEYS[2], KEYS[3], 'values', '[' .. table.concat(told, ',') .. ']')
"""
)
_BEGIN: Final = f"""
local now = tonumber(redis.call('TIME')[1])
local begun, epoch = unpack(redis.call('HMGET', KEYS[1], '_begun', '_epoch'))
if begun and now < tonumber(begun) + {REBUILD_SECONDS} then return epoch end
if redis.call('HEXISTS', KEYS[1], '_erased') == 1 then return '' end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '_epoch', ARGV[2], '_begun', now)
redis.call('EXPIRE', KEYS[1], ARGV[1])
return ARGV[2]
"""
_COMPLETE: Final = (
    _STORE_NEWER
    + """
if redis.call('HGET', KEYS[1], '_epoch') ~= ARGV[2] then return 0 end
store(4)
redis.call('HSET', KEYS[1], '_complete_until', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""
)
_FORGET: Final = (
    live.MISSED
    + """
if redis.call('HEXISTS', KEYS[1], '_erased') == 1 then return end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '_epoch', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
missed(KEYS[2], KEYS[3])
"""
)
_ANNOUNCE: Final = (
    live.TELL
    + """
if redis.call('HEXISTS', KEYS[1], '_erased') == 0 then tell(KEYS[2], KEYS[3], ARGV[1], ARGV[2]) end
"""
)
_ERASE: Final = """
local removed = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], '_epoch', ARGV[2], '_erased', '1')
redis.call('EXPIRE', KEYS[1], ARGV[1])
return removed
"""

_NEWEST = """
SELECT newest.* FROM unnest($2::text[]) AS wanted(metric) CROSS JOIN LATERAL (
    SELECT metric, value, time, version, source, provider, end_time, flags
    FROM readings WHERE user_id = $1 AND metric = wanted.metric AND time > $3 AND time <= $4
    AND (flags IS NULL OR NOT flags && $5)
    ORDER BY time DESC LIMIT 1
) AS newest
"""


class HotValues:
    """The hashes in Redis."""

    def __init__(self, settings: RedisSettings) -> None:
        """Connects when it is used; while Redis is away every call raises UnavailableError at once."""
        self._redis: Redis = redis_client(
            settings, connections=CONNECTIONS, timeout_seconds=TIMEOUT_SECONDS, decode=True
        )
        self._put = self._redis.register_script(_PUT)
        self._begin = self._redis.register_script(_BEGIN)
        self._complete = self._redis.register_script(_COMPLETE)
        self._forget = self._redis.register_script(_FORGET)
        self._erase = self._redis.register_script(_ERASE)
        self._announce = self._redis.register_script(_ANNOUNCE)

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def check(self) -> None:
        """For the health report: Redis answers."""
        try:
            await self._redis.ping()
        except AWAY as error:
            raise UnhealthyError(describe(error)) from error

    async def put(self, values: Mapping[str, Iterable[LatestValue]]) -> None:
        """Take in values by user where they are newer. Raises UnavailableError."""
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, readings in values.items():
            arguments = [KEPT_SECONDS, *_fields(readings)]
            await self._put(keys=_keys(user_id), args=arguments, client=pipeline)
        await self._call(pipeline.execute())

    async def announce(self, entries: Iterable[tuple[str, live.Kind, bytes]]) -> None:
        """Tell those who watch: (user, kind, JSON). Raises UnavailableError."""
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, kind, data in entries:
            await self._announce(keys=_keys(user_id), args=[kind, data], client=pipeline)
        await self._call(pipeline.execute())

    async def forget(self, user_ids: Iterable[str]) -> None:
        """Empty the hashes of users; the next reader rebuilds them, and who watches is told to read anew.

        Raises UnavailableError.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            await self._forget(keys=_keys(user_id), args=[KEPT_SECONDS, uuid.uuid4().hex], client=pipeline)
        await self._call(pipeline.execute())

    async def erase(self, user_id: str) -> int:
        """Remove all of a person; how many keys there were. Raises UnavailableError.

        For a while a mark stays, so that nobody writes who has read the tables, or written to them, before they were
        emptied.
        """
        arguments: list[str | int] = [ERASED_SECONDS, uuid.uuid4().hex]
        return int(await self._call(self._erase(keys=_keys(user_id), args=arguments)))

    async def read(self, user_id: str, now: datetime) -> dict[str, LatestValue] | None:
        """Values by metric, or None when the hash is not complete. Raises UnavailableError."""
        fields: dict[str, str] = await self._call(self._redis.hgetall(_key(user_id)))
        if float(fields.get("_complete_until", "0")) <= now.timestamp():
            return None
        values = [_decoder.decode(text.split(":", 2)[2]) for name, text in fields.items() if name not in _MARKS]
        return {value.metric: value for value in values if value.time > now - LOOKBACK}

    async def begin(self, user_id: str) -> str:
        """Empty the hash before the tables are read for a rebuild; the epoch of it. Raises UnavailableError."""
        return str(await self._call(self._begin(keys=[_key(user_id)], args=[KEPT_SECONDS, uuid.uuid4().hex])))

    async def complete(self, user_id: str, values: Iterable[LatestValue], epoch: str, now: datetime) -> bool:
        """Write what a rebuild found, unless the hash was emptied since `epoch`. Raises UnavailableError."""
        until = now.timestamp() + COMPLETE_SECONDS
        arguments = [KEPT_SECONDS, epoch, f"{until:.3f}", *_fields(values)]
        return bool(await self._call(self._complete(keys=[_key(user_id)], args=arguments)))

    async def _call(self, answer: Any) -> Any:
        try:
            return await answer
        except AWAY as error:
            raise UnavailableError("redis", describe(error)) from error


_MARKS: Final = frozenset({"_begun", "_complete_until", "_epoch", "_erased"})
"""Fields that are no metrics."""


def _key(user_id: str) -> str:
    return f"hot:{user_id}"


def _keys(user_id: str) -> list[str]:
    """Of the hash, the live stream and its watch."""
    return [_key(user_id), live.stream(user_id), live.watched(user_id)]


def _fields(values: Iterable[LatestValue]) -> list[str | int]:
    fields: list[str | int] = []
    for value in values:
        fields += [value.metric, int(value.time.timestamp() * 1000), value.version, _encoder.encode(value).decode()]
    return fields


class LatestValues:
    """Reads from Redis, else from PostgreSQL; says which."""

    def __init__(self, hot: HotValues, database: Database) -> None:
        """Both are owned by the service."""
        self._hot = hot
        self._database = database

    async def of(self, user_id: str, now: datetime | None = None) -> Latest:
        """The person's latest values of the last 30 days; what is not trusted (plausibility.py) does not count.

        Raises UnavailableError when the values would have to come from PostgreSQL and it is away.
        """
        now = now or datetime.now(UTC)
        trouble: str | None = None
        epoch = ""
        try:
            hot = await self._hot.read(user_id, now)
            if hot is not None:
                return Latest(hot, "redis")
            epoch = await self._hot.begin(user_id)
        except UnavailableError as error:
            trouble = error.reason
        found = await self._newest(user_id, now)
        if trouble is None:
            trouble = await self._remember(user_id, found, epoch, now)
        return Latest({value.metric: value for value in found}, "postgres", trouble)

    async def _newest(self, user_id: str, now: datetime) -> list[LatestValue]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _NEWEST, user_id, list(METRICS), now - LOOKBACK, now + LARGEST_SKEW, list(UNTRUSTED)
            )
        return [_latest(row) for row in rows]

    async def _remember(self, user_id: str, found: list[LatestValue], epoch: str, now: datetime) -> str | None:
        try:
            await self._hot.complete(user_id, found, epoch, now)
        except UnavailableError as error:
            return error.reason
        return None


def _latest(row: asyncpg.Record) -> LatestValue:
    return LatestValue(
        metric=row["metric"],
        value=row["value"],
        time=row["time"],
        version=row["version"],
        source=row["source"],
        provider=row["provider"],
        end_time=row["end_time"],
        flags=tuple(row["flags"] or ()),
    )
