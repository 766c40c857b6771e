"""What happens to a person, live: a Redis stream per person, which is written only while somebody watches.

Who watches sets the key `live:watched:<user>` and renews it; whoever has something to tell adds to the stream
`live:<user>` in the same step in which it asks for that key, so nothing is told in between and lost. An entry has the
fields `kind` (values, mode, intervention, reset) and `data` (JSON); its id orders it and is where a reader goes on.

Whenever something may not have been told (nobody watched, Redis was away, the stream is full, values were deleted), the
stream begins anew with a `reset`. So whoever reads on, or comes back with an id, either misses nothing or meets it.
"""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["values", "mode", "intervention"]
RESET: Final = "reset"

MOST_ENTRIES: Final = 1000
KEPT_SECONDS: Final = 3600
WATCHED_SECONDS: Final = 60
"""How long after the last sign of a reader entries are still written: a reader that comes back in time misses none."""


def stream(user_id: str) -> str:
    """Key of a person's stream."""
    return f"live:{user_id}"


def watched(user_id: str) -> str:
    """Key that is there while somebody watches."""
    return f"live:watched:{user_id}"


_BEGIN_ANEW: Final = f"""
local function begin_anew(stream)
  redis.call('XTRIM', stream, 'MAXLEN', 0)
  redis.call('XADD', stream, '*', 'kind', '{RESET}', 'data', '{{}}')
  redis.call('EXPIRE', stream, {KEPT_SECONDS})
end
"""
# Trimmed and not deleted: an emptied stream remembers its last id, so the next one is greater whatever the clock does.

TELL: Final = (
    _BEGIN_ANEW
    + f"""
local function tell(stream, watched, kind, data)
  if redis.call('EXISTS', watched) == 1 then
    if redis.call('XLEN', stream) >= {MOST_ENTRIES} then begin_anew(stream) end
    redis.call('XADD', stream, '*', 'kind', kind, 'data', data)
    redis.call('EXPIRE', stream, {KEPT_SECONDS})
  end
end
"""
)
"""Lua: adds an entry where somebody watches."""

MISSED: Final = (
    _BEGIN_ANEW
    + """
local function missed(stream, watched)
  if redis.call('EXISTS', watched) == 1 then begin_anew(stream) else redis.call('DEL', stream) end
end
"""
)
"""Lua: something was not told, so nobody may read on as if it had been."""

WATCH: Final = (
    _BEGIN_ANEW
    + f"""
if not redis.call('SET', KEYS[2], '1', 'EX', {WATCHED_SECONDS}, 'GET') then begin_anew(KEYS[1]) end
"""
)
"""A reader's sign of life: its stream begins anew where it comes too late to have missed nothing."""
