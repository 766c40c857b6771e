"""Conversations with NEUROS' graph in a test: what is known of a person, a model that says what a script says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from langgraph.checkpoint.memory import InMemorySaver

from auren.baselines import Baseline
from auren.latest import Latest, LatestValue
from auren.link import UnavailableError
from auren.neuros import graph as graphs
from auren.neuros.graph import Ended
from auren.neuros.knowledge import Knowledge
from auren.neuros.memory import Item, Memory, Recalled
from auren.neuros.models import Finished, ModelReply, Prompt
from auren.neuros.nodes import Resources
from auren.neuros.turn import Reply, Turn

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL = "scripted"
AWAY = UnavailableError("database", "ConnectionRefusedError")


class Scripted:
    """A model that says what it is told to: sentences, a Finished, or an error that it raises there."""

    def __init__(self, *script: str | Finished | Exception) -> None:
        self.name = MODEL
        self.script: Sequence[str | Finished | Exception] = script
        self.asked: list[Prompt] = []
        self.closed = 0

    async def reply(self, user_id: str, prompt: Prompt) -> AsyncIterator[str | Finished]:
        assert user_id == "anna"
        self.asked.append(prompt)
        try:
            for item in self.says(prompt):
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed += 1

    def says(self, _prompt: Prompt) -> Sequence[str | Finished | Exception]:
        return self.script


def finished(*sentences: str, **more: Any) -> Finished:
    """The end of a reply; the bounds of a reply of a real model do not hold here."""
    parts: dict[str, Any] = {"recommendations": [], "protocols": [], "remember": []}
    reply = ModelReply.model_construct(**parts | {"sentences": list(sentences)} | more)
    return Finished(reply, MODEL, 10, 20)


def says(*sentences: str, **more: Any) -> Scripted:
    """A model that says these sentences and ends well."""
    return Scripted(*sentences, finished(*sentences, **more))


class Talk(NamedTuple):
    """A finished turn, what came on the way to it, and what was kept in memory."""

    turn: Turn
    steps: list[Turn | str]
    kept: list[Item]
    nodes: list[str]

    @property
    def reply(self) -> Reply:
        assert self.turn.reply is not None
        return self.turn.reply

    @property
    def said(self) -> list[str]:
        """The sentences in the order in which they came."""
        return [step for step in self.steps if isinstance(step, str)]


async def talk(
    message: str = "How is my day?",
    *,
    latest: Latest | Exception | None = None,
    knowledge: Knowledge | Exception | None = None,
    memories: Sequence[Memory] | Exception = (),
    keep: Exception | None = None,
    model: Any = None,
    saver: Any = None,
    remembering: bool = True,
    **more: Any,
) -> Talk:
    """A message of anna through the graph; an exception in place of a store is what that store raises."""
    kept: list[Item] = []

    async def load(_user_id: str) -> Latest:
        return _or_raise(latest) or values()

    async def known(_user_id: str, _now: datetime) -> Knowledge:
        return _or_raise(knowledge) or Knowledge(NOW.date())

    async def recall(_user_id: str, _message: str) -> Recalled:
        return Recalled(tuple(_or_raise(memories)))

    async def put(_user_id: str, items: Sequence[Item]) -> int:
        _or_raise(keep)
        kept.extend(items)
        return len(items)

    stores: dict[str, Any] = {"recall": recall, "keep": put} if remembering else {}
    graph = graphs.build(Resources(load, known, model=model, **stores), saver)
    turn = Turn("anna", "s", message, NOW, **more)
    *steps, end = [step async for step in graphs.run(graph, turn, "anna/s" if saver is not None else None)]
    assert isinstance(end, Ended)
    return Talk(end.turn, [step for step in steps if not isinstance(step, Ended)], kept, list(end.timings))


async def session_of(saver: InMemorySaver) -> dict[str, Any]:
    """What a saver keeps of the session that `talk` talks in."""
    found = await saver.aget_tuple({"configurable": {"thread_id": "anna/s"}})
    assert found is not None
    session: dict[str, Any] = found.checkpoint["channel_values"]["session"]
    return session


def _or_raise(given: Any) -> Any:
    if isinstance(given, Exception):
        raise given
    return given


def value(metric: str, number: float, hours: float = 0, source: str = "oura/ring") -> LatestValue:
    """A latest value of some hours ago."""
    time = NOW - timedelta(hours=hours)
    return LatestValue(metric=metric, value=number, time=time, version=1, source=source, provider="oura")


def values(**numbers: float) -> Latest:
    """Latest values of this moment, by metric; a heart rate of 61 where none is given."""
    return Latest(
        {metric: value(metric, number) for metric, number in (numbers or {"heart_rate": 61}).items()}, "redis"
    )


def usual(metric: str, mean: float, *, days: int = 28, trusted: bool = True) -> Baseline:
    """A baseline of a month."""
    return Baseline(
        metric=metric,
        window_days=28,
        as_of=NOW.date(),
        days=days,
        readings=days,
        mean=mean,
        sd=1.0,
        median=mean,
        mad=0.0,
        trusted=trusted,
    )


def month(**means: float) -> dict[str, Baseline]:
    """Trusted baselines of a month by metric."""
    return {metric: usual(metric, mean) for metric, mean in means.items()}


def memory(text: str, **more: Any) -> Memory:
    """A fact that the person has said."""
    facts: dict[str, Any] = {"kind": "fact", "source": "said", "confidence": 1.0, "said_at": NOW, "kept_at": NOW}
    return Memory(id=text, text=text, **facts | more)
