"""What each node of the graph does: a fuller turn from a turn. No LangGraph here, so it is light and easily tested."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from auren.latest import Latest
from auren.link import UnavailableError
from auren.modes import DEFAULTS, Thresholds
from auren.neuros import choice
from auren.neuros.facts import facts, known
from auren.neuros.guard.check import Known, check, numbers_of
from auren.neuros.guard.screen import cues
from auren.neuros.knowledge import Knowledge
from auren.neuros.memory import Item, Recalled
from auren.neuros.models import BudgetSpentError, Finished, Model, ModelReply, ModelUnavailableError
from auren.neuros.personality import PERSONALITY, Personality
from auren.neuros.prompting import prompt
from auren.neuros.protocols import PROTOCOLS, suited
from auren.neuros.protocols import Protocol as Exercise
from auren.neuros.respond import insights_of, respond
from auren.neuros.told import told_of_themselves
from auren.neuros.turn import MOST_EXCHANGES, USUAL, Exchange, Reply, Session, Turn
from auren.neuros.wording import MODEL_AWAY, MODEL_STOPPED, MODEL_UNFIT, NO_MODEL, TOKENS_SPENT, advice
from auren.telemetry import logger

LoadLatest = Callable[[str], Awaitable[Latest]]
"""A user's latest values; raises UnavailableError."""

LoadKnowledge = Callable[[str, datetime], Awaitable[Knowledge]]
"""What was learnt of a user; raises UnavailableError."""

Recall = Callable[[str, str], Awaitable[Recalled]]
"""What is remembered of a user that a message may need."""

Keep = Callable[[str, Sequence[Item]], Awaitable[int]]
"""Keeps memories of a user; raises UnavailableError."""

Say = Callable[[Turn | str], None]
"""Tells whoever waits for the reply what stands already: the turn once its mode is chosen, then sentences."""

Step = Callable[[Turn, Session, Say], Awaitable[Turn]]
"""What one node does: a fuller turn from a turn and what the session knows from before."""


CONTEXT_SECONDS: Final = 3.0
"""How long the stores may take to give what is known of a person; the reply then goes without."""

KEEP_SECONDS: Final = 2.0
"""How long a memory may take to be kept; the reply then says that it was not."""

DERIVED_CONFIDENCE: Final = 0.6
"""Of what a model has understood as told."""

NOTHING_USED: Final = "model: nothing of what it has said may be said"

Found = TypeVar("Found")

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """What the nodes work with. Without `model` the rules answer alone, without `recall` and `keep` nothing is kept."""

    latest: LoadLatest
    knowledge: LoadKnowledge | None = None
    recall: Recall | None = None
    keep: Keep | None = None
    model: Model | None = None
    thresholds: Thresholds = DEFAULTS
    protocols: dict[str, Exercise] | None = None
    personality: Personality = PERSONALITY

    @property
    def exercises(self) -> dict[str, Exercise]:
        """The protocols in force."""
        return PROTOCOLS if self.protocols is None else self.protocols


class Nodes:
    """The nodes of one graph."""

    def __init__(self, resources: Resources) -> None:
        self._with = resources

    async def load_context(self, turn: Turn, _session: Session, _say: Say) -> Turn:
        """All that is known, from all stores at once; what cannot be had in time is named in `troubles`."""
        use = self._with
        latest, knowledge, recalled = await asyncio.gather(
            _tried("measurements", use.latest(turn.user_id), CONTEXT_SECONDS),
            _tried(USUAL, use.knowledge(turn.user_id, turn.now) if use.knowledge else _nothing(), CONTEXT_SECONDS),
            _tried("memory", self._recall(turn), CONTEXT_SECONDS),
        )
        troubles = [trouble for _, trouble in (latest, knowledge, recalled) if trouble]
        memories = recalled[0]
        return replace(
            turn,
            latest=latest[0],
            knowledge=knowledge[0],
            memories=(*memories.memories, *memories.recent) if memories is not None else (),
            troubles=(*turn.troubles, *troubles, *(memories.troubles if memories is not None else ())),
        )

    async def _recall(self, turn: Turn) -> Recalled | None:
        """What is remembered that the message may need: a greeting needs nothing."""
        if self._with.recall is None or "greeting" in cues(turn.message):
            return None
        return await self._with.recall(turn.user_id, turn.message)

    async def screen(self, turn: Turn, _session: Session, _say: Say) -> Turn:
        """What the message expresses, and changes so large or so long that somebody should look at them."""
        return replace(turn, cues=cues(turn.message), flags=choice.flags(turn))

    async def choose_mode(self, turn: Turn, _session: Session, say: Say) -> Turn:
        turn = replace(turn, decision=choice.choose(turn, self._with.thresholds))
        say(turn)
        return turn

    async def reflex(self, turn: Turn, session: Session, _say: Say) -> Turn:
        return self._by_rules(turn, session, None if self._with.model else NO_MODEL)

    async def companion(self, turn: Turn, session: Session, _say: Say) -> Turn:
        return self._by_rules(turn, session, None if self._with.model else NO_MODEL)

    async def reason(self, turn: Turn, session: Session, say: Say) -> Turn:
        """The model's reply, sentence by sentence as it comes; the rules' where there is none."""
        model = self._with.model
        if model is None:
            return self._by_rules(turn, session, NO_MODEL)
        listening = _Listening(known(turn, session, self._with.exercises, self._with.personality), say)
        asked = prompt(turn, session, self._with.exercises, self._with.personality)
        try:
            async with aclosing(model.reply(turn.user_id, asked)) as items:  # type: ignore[type-var]
                async for item in items:
                    listening.hear(item)
        except BudgetSpentError:
            turn = replace(turn, troubles=(*turn.troubles, "model: the day's tokens are spent"))
            return self._by_rules(turn, session, TOKENS_SPENT)
        except ModelUnavailableError as error:
            turn = replace(turn, troubles=(*turn.troubles, str(error)))
            if not listening.kept and not listening.faults:
                return self._by_rules(turn, session, MODEL_AWAY)
        turn = replace(turn, faults=dict(listening.faults))
        if not listening.kept:
            return self._by_rules(replace(turn, troubles=(*turn.troubles, NOTHING_USED)), session, MODEL_UNFIT)
        return self._by_model(turn, session, listening, model.name)

    async def check_reply(self, turn: Turn, session: Session, say: Say) -> Turn:
        """Leave out what may not be said, whoever wrote it, and say what was not said yet."""
        if turn.reply is None:
            raise RuntimeError("a reply is made before it is checked")
        allowed = known(turn, session, self._with.exercises, self._with.personality)
        faults: Counter[str] = Counter(turn.faults)
        sentences = _allowed(turn.reply.sentences, allowed, faults)
        recommendations = _allowed(turn.reply.recommendations, allowed, faults)
        if faults:
            _log.warning("sentences were left out", kinds=sorted(faults), by=turn.reply.by)
        sentences = sentences or (NO_MODEL if self._with.model is None else MODEL_UNFIT,)
        for sentence in sentences:
            if sentence not in turn.said:
                say(sentence)
        reply = replace(turn.reply, sentences=sentences, recommendations=recommendations)
        return replace(turn, reply=reply, said=sentences, faults=dict(faults))

    async def remember(self, turn: Turn, before: Session) -> tuple[Turn, Session]:
        """The session after this turn; what is worth keeping beyond it goes into the memory."""
        reply = turn.reply
        if reply is None:
            raise RuntimeError("a reply is made before it is remembered")
        values = {one.metric: {"value": one.value, "time": one.time.isoformat()} for one in reply.insights}
        exchange: Exchange = {"message": turn.message, "reply": " ".join(reply.sentences)}
        said = [*before["exchanges"], exchange] if self._with.model is not None else []  # only a model needs it
        session: Session = {
            "turns": before["turns"] + 1,
            "last_at": turn.now.isoformat(),
            "last_mode": turn.decision.mode.value if turn.decision is not None else None,
            "last_values": {**before["last_values"], **values},
            "exchanges": said[-MOST_EXCHANGES:],
        }
        return await self._keep(turn, reply.remember), session

    async def _keep(self, turn: Turn, items: Sequence[Item]) -> Turn:
        if not items or self._with.keep is None:
            return turn
        _, trouble = await _tried("memory", self._with.keep(turn.user_id, items), KEEP_SECONDS)
        return (
            replace(turn, troubles=(*turn.troubles, f"{trouble}; nothing of this is remembered")) if trouble else turn
        )

    def _by_rules(self, turn: Turn, session: Session, closing: str | None) -> Turn:
        if turn.decision is None:
            raise RuntimeError("a mode is chosen before a reply is made")
        reply = respond(turn, turn.decision, session, self._with.exercises, closing)
        told = told_of_themselves(turn.message, turn.now, turn.session_id)
        return replace(turn, reply=replace(reply, remember=tuple(told)))

    def _by_model(self, turn: Turn, session: Session, heard: _Listening, name: str) -> Turn:
        """What the model has said; where it broke off, the rest is the rules'."""
        assert turn.decision is not None
        structured = heard.reply
        insights = tuple(insights_of(turn, turn.decision, facts(turn)))
        exercises = suited(turn.decision.mode, self._with.exercises)
        if structured is None:
            sentences = (*heard.kept, *turn.flags, MODEL_STOPPED)
            recommendations = advice(turn.decision)
        else:
            sentences = (*heard.kept, *turn.flags)
            recommendations = tuple(structured.recommendations) or advice(turn.decision)
            named = [self._with.exercises[n] for n in structured.protocols if n in self._with.exercises]
            exercises = tuple(dict.fromkeys([*named, *exercises]))
        reply = Reply(
            sentences=tuple(dict.fromkeys(sentences)),
            insights=insights,
            recommendations=recommendations,
            protocols=exercises,
            by=name,
            remember=tuple(_remembered(structured, turn)),
        )
        return replace(turn, reply=reply, said=tuple(heard.kept))


class _Listening:
    """Takes a model's reply in: sentences that may be said are said at once."""

    def __init__(self, allowed: Known, say: Say) -> None:
        self.kept: list[str] = []
        self.faults: Counter[str] = Counter()
        self.reply: ModelReply | None = None
        self._known = allowed
        self._say = say

    def hear(self, item: str | Finished) -> None:
        if isinstance(item, Finished):
            self.reply = item.reply
        elif (fault := check(item, self._known)) is not None:
            self.faults[fault.kind] += 1
        elif item not in self.kept:
            self.kept.append(item)
            self._say(item)


def _allowed(sentences: Sequence[str], allowed: Known, faults: Counter[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for sentence in sentences:
        fault = check(sentence, allowed)
        if fault is None:
            kept.append(sentence)
        else:
            faults[fault.kind] += 1
    return tuple(kept)


def _remembered(reply: ModelReply | None, turn: Turn) -> list[Item]:
    """What the person has said in so many words, and what the model has understood of it.

    What may not be said is not kept either, and no number that the message has not: in the next turn it would be known.
    """
    told = told_of_themselves(turn.message, turn.now, turn.session_id)
    allowed = Known(numbers_of(turn.message))
    understood = [
        Item(
            kind=one.kind,
            text=one.text,
            source="derived",
            said_at=turn.now,
            confidence=DERIVED_CONFIDENCE,
            session_id=turn.session_id,
        )
        for one in (reply.remember if reply is not None else ())
        if check(one.text, allowed) is None
    ]
    return [*told, *understood]


async def _tried(what: str, asked: Awaitable[Found], seconds: float) -> tuple[Found | None, str | None]:
    """(what a store answers in time, None) or (None, why it does not)."""
    try:
        async with asyncio.timeout(seconds):
            return await asked, None
    except UnavailableError as error:
        return None, f"{what}: {error}"
    except TimeoutError:
        return None, f"{what}: no answer in time"


async def _nothing() -> None:
    return None
