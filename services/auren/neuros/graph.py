"""The graph that a message goes through. This module imports LangGraph, which takes a second: load it in a thread.

    load_context -> choose_mode -> respond -> check -> remember -> END

Emergencies never come here: the agent answers them before any store is asked.
Only `session` is kept in checkpoints; the turn itself, with the message and the values, lives no longer than its reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Protocol, TypedDict

import psycopg
from langgraph.channels import UntrackedValue
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from auren.latest import Latest
from auren.link import UnavailableError
from auren.modes import DEFAULTS, Snapshot, Thresholds, Value, decide, derived
from auren.neuros.check import checked, known_numbers
from auren.neuros.respond import NO_MODEL, respond
from auren.neuros.screen import FEELS_OFF, cues
from auren.neuros.turn import NEW_SESSION, SESSION_LOST, Session, Turn
from auren.telemetry import logger

LoadLatest = Callable[[str], Awaitable[Latest]]
"""A user's latest values; raises UnavailableError."""

RECURSION_LIMIT = 10
"""Twice the longest way through the graph."""

CONTEXT_SECONDS = 3.0
"""How long the stores may take to give a person's values; the reply then goes without."""

STORE_ERRORS = (psycopg.Error, OSError, TimeoutError)
"""What the sessions' store raises when it is away or does not answer."""

LAST_STEP = "check"
"""After this one the reply stands."""

_log = logger(__name__)


class State(TypedDict, total=False):
    """What nodes hand on. `timings`: milliseconds by node."""

    session: Session
    turn: Annotated[Turn, UntrackedValue]
    timings: Annotated[dict[str, float], UntrackedValue]


Graph = CompiledStateGraph[State, Turn, State, State]

Step = Callable[[Turn, Session], Awaitable[Turn]]
"""What one node does: a fuller turn from a turn and what the session knows from before."""


class Node(Protocol):
    """A step as LangGraph calls it: takes the state, returns what it changes."""

    async def __call__(self, state: State, runtime: Runtime[Turn]) -> dict[str, Any]: ...


async def run(graph: Graph, turn: Turn, thread: str | None) -> tuple[Turn, dict[str, float]]:
    """A turn from its beginning to its end: (the turn with its reply, milliseconds by node).

    With `thread`, the graph needs its checkpointer. The turn is handed over as context, for a checkpointer would keep
    an input. Raises what the checkpointer raises, one of STORE_ERRORS, when the session cannot be read; when it only
    cannot be kept, the turn says so.
    """
    state: dict[str, Any] = {}
    steps = graph.astream(
        {"timings": {}},
        {"recursion_limit": RECURSION_LIMIT, "configurable": {"thread_id": thread} if thread is not None else {}},
        context=turn,
        durability="exit" if thread is not None else None,
        stream_mode="values",
    )
    try:
        async for step in steps:
            state = step
    except STORE_ERRORS as error:
        if LAST_STEP not in state.get("timings", {}):
            raise
        _log.warning("a session is not kept", reason=type(error).__name__)
        done: Turn = state["turn"]
        return replace(done, troubles=(*done.troubles, SESSION_LOST)), state["timings"]
    return state["turn"], state["timings"]


def build(
    load_latest: LoadLatest,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    thresholds: Thresholds = DEFAULTS,
) -> Graph:
    """The compiled graph; with a checkpointer it goes on where the thread's last turn ended."""

    async def load_context(turn: Turn, _session: Session) -> Turn:
        try:
            async with asyncio.timeout(CONTEXT_SECONDS):
                return replace(turn, latest=await load_latest(turn.user_id))
        except UnavailableError as error:
            return replace(turn, troubles=(*turn.troubles, f"measurements: {error}"))
        except TimeoutError:
            return replace(turn, troubles=(*turn.troubles, "measurements: no answer in time"))

    async def choose_mode(turn: Turn, _session: Session) -> Turn:
        return replace(turn, decision=decide(_snapshot(turn), thresholds))

    graph = StateGraph(State, context_schema=Turn)
    steps: dict[str, Step] = {
        "load_context": load_context,
        "choose_mode": choose_mode,
        "respond": _respond,
        LAST_STEP: _check,
    }
    for name, step in steps.items():
        graph.add_node(name, _node(name, step))
    graph.add_node("remember", _remember)
    graph.add_edge(START, "load_context")
    graph.add_edge("load_context", "choose_mode")
    graph.add_edge("choose_mode", "respond")
    graph.add_edge("respond", LAST_STEP)
    graph.add_edge(LAST_STEP, "remember")
    graph.add_edge("remember", END)
    return graph.compile(checkpointer=checkpointer)


def _node(name: str, step: Step) -> Node:
    async def node(state: State, runtime: Runtime[Turn]) -> dict[str, Any]:
        began = time.perf_counter()
        turn = await step(state.get("turn", runtime.context), state.get("session", NEW_SESSION))
        took = round(1000 * (time.perf_counter() - began), 2)
        return {"turn": turn, "timings": {**state["timings"], name: took}}

    return node


def _snapshot(turn: Turn) -> Snapshot:
    latest = turn.latest.values if turn.latest is not None else {}
    values = derived({metric: Value(value.value, value.time) for metric, value in latest.items()})
    said = cues(turn.message) | (FEELS_OFF if turn.feeling == "off" else frozenset())
    return Snapshot(values=values, now=turn.now, said=said)


async def _respond(turn: Turn, session: Session) -> Turn:
    if turn.decision is None:
        raise RuntimeError("a mode is chosen before a reply is made")
    return replace(turn, reply=respond(turn, turn.decision, session))


async def _check(turn: Turn, session: Session) -> Turn:
    if turn.reply is None:
        raise RuntimeError("a reply is made before it is checked")
    kept, dropped = checked(turn.reply.sentences, known_numbers(turn, session))
    if dropped:
        _log.error("sentences with unknown numbers were left out", count=len(dropped))
    return replace(turn, reply=replace(turn.reply, sentences=kept or (NO_MODEL,)))


async def _remember(state: State) -> dict[str, Any]:
    turn, before = state["turn"], state.get("session", NEW_SESSION)
    told = turn.reply.insights if turn.reply is not None else ()
    values = {insight.metric: {"value": insight.value, "time": insight.time.isoformat()} for insight in told}
    session: Session = {
        "turns": before["turns"] + 1,
        "last_at": turn.now.isoformat(),
        "last_mode": turn.decision.mode.value if turn.decision is not None else None,
        "last_values": {**before["last_values"], **values},
    }
    return {"session": session}
