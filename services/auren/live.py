"""What happens to a person, live: a Redis stream per person, which is written only while somebody watches.

Who watches sets the key `live:watched:<user>` and renews it; whoever has something to tell adds to the stream
`live:<user>` in the same step in which it asks for that key, so nothing is told in between and lost. An entry has the
fields `kind` (values, mode, intervention) and `data` (JSON); its id orders it and is where a reader goes on.
"""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["values", "mode", "intervention"]

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


TELL: Final = f"""
local function tell(stream, watched, kind, data)
  if redis.call('EXISTS', watched) == 1 then
    redis.call('XADD', stream, 'MAXLEN', '~', {MOST_ENTRIES}, '*', 'kind', kind, 'data', data)
    redis.call('EXPIRE', stream, {KEPT_SECONDS})
  end
end
"""
"""Lua: adds an entry where somebody watches."""

ANNOUNCE: Final = TELL + "tell(KEYS[1], KEYS[2], ARGV[1], ARGV[2])"
