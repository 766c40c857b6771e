"""Answers to messages: as a whole, and as they are made."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from auren.auth import Principal
from auren.http import Caller, begin, problem_of
from auren.modes import Decision, Mode
from auren.neuros.agent import Agent, Answer
from auren.neuros.api.asking import Question
from auren.neuros.interventions.records import Intervention
from auren.neuros.protocols import Protocol
from auren.neuros.respond import judged
from auren.neuros.turn import Turn
from auren.openapi import problem

ERASED = problem(410, "the person was erased", "erased")
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "server-sent events: `mode` once it is chosen, each `sentence` once it may be said, `done` with all that "
            "`analyze` answers; `error` (a problem) where it broke off"
        ),
        "content": {
            "text/event-stream": {
                "schema": {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}},
                "example": 'event: sentence\ndata: {"text":"Your heart rate was 61 beats per minute, just now."}\n\n',
            }
        },
    },
    **ERASED,
}


class InsightOut(BaseModel):
    """A measured value that the reply rests on."""

    metric: str
    value: float
    unit: str
    time: datetime
    source: str
    text: str


class InterventionOut(BaseModel):
    """An exercise that suits the mode."""

    protocol: str
    title: str
    goal: str
    steps: list[str]
    duration_minutes: int
    stop_when: str


class DataQuality(BaseModel):
    """What the reply rests on and what it lacks. `origin`: the store of the values, None when none could be read."""

    origin: str | None
    judged: list[str]
    absent: list[str]
    stale: list[str]
    without_baseline: list[str]
    notes: list[str]


class AnalysisOut(BaseModel):
    """The reply. `mode` is None where an emergency was answered before any mode was chosen."""

    response: str
    mode: Mode | None
    mode_reason: str
    interventions: list[InterventionOut]
    biometric_insights: list[InsightOut]
    recommendations: list[str]
    data_quality: DataQuality
    session_id: str
    model: str
    timings: dict[str, float] = Field(description="milliseconds by step")


def routes(caller: Caller, agent: Agent, shown: "Shown") -> APIRouter:
    """`POST /api/agents/neuros/analyze` and `…/stream`."""
    routes = APIRouter(tags=["chat"])

    @routes.post("/api/agents/neuros/analyze", responses=ERASED)
    async def analyze(question: Question, principal: Annotated[Principal, Depends(caller)]) -> AnalysisOut:
        """Answer a message from the caller's own measurements."""
        session_id = question.session_id or uuid.uuid4().hex
        answer = await agent.answer(principal.user_id, session_id, question.message, question.context.feeling)
        return shown.analysis(answer, session_id)

    @routes.post("/api/agents/neuros/stream", responses=EVENTS, response_class=StreamingResponse)
    async def stream(question: Question, principal: Annotated[Principal, Depends(caller)]) -> StreamingResponse:
        """The same as it is made: the mode, sentence by sentence, then the whole."""
        session_id = question.session_id or uuid.uuid4().hex
        steps = agent.stream(principal.user_id, session_id, question.message, question.context.feeling)
        begun = await begin(_events(steps, shown, session_id))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(begun, media_type="text/event-stream", headers=headers)

    return routes


async def _events(steps: AsyncIterator[Turn | str | Answer], shown: "Shown", session_id: str) -> AsyncIterator[bytes]:
    """Raises what the agent raises before anything was said; later it is an event."""
    told = False
    try:
        async with aclosing(steps) as pieces:  # type: ignore[type-var]
            async for step in pieces:
                yield _event(step, shown, session_id)
                told = True
    except Exception as error:
        found = problem_of(error)
        if found is None or not told:
            raise
        yield f"event: error\ndata: {json.dumps(found.body())}\n\n".encode()


def _event(step: Turn | str | Answer, shown: "Shown", session_id: str) -> bytes:
    if isinstance(step, str):
        return f"event: sentence\ndata: {json.dumps({'text': step})}\n\n".encode()
    if isinstance(step, Turn):
        return f"event: mode\ndata: {json.dumps(shown.mode(step))}\n\n".encode()
    return f"event: done\ndata: {shown.analysis(step, session_id).model_dump_json()}\n\n".encode()


class Shown:
    """What the agent knows, as the API gives it."""

    def __init__(self, protocols: Mapping[str, Protocol]) -> None:
        """The protocols in force."""
        self._names = {protocol: name for name, protocol in protocols.items()}

    def mode(self, turn: Turn) -> dict[str, Any]:
        """The mode, why, and the values that led to it."""
        decision = turn.decision
        return {
            "mode": decision.mode.value if decision else None,
            "mode_reason": decision.reason if decision else "",
            "evidence": msgspec.to_builtins(decision.evidence) if decision else [],
        }

    def intervention(self, intervention: Intervention) -> dict[str, Any]:
        """An intervention as its topic has it, without whose it is."""
        found: dict[str, Any] = msgspec.to_builtins(intervention)
        return {name: value for name, value in found.items() if name not in {"user_id", "schema"}}

    def analysis(self, answer: Answer, session_id: str) -> AnalysisOut:
        """The whole answer."""
        return analysis(answer, session_id, self._names)


def analysis(answer: Answer, session_id: str, names: Mapping[Protocol, str]) -> AnalysisOut:
    """The answer as the API gives it."""
    turn = answer.turn
    if turn.reply is None:
        raise RuntimeError("the graph ends with a reply")
    return AnalysisOut(
        response=" ".join(turn.reply.sentences),
        mode=turn.decision.mode if turn.decision else None,
        mode_reason=turn.decision.reason if turn.decision else "an emergency is answered before any number is judged",
        interventions=[
            InterventionOut(
                protocol=names[protocol],
                title=protocol.title,
                goal=protocol.goal,
                steps=list(protocol.steps),
                duration_minutes=protocol.duration_minutes,
                stop_when=protocol.stop_when,
            )
            for protocol in turn.reply.protocols
        ],
        biometric_insights=[
            InsightOut(**{f: getattr(i, f) for f in InsightOut.model_fields}) for i in turn.reply.insights
        ],
        recommendations=list(turn.reply.recommendations),
        data_quality=_quality(turn, turn.decision),
        session_id=session_id,
        model=turn.reply.by,
        timings=answer.timings,
    )


def _quality(turn: Turn, decision: Decision | None) -> DataQuality:
    off = decision.off if decision is not None else ()
    notes = list(turn.troubles)
    if turn.latest is not None and turn.latest.redis_trouble:
        notes.insert(0, f"redis: {turn.latest.redis_trouble}; the values come from PostgreSQL")
    return DataQuality(
        origin=turn.latest.origin if turn.latest is not None else None,
        judged=sorted(judged(decision)) if decision is not None else [],
        absent=[found.metric for found in off if found.why == "absent"],
        stale=[found.metric for found in off if found.why in {"stale", "future"}],
        without_baseline=[found.metric for found in off if found.why == "no-baseline"],
        notes=notes,
    )
