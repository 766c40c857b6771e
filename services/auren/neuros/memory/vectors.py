"""Vectors as the table holds them, half floats, and how near they are. This module imports numpy: load it in a thread.

Half floats keep three digits, which the order of cosines does not feel, and halve what a recall reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auren.neuros.memory.embedder import Vector

_HALF = np.dtype("<f2")


def pack(vector: Vector) -> bytes:
    """A vector as bytes, two for each number."""
    return np.asarray(vector, _HALF).tobytes()


def unpack(packed: bytes) -> Vector:
    """The vector that was packed, to three digits."""
    numbers: list[float] = np.frombuffer(packed, _HALF).astype(np.float32).tolist()
    return numbers


def cosines(vector: Vector, packed: Sequence[bytes]) -> list[float]:
    """How near each of the packed vectors is. Raises ValueError where one has another dimension."""
    if not packed:
        return []
    rows = np.frombuffer(b"".join(packed), _HALF).astype(np.float32).reshape(len(packed), len(vector))
    found: list[float] = (rows @ np.asarray(vector, np.float32)).tolist()
    return found
