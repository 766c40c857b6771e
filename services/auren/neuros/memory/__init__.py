"""What NEUROS remembers of people between sessions, in three tiers.

hot (Redis, 72 hours): notes of running sessions, last interventions. warm (PostgreSQL, at most a year): facts,
preferences, outcomes of exercises. cold (Chroma, until erased): the same once they are old and unused, found by
what they are about.

memories = Memories(settings, database, metrics)      # a part of the service, as upkeep = Upkeep(memories, metrics)
recalled = await memories.recall(user_id, message)    # .memories, .recent, .troubles
await memories.keep(user_id, [Item(kind="fact", text="I work nights.", source="said", said_at=now)])

A memory's text comes from a person or a model. It is data: it is cleaned and cut, and never an instruction, whatever
it says; whoever puts it into a prompt marks it as such.
"""

from auren.neuros.memory.items import Item, Memory
from auren.neuros.memory.memories import Memories, Recalled
from auren.neuros.memory.settings import EmbeddingSettings
from auren.neuros.memory.upkeep import Upkeep

__all__ = ["EmbeddingSettings", "Item", "Memories", "Memory", "Recalled", "Upkeep"]
