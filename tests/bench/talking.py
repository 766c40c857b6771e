"""People who talk with NEUROS, open loop: each message is sent when it is due, whatever is still unanswered.

A reply counts only when it is what the message called for: a model's in the model's words, reflex and greetings by the
rules, and all of it with nothing missing. Times are from the moment at which a message is due to the whole reply. How
late the messages themselves were sent is measured as well, for a late sender measures nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import aiohttp

from auren.neuros.turn import RULES
from tests.api.services.platform import Platform
from tests.bench.acquainted import People

Kind = Literal["model", "reflex", "greeting"]

SCOPE: Final = "chat:neuros"
ANALYZE: Final = "/api/agents/neuros/analyze"
TIMEOUT_SECONDS: Final = 30
LATE_SECONDS: Final = 0.005
"""A message that was sent later than this after its moment is counted as late."""

Beside = Callable[[float], Coroutine[Any, Any, None]]
"""Something that is called at its moment, which it is given."""

MESSAGES: Final[dict[Kind, tuple[str, ...]]] = {
    "model": ("How was my week?", "What would be good for me this evening?", "Tell me about my sleep and recovery."),
    "reflex": ("How am I doing right now?",),
    "greeting": ("Good morning", "Hello", "Hi neuros"),
}
MIX: Final = "40 % need the model, 30 % reflex, 30 % greetings"
MODEL_TURNS, CALM_TURNS = 4, 7
"""Of seven messages of somebody calm, four need the model; three in ten people are in reflex."""


@dataclass
class Talked:
    """What came back: seconds by kind of message, what went wrong by name, and how late messages were sent."""

    seconds: defaultdict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    sent: Counter[Kind] = field(default_factory=Counter)
    replies: int = 0

    @property
    def sent_late(self) -> int:
        """Messages that were sent later than LATE_SECONDS after their moment."""
        return sum(late > LATE_SECONDS for late in self.late)


class Message(NamedTuple):
    """Who says what."""

    user: str
    kind: Kind
    text: str


class Crowd:
    """Everybody who talks, each in a session of their own."""

    def __init__(
        self, client: aiohttp.ClientSession, urls: Sequence[str], platform: Platform, them: People, model: str
    ) -> None:
        """`urls` are of NEUROS' replicas, which people share evenly; `model` signs the replies of the model."""
        self.them = them
        self._url = {user: urls[number % len(urls)] + ANALYZE for number, user in enumerate(them.all)}
        self._client = client
        self._model = model
        self._headers = {user: platform.bearer(user, SCOPE, ttl_seconds=7200) for user in them.all}

    def of_kind(self, kind: Kind) -> Callable[[int], Message]:
        """The messages of one kind, by turn."""
        who = self.them.reflex if kind == "reflex" else self.them.calm
        return lambda turn: Message(who[turn % len(who)], kind, _text(kind, turn))

    def mixed(self, index: int) -> Message:
        """The messages of everybody in turn, in the mix."""
        everybody = self.them.all
        turn, number = divmod(index, len(everybody))
        user = everybody[number]
        if number < len(self.them.reflex):
            return Message(user, "reflex", _text("reflex", turn))
        kind: Kind = "model" if (turn + number) % CALM_TURNS < MODEL_TURNS else "greeting"
        return Message(user, kind, _text(kind, turn))

    async def talk(
        self, messages: Callable[[int], Message], per_second: float, seconds: float, beside: Beside | None = None
    ) -> Talked:
        """Send them at a rate; halfway between two, `beside` is called."""
        talked, began = Talked(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(round(per_second * seconds)):
                due = began + index / per_second
                await _until(due)
                group.create_task(self.say(messages(index), due, talked))
                if beside is not None:
                    halfway = due + 0.5 / per_second
                    await _until(halfway)
                    group.create_task(beside(halfway))
        return talked

    async def say(self, message: Message, due: float, talked: Talked) -> None:
        """One message and its reply, counted in `talked`."""
        talked.sent[message.kind] += 1
        talked.late.append(time.perf_counter() - due)
        url, headers = self._url[message.user], self._headers[message.user]
        question = {"message": message.text, "session_id": "bench"}
        try:
            async with self._client.post(url, json=question, headers=headers) as answer:
                reply = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            talked.errors[f"{message.kind}: {type(error).__name__}"] += 1
            return
        talked.seconds[message.kind].append(time.perf_counter() - due)
        fault = f"status {answer.status}" if answer.status != 200 else self._fault(message.kind, reply)
        if fault is None:
            talked.replies += 1
        else:
            talked.errors[f"{message.kind}: {fault}"] += 1

    def _fault(self, kind: Kind, reply: dict[str, Any]) -> str | None:
        """Why a reply is not the one that was called for."""
        if notes := reply["data_quality"]["notes"]:
            return f"lacks {notes[0]}"
        by = self._model if kind == "model" else RULES
        if reply["model"] != by:
            return f"by {reply['model']}"
        return f"in mode {reply['mode']}" if kind == "reflex" and reply["mode"] != "reflex" else None


class Direct:
    """The same call, made straight to the model: what a reply would take if NEUROS cost nothing."""

    def __init__(self, client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
        """`body` is one that NEUROS has sent."""
        self._client = client
        self._url = url
        self._body = body
        self.seconds: list[float] = []

    async def __call__(self, due: float) -> None:
        """One call, read to its end. Raises aiohttp.ClientError."""
        async with self._client.post(self._url, json=self._body) as answer:
            answer.raise_for_status()
            await answer.read()
        self.seconds.append(time.perf_counter() - due)


def _text(kind: Kind, turn: int) -> str:
    texts: Sequence[str] = MESSAGES[kind]
    return texts[turn % len(texts)]


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))
