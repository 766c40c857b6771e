"""What a language model is asked for a reply. The voice comes from personality.yaml, the rules from instructions.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from auren.modes import Mode
from auren.neuros.facts import context
from auren.neuros.instructions import RULES
from auren.neuros.models import Prompt, Role
from auren.neuros.personality import Personality
from auren.neuros.protocols import Protocol
from auren.neuros.turn import Session, Turn


def prompt(turn: Turn, session: Session, protocols: Mapping[str, Protocol], personality: Personality) -> Prompt:
    """The prompt for a turn whose mode is chosen."""
    mode = turn.decision.mode if turn.decision is not None else Mode.BASELINE
    parts = (personality.voice, f"Now: {personality.tone[mode]}", _examples(personality, mode), RULES)
    return Prompt(
        instructions="\n\n".join(parts),
        context=context(turn, session, protocols),
        history=tuple(_said(session)),
        message=turn.message,
    )


def _said(session: Session) -> Iterator[tuple[Role, str]]:
    for exchange in session["exchanges"]:
        yield "user", exchange["message"]
        yield "assistant", exchange["reply"]


def _examples(personality: Personality, mode: Mode) -> str:
    """Of this mode, to show the tone; their content is not to be repeated."""
    shown = [f'To "{e.message}" you might say: {" ".join(e.reply)}' for e in personality.examples if e.mode is mode]
    return "Examples of the tone:\n" + "\n".join(shown) if shown else "Speak as described."
