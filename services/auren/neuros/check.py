"""What a turn knows, for the check of its reply (guard/check.py). Sentences that fail are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from auren.events import METRICS
from auren.modes import Evidence
from auren.neuros.guard.check import Fault, Known, check, numbers_of
from auren.neuros.guard.numbers import KnownNumber
from auren.neuros.respond import ago
from auren.neuros.turn import Session, Turn


def known_numbers(turn: Turn, session: Session) -> Known:
    """What a reply by rules may hold: values and their ages, thresholds, earlier values."""
    return Known(_known(turn, session))


def checked(sentences: Iterable[str], known: Known) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """(sentences that may be said, what is wrong with the others)."""
    kept: list[str] = []
    faults: list[Fault] = []
    for sentence in sentences:
        fault = check(sentence, known)
        if fault is None:
            kept.append(sentence)
        else:
            faults.append(fault)
    return tuple(kept), tuple(faults)


def _known(turn: Turn, session: Session) -> Iterator[KnownNumber]:
    for value in turn.latest.values.values() if turn.latest is not None else ():
        yield KnownNumber(value.value, value.unit, value.metric)
        yield from numbers_of(ago(turn.now - value.time))
    for evidence in turn.decision.evidence if turn.decision is not None else ():
        yield from _of_evidence(evidence)
    for metric, before in session["last_values"].items():
        yield KnownNumber(before["value"], METRICS[metric].unit, metric)


def _of_evidence(evidence: Evidence) -> Iterator[KnownNumber]:
    metric = METRICS.get(evidence.metric)
    unit = metric.unit if metric is not None else "1"
    yield KnownNumber(evidence.value, unit, evidence.metric)
    yield KnownNumber(evidence.threshold, unit, evidence.metric)
    yield KnownNumber(evidence.threshold, "1", evidence.metric)
    yield KnownNumber(100 * evidence.threshold, "%", evidence.metric)
    if evidence.baseline is not None:
        yield KnownNumber(evidence.baseline, unit, evidence.metric)
