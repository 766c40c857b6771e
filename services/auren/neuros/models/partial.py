"""A reply while it arrives: each sentence as soon as its string is complete, the whole one at the end. Pure."""

from __future__ import annotations

from typing import Any, Final

import jiter
from pydantic import ValidationError

from auren.neuros.models.port import (
    MOST_SENTENCE_CHARACTERS,
    MOST_SENTENCES,
    ModelReply,
    ModelUnavailableError,
    Outcome,
)

MOST_OUTPUT_CHARACTERS: Final = 64 * 1024
"""Some servers do not keep to the number of tokens that they are given."""


class PartialReply:
    """Collects the text of one reply."""

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self._text = ""
        self._told: list[str] = []

    def feed(self, piece: str) -> list[str]:
        """The sentences that `piece` completes. Raises ModelUnavailableError (INVALID)."""
        self._text += piece
        if len(self._text) > MOST_OUTPUT_CHARACTERS:
            raise _invalid("it is too long")
        if '"' not in piece:  # only a quotation mark ends a string
            return []
        complete = _sentences(self._parsed())
        if complete[: len(self._told)] != self._told or len(complete) > MOST_SENTENCES:
            raise _invalid("its sentences changed or are too many")
        new = complete[len(self._told) :]
        if any(not 0 < len(sentence) <= MOST_SENTENCE_CHARACTERS for sentence in new):
            raise _invalid("a sentence is empty or too long")
        self._told += new
        return new

    def reply(self) -> ModelReply:
        """The whole reply. Raises ModelUnavailableError (INVALID)."""
        try:
            return ModelReply.model_validate_json(self._text.encode(errors="surrogatepass"))
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
            raise _invalid(f"{fault['type']} at {fault['loc'][0] if fault['loc'] else 'its beginning'}") from None

    def _parsed(self) -> Any:
        try:
            return jiter.from_json(self._text.encode(errors="surrogatepass"), partial_mode="on")
        except ValueError:
            raise _invalid("it is no JSON") from None


def _sentences(partial: Any) -> list[str]:
    """The complete sentences of an object that is not complete yet."""
    found = partial.get("sentences", []) if isinstance(partial, dict) else None
    if not isinstance(found, list) or not all(isinstance(sentence, str) for sentence in found):
        raise _invalid("it is not of the form that was asked for")
    return [sentence.strip() for sentence in found]


def _invalid(what: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"the reply cannot be used: {what}", Outcome.INVALID)
