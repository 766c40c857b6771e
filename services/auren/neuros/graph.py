"""The graph that a message goes through. This module imports LangGraph, which takes a second: load it in a thread.

    load_context -> screen -> choose_mode -> reflex | companion | reason -> check_reply -> remember -> END

Emergencies never come here: the agent answers them before any store is asked. `reason` asks the language model, once
at most; the others need none. Only `session` is kept in checkpoints; the turn itself, with the values and memories,
lives no longer than its reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Protocol, TypedDict

import psycopg
from langgraph.channels import UntrackedValue
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from auren.events import METRICS
from auren.modes import Mode
from auren.neuros.nodes import Nodes, Resources, Step
from auren.neuros.turn import NEW_SESSION, SESSION_LOST, Session, Turn
from auren.telemetry import logger

RECURSION_LIMIT = 14
"""Twice the longest way through the graph."""

STORE_ERRORS = (psycopg.Error, OSError, TimeoutError)
"""What the sessions' store raises when it is away or does not answer."""

LAST_STEP = "check_reply"
"""After this one the reply stands."""

_log = logger(__name__)


class State(TypedDict, total=False):
    """What nodes hand on. `timings`: milliseconds by node."""

    session: Session
    turn: Annotated[Turn, UntrackedValue]
    timings: Annotated[dict[str, float], UntrackedValue]


Graph = CompiledStateGraph[State, Turn, State, State]


class Node(Protocol):
    """A step as LangGraph calls it: takes the state, returns what it changes."""

    async def __call__(self, state: State, runtime: Runtime[Turn]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn with its reply, and milliseconds by node."""

    turn: Turn
    timings: dict[str, float]


async def run(graph: Graph, turn: Turn, thread: str | None) -> AsyncIterator[Turn | str | Ended]:
    """A turn from its beginning to its end, as it goes: the turn with its mode, each sentence, at last Ended.

    With `thread`, the graph needs its checkpointer. Raises what the checkpointer raises, one of STORE_ERRORS, before
    anything is said when the session cannot be read; when it only cannot be kept, the turn says so.

    The turn runs in a task of its own, so that a reader who goes away ends it with one cancellation. A web server
    cancels again at every step of the clean-up, and LangGraph would then leave its nodes running, the model's too.
    """
    steps: asyncio.Queue[Turn | str | Ended | None] = asyncio.Queue()
    work = asyncio.create_task(_run(graph, turn, thread, steps), name="turn")
    _running.add(work)
    work.add_done_callback(_running.discard)
    try:
        while (step := await steps.get()) is not None:
            yield step
        await work
    finally:
        work.cancel()


_running: Final[set[asyncio.Task[None]]] = set()
"""Also those whose reader has gone, until they have ended."""


async def _run(graph: Graph, turn: Turn, thread: str | None, told: asyncio.Queue[Turn | str | Ended | None]) -> None:
    """Puts what comes into `told`, and None at the end, however it ends."""
    try:
        async for step in _steps(graph, turn, thread):
            told.put_nowait(step)
    finally:
        told.put_nowait(None)


async def _steps(graph: Graph, turn: Turn, thread: str | None) -> AsyncIterator[Turn | str | Ended]:
    """The turn is handed over as context, for a checkpointer would keep an input."""
    state: dict[str, Any] = {}
    steps = graph.astream(
        {"timings": {}},
        {"recursion_limit": RECURSION_LIMIT, "configurable": {"thread_id": thread} if thread is not None else {}},
        context=turn,
        durability="exit" if thread is not None else None,
        stream_mode=["values", "custom"],
    )
    try:
        async for kind, step in steps:
            if kind == "custom":
                said: Any = step
                yield said
            else:
                state = step  # type: ignore[assignment]
    except STORE_ERRORS as error:
        if LAST_STEP not in state.get("timings", {}):
            raise
        _log.warning("a session is not kept", reason=type(error).__name__)
        done: Turn = state["turn"]
        yield Ended(replace(done, troubles=(*done.troubles, SESSION_LOST)), state["timings"])
    else:
        yield Ended(state["turn"], state["timings"])


def build(resources: Resources, checkpointer: BaseCheckpointSaver[str] | None = None) -> Graph:
    """The compiled graph; with a checkpointer it goes on where the thread's last turn ended."""
    nodes = Nodes(resources)
    graph = StateGraph(State, context_schema=Turn)
    for step in (nodes.load_context, nodes.screen, nodes.choose_mode, nodes.reflex, nodes.companion, nodes.reason):
        graph.add_node(step.__name__, _node(step.__name__, step))
    graph.add_node(LAST_STEP, _node(LAST_STEP, nodes.check_reply))
    graph.add_node("remember", _last(nodes))
    graph.add_edge(START, "load_context")
    graph.add_edge("load_context", "screen")
    graph.add_edge("screen", "choose_mode")
    graph.add_conditional_edges("choose_mode", _way, ["reflex", "companion", "reason"])
    for name in ("reflex", "companion", "reason"):
        graph.add_edge(name, LAST_STEP)
    graph.add_edge(LAST_STEP, "remember")
    graph.add_edge("remember", END)
    return graph.compile(checkpointer=checkpointer)


def _node(name: str, step: Step) -> Node:
    async def node(state: State, runtime: Runtime[Turn]) -> dict[str, Any]:
        began = time.perf_counter()
        turn = state.get("turn", runtime.context)
        turn = await step(turn, _session(state), runtime.stream_writer)
        took = round(1000 * (time.perf_counter() - began), 2)
        return {"turn": turn, "timings": {**state["timings"], name: took}}

    return node


def _last(nodes: Nodes) -> Node:
    async def node(state: State, runtime: Runtime[Turn]) -> dict[str, Any]:
        turn, session = await nodes.remember(state["turn"], _session(state))
        return {"turn": turn, "session": session}

    return node


def _session(state: State) -> Session:
    """A session of an earlier version lacks what was added since, one of a later version may name unknown metrics."""
    session: Session = {**NEW_SESSION, **state.get("session", NEW_SESSION)}
    known = {metric: value for metric, value in session["last_values"].items() if metric in METRICS}
    return {**session, "last_values": known}


def _way(state: State) -> str:
    """Which node makes the reply. In reflex nothing is waited for; a greeting needs nothing."""
    turn = state["turn"]
    if turn.decision is not None and turn.decision.mode is Mode.REFLEX:
        return "reflex"
    return "companion" if "greeting" in turn.cues else "reason"
