"""NEUROS' routes: analyze a message, and read the modes' thresholds."""

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from auren.auth import SCOPE_CHAT_NEUROS, SCOPE_ERASE, SCOPE_READ_BIOMETRICS, Principal, Verifier
from auren.events import USER_ID_PATTERN
from auren.http import authenticated
from auren.modes import DEFAULTS, Decision, Mode, Thresholds
from auren.neuros.agent import Agent, Answer
from auren.neuros.protocols import NAMES
from auren.neuros.respond import judged
from auren.neuros.turn import Feeling, Turn
from auren.openapi import problem

MODEL = "rules"
NO_MEMORY = "memory: nothing is remembered beyond this session yet"
NO_BASELINES = "baselines: not learned yet, so only general limits apply"

SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Context(BaseModel):
    """What the app knows of the person's situation."""

    model_config = ConfigDict(extra="forbid")

    feeling: Annotated[Feeling | None, Field(description="how the person says they feel, e.g. by a button")] = None


class Question(BaseModel):
    """A message to NEUROS; without `session_id` a new session begins."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "How am I doing?"}]})

    message: str = Field(min_length=1, max_length=4000)
    session_id: SessionId | None = None
    context: Context = Context()


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


class MemoryOut(BaseModel):
    """Sessions by their ids: how many turns, the mode and the values that were told last."""

    sessions: dict[str, dict[str, Any]]


class ForgottenOut(BaseModel):
    """How many sessions were erased."""

    sessions: int


User = Annotated[str, Path(pattern=USER_ID_PATTERN)]


def router(verifier: Verifier, agent: Agent, thresholds: Thresholds = DEFAULTS) -> APIRouter:
    """The routes; every one takes a bearer token with `chat:neuros`, whose `sub` is the user."""
    routes = APIRouter()
    caller = authenticated(verifier, SCOPE_CHAT_NEUROS)

    @routes.post("/api/agents/neuros/analyze", responses=problem(410, "the person was erased", "erased"))
    async def analyze(question: Question, principal: Annotated[Principal, Depends(caller)]) -> AnalysisOut:
        """Answer a message from the caller's own measurements."""
        session_id = question.session_id or uuid.uuid4().hex
        answer = await agent.answer(principal.user_id, session_id, question.message, question.context.feeling)
        return analysis(answer, session_id)

    @routes.get("/modes")
    async def modes(_principal: Annotated[Principal, Depends(caller)]) -> dict[str, Any]:
        """Every mode, and the thresholds in force."""
        content: dict[str, Any] = msgspec.to_builtins(thresholds)
        return {"modes": [mode.value for mode in Mode], **content}

    async def may_reach(request: Request) -> Principal:
        """The user, with the right to chat or to read; anybody else only with the scope `erase`."""
        principal = await verifier.caller(request.headers.get("authorization"))
        if principal.user_id != request.path_params["user"]:
            principal.require(SCOPE_ERASE)
        elif SCOPE_CHAT_NEUROS not in principal.scopes:
            principal.require(SCOPE_READ_BIOMETRICS)
        return principal

    @routes.get("/users/{user}/memory")
    async def get_memory(user: User, _principal: Annotated[Principal, Depends(may_reach)]) -> MemoryOut:
        """What NEUROS keeps of a user's sessions."""
        return MemoryOut(sessions=await agent.sessions(user))

    @routes.delete("/users/{user}/memory")
    async def erase_memory(user: User, _principal: Annotated[Principal, Depends(may_reach)]) -> ForgottenOut:
        """Erase what NEUROS keeps of a user, for good. May be repeated."""
        return ForgottenOut(sessions=await agent.forget(user))

    return routes


def analysis(answer: Answer, session_id: str) -> AnalysisOut:
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
                protocol=NAMES[protocol],
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
        model=MODEL,
        timings=answer.timings,
    )


def _quality(turn: Turn, decision: Decision | None) -> DataQuality:
    off = decision.off if decision is not None else ()
    notes = [*turn.troubles, NO_BASELINES, NO_MEMORY]
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
