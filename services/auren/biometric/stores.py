"""Every table that holds something of a person, for those who must reach all of it: erasure and export.

A test compares this list with the database's own: a new table with a column `user_id` must stand here, or say why not.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Store(NamedTuple):
    """One table: in which order its rows are exported, and which columns never are."""

    table: str
    order: str
    hidden: tuple[str, ...] = ()


READINGS: Final = Store("readings", "metric, source, time", ("user_id",))
PEOPLE: Final = Store("people", "user_id", ("user_id",))

LEARNT: Final = (
    Store("sleep_sessions", "start_time", ("user_id",)),
    Store("workouts", "start_time", ("user_id",)),
    Store("daily_values", "metric, day, source", ("user_id",)),
    Store("hourly_values", "metric, day, hour, source", ("user_id",)),
    Store("patterns", "kind, detail", ("user_id",)),
    Store("mode_switches", "at, id", ("user_id",)),
    Store("chat_messages", "id", ("user_id",)),
    Store("deletion_tombstones", "provider, document_id", ("user_id",)),
    Store("ingested_events", "event_id", ("user_id",)),
    Store("outbox", "id", ("user_id", "headers")),
)
"""Tables of the biometric service besides readings and people."""

CONNECTIONS: Final = Store("connections", "provider, connected_at", ("user_id",))
"""The bridge's: it is exported here, and erased by the bridge."""

ELSEWHERE: Final = {
    "connections": "the bridge erases it, after it has told the vendor",
    "oauth_tokens": "the bridge erases it, after it has told the vendor; a token is never exported",
    "oauth_states": "the bridge erases it",
    "reconciliations": "it goes with the tokens",
    "interventions": "NEUROS erases it",
    "intervention_outbox": "NEUROS erases it",
    "preferences": "NEUROS erases it",
    "erased_users": "it is what keeps an erased person's data from coming back",
    "audit_log": "append-only: nobody may change it",
    "memories": "NEUROS exports and erases it, with what it keeps in other stores",
}
"""Tables with a column `user_id` that the biometric service does not erase, and why."""
