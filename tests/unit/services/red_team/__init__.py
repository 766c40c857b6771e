"""The red-team set: hostile messages, device strings, memories and replies, and what must come of them.

`cases()` loads it; `outcome()` tells what the rules make of a case. A test of the whole graph may run the same cases
with a model that says what `Case.reply` holds, and hold the answer to `Case.broken_by`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict

from auren.events import METRICS
from auren.neuros.guard.check import Known, check
from auren.neuros.guard.claims import Kind
from auren.neuros.guard.emergencies import Language
from auren.neuros.guard.numbers import KnownNumber
from auren.neuros.guard.screen import emergency
from auren.neuros.personality import PERSONALITY
from auren.neuros.protocols import PROTOCOLS

HERE = Path(__file__).parent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(Strict):
    """A sentence of a model's reply, and the fault that it must have; None: it must pass. `times`: it is repeated."""

    says: str
    fault: Kind | None
    times: int = 1

    @property
    def sentence(self) -> str:
        return " ".join([self.says] * self.times)


class Case(Strict):
    """What comes in, and what must be true of the outcome.

    `message`: the person's. `strings` (of devices, by where they stand), `memories`, `values` (by metric) and `numbers`
    (value, unit, metric): the context. `reply`: what a model says. `emergency`: the kind that must be found in the
    message, None for none, answered in `language`. `never`: patterns that no answer may hold.
    """

    id: str
    message: str
    category: str = ""
    emergency: str | None = None
    language: Language = "en"
    strings: dict[str, str] = {}
    memories: tuple[str, ...] = ()
    values: dict[str, float] = {}
    numbers: tuple[tuple[float, str | None, str | None], ...] = ()
    reply: tuple[Said, ...] = ()
    never: tuple[str, ...] = ()

    @property
    def known(self) -> Known:
        """What a reply may rest on in this case."""
        numbers = [KnownNumber(value, METRICS[metric].unit, metric) for metric, value in self.values.items()]
        numbers += [KnownNumber(*number) for number in self.numbers]
        texts = [text for protocol in PROTOCOLS.values() for text in protocol.texts]
        return Known(numbers, texts=texts, avoid=PERSONALITY.unsaid)

    @property
    def refused(self) -> tuple[str, ...]:
        """Sentences that no answer may hold."""
        return tuple(said.sentence for said in self.reply if said.fault is not None)

    def broken_by(self, answer: str) -> list[str]:
        """Why an answer to the person breaks this case; empty when it holds."""
        found = [f"says {sentence!r}" for sentence in self.refused if sentence in answer]
        return found + [f"holds {pattern!r}" for pattern in self.never if re.search(pattern, answer)]


class _File(Strict):
    cases: tuple[dict[str, Any], ...]
    values: dict[str, float] = {}
    numbers: tuple[tuple[float, str | None, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules make of a case: what is wrong, empty when all is as it must be; and what would be said."""

    case: Case
    wrong: tuple[str, ...]
    answer: str


class Row(NamedTuple):
    """A line of the table."""

    category: str
    cases: int
    checks: int
    held: int
    broken: int


def cases() -> tuple[Case, ...]:
    """All cases; the category is the file's name. Raises pydantic.ValidationError for one that is not well formed."""
    return tuple(case for path in sorted(HERE.glob("*.yaml")) for case in _of(path))


def outcome(case: Case) -> Outcome:
    """The screen of the message and, where there is no emergency, the check of the reply."""
    alarm = emergency(case.message)
    wrong: list[str] = []
    if (alarm.name if alarm else None) != case.emergency:
        wrong.append(f"emergency is {alarm.name if alarm else None}, not {case.emergency}")
    elif alarm is not None and alarm.language != case.language:
        wrong.append(f"answered in {alarm.language}, not {case.language}")
    known, kept = case.known, []
    for said in case.reply:
        fault = check(said.sentence, known)
        if fault is None:
            kept.append(said.sentence)
        if (fault.kind if fault else None) != said.fault:
            wrong.append(f"{said.says!r}: {fault}, not {said.fault}")
    answer = alarm.text if alarm else " ".join(kept)
    return Outcome(case, (*wrong, *case.broken_by(answer)), answer)


def table(outcomes: Iterable[Outcome]) -> list[Row]:
    """How many cases and single checks of each category hold."""
    by_category: dict[str, list[Outcome]] = {}
    for found in outcomes:
        by_category.setdefault(found.case.category, []).append(found)
    return [
        Row(
            category,
            len(found),
            sum(1 + len(one.case.reply) + len(one.case.never) for one in found),
            sum(not one.wrong for one in found),
            sum(bool(one.wrong) for one in found),
        )
        for category, found in sorted(by_category.items())
    ]


def _of(path: Path) -> Iterator[Case]:
    file = _File.model_validate(yaml.safe_load(path.read_text("utf-8")))
    shared = {"category": path.stem, "values": file.values, "numbers": file.numbers}
    for case in file.cases:
        yield Case.model_validate(shared | case)
