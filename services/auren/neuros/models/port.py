"""What NEUROS asks a language model and what it takes for an answer. Light to import: no client, no network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from auren.link import UnavailableError

Role = Literal["user", "assistant"]

MOST_SENTENCES: Final = 12
MOST_SENTENCE_CHARACTERS: Final = 400
MOST_RECOMMENDATIONS: Final = 6
MOST_RECOMMENDATION_CHARACTERS: Final = 300
MOST_PROTOCOLS: Final = 4
MOST_PROTOCOL_CHARACTERS: Final = 64
MOST_REMEMBERED: Final = 5
MOST_REMEMBERED_CHARACTERS: Final = 300


class Outcome(StrEnum):
    """How asking for a reply ended; a label of the metrics, so the set is small and names nobody."""

    OK = "ok"
    REFUSED = "refused"
    """The model said that it will not answer."""
    TRUNCATED = "truncated"
    """The answer was longer than what the model was allowed."""
    INVALID = "invalid"
    """The answer is not what was asked for."""
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    MISCONFIGURED = "misconfigured"
    """The server does not accept the key, or knows no such model."""
    REJECTED = "rejected"
    """The server does not accept this request."""
    NO_KEY = "no_key"
    BREAKER_OPEN = "breaker_open"
    BUDGET_SPENT = "budget_spent"
    CANCELLED = "cancelled"
    """The reader went away before the end."""
    FAILED = "failed"
    """Anything else."""


class ModelUnavailableError(UnavailableError):
    """There is no reply of the model; the rules have to answer. What was yielded before may be used."""

    def __init__(self, reason: str, outcome: Outcome = Outcome.FAILED) -> None:
        """`reason` for people, without anything of the prompt or of the reply."""
        super().__init__("model", reason)
        self.outcome = outcome


class BudgetSpentError(Exception):
    """The user's tokens of this UTC day are spent, or what is left of them is too little for this prompt."""

    def __init__(self, retry_after_seconds: int) -> None:
        """`retry_after_seconds`: to the end of the day, at least one."""
        super().__init__("the day's tokens for the language model are spent")
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, repr=False)
class Prompt:
    """What is asked. `context` is JSON text, sent as data; `history` is oldest first. It has no repr: it is private."""

    instructions: str
    context: str
    history: tuple[tuple[Role, str], ...]
    message: str


_Stripped = Annotated[str, AfterValidator(str.strip)]
"""Without white space around it, by Python's idea of it, which the stream of sentences has as well."""

_Sentence = Annotated[_Stripped, Field(min_length=1, max_length=MOST_SENTENCE_CHARACTERS)]
_Recommendation = Annotated[_Stripped, Field(min_length=1, max_length=MOST_RECOMMENDATION_CHARACTERS)]
_ProtocolName = Annotated[_Stripped, Field(min_length=1, max_length=MOST_PROTOCOL_CHARACTERS)]
_RememberedText = Annotated[_Stripped, Field(min_length=1, max_length=MOST_REMEMBERED_CHARACTERS)]


class Remembered(BaseModel):
    """Something about the person that is worth keeping."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["fact", "preference"]
    text: _RememberedText


class ModelReply(BaseModel):
    """The structured output. Its bounds are checked here: strict schemas of most servers cannot express them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sentences: Annotated[list[_Sentence], Field(min_length=1, max_length=MOST_SENTENCES)]
    recommendations: Annotated[list[_Recommendation], Field(max_length=MOST_RECOMMENDATIONS)]
    protocols: Annotated[list[_ProtocolName], Field(max_length=MOST_PROTOCOLS)]
    remember: Annotated[list[Remembered], Field(max_length=MOST_REMEMBERED)]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a reply. `model` as the server calls it; tokens are None where the server did not count them."""

    reply: ModelReply
    model: str
    input_tokens: int | None
    output_tokens: int | None


class Model(Protocol):
    """A language model as the graph sees it."""

    name: str

    def reply(self, user_id: str, prompt: Prompt) -> AsyncIterator[str | Finished]:
        """Each sentence as soon as it is complete, then Finished. Close it (`aclosing`) when you stop reading.

        Raises ModelUnavailableError, also after sentences, and BudgetSpentError before any.
        """
        ...
