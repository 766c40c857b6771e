"""What the wire hands on while a reply arrives, and how it says that one will not. Light: without the SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from auren.neuros.models.port import ModelUnavailableError, Outcome


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server says at the end; tokens are None where it does not count."""

    model: str
    input_tokens: int | None
    output_tokens: int | None


Piece = str | Usage
"""Text as it arrives; Usage once, at the end."""

Pieces = AsyncGenerator[Piece, None]


class Fault(ModelUnavailableError):
    """What went wrong with one request. `retry`: whether to ask again, or after how many seconds."""

    def __init__(self, reason: str, outcome: Outcome, retry: bool | float = False) -> None:
        """`reason` as of ModelUnavailableError: without the server's own words, which may quote the prompt."""
        super().__init__(reason, outcome)
        self.retry = retry


def wait_before_retry(error: Exception) -> bool | float:
    """For stamina: whether to ask again, or after how many seconds."""
    return error.retry if isinstance(error, Fault) else False
