"""NEUROS without stores: the screen, the replies, the check, and the graph from its start to its end in every mode."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from auren.events import METRICS
from auren.latest import Latest, LatestValue
from auren.link import UnavailableError
from auren.modes import Decision, Evidence, Mode, Off
from auren.neuros import choice
from auren.neuros import graph as graphs
from auren.neuros.agent import Answer
from auren.neuros.api import analysis as answers
from auren.neuros.facts import known
from auren.neuros.guard.check import Known, check
from auren.neuros.nodes import Resources
from auren.neuros.personality import PERSONALITY
from auren.neuros.protocols import PROTOCOLS
from auren.neuros.respond import respond
from auren.neuros.sessions import thread_id
from auren.neuros.turn import NEW_SESSION, Session, Turn
from auren.neuros.wording import NO_ACCESS, NO_BASELINE, NO_MODEL, NO_VALUES, REMARKS, ago, asked

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def value(metric: str, number: float, hours: float = 0) -> LatestValue:
    """A latest value of some hours ago."""
    return LatestValue(
        metric=metric, value=number, time=NOW - timedelta(hours=hours), version=1, source="oura/ring", provider="oura"
    )


def latest(**values: float) -> Latest:
    """Fresh values, and where they come from."""
    return Latest({metric: value(metric, number) for metric, number in values.items()}, "redis")


@pytest.mark.parametrize(
    ("message", "metrics"),
    [
        ("what is my resting heart rate", {"resting_heart_rate"}),
        ("my pulse please", {"heart_rate"}),
        ("HRV?", {"hrv_rmssd", "hrv_sdnn"}),
        ("heart rate variability", {"hrv_rmssd", "hrv_sdnn"}),
        ("how did I sleep and how many steps", {"sleep_total", "steps"}),
        ("how am I", set()),
    ],
)
def test_metrics_are_found_by_the_words_people_use(message: str, metrics: set[str]) -> None:
    assert set(asked(message)) == metrics


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=-30), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=119), "1 hour ago"),
        (timedelta(days=3, hours=5), "3 days ago"),
    ],
)
def test_ages_in_words(age: timedelta, words: str) -> None:
    assert ago(age) == words


def test_a_sentence_with_an_unknown_number_is_left_out() -> None:
    turn = Turn("anna", "s", "?", NOW, latest=latest(heart_rate=61.5))
    sentences = ["It was 61.5.", "It was 63.", "It is fine.", "In 1961 it was 61.5."]
    faults = [check(sentence, allowed(turn, NEW_SESSION)) for sentence in sentences]
    assert [fault.what if fault else None for fault in faults] == [None, "63", None, "1961"]


def allowed(turn: Turn, session: Session) -> Known:
    return known(turn, session, PROTOCOLS, PERSONALITY)


def analysis(answer: Answer, session_id: str) -> answers.AnalysisOut:
    return answers.Shown(PROTOCOLS).analysis(answer, session_id)


async def run(
    message: str, found: Latest | None, *, thread: str = "anna/s", saver: InMemorySaver | None = None, **more: Any
) -> Answer:
    """A message through the graph; `found` None: the stores are away."""

    async def load(_user_id: str) -> Latest:
        if found is None:
            raise UnavailableError("database", "ConnectionRefusedError")
        return found

    graph = graphs.build(Resources(load), saver)
    turn = Turn("anna", "s", message, NOW, **more)
    *_, end = [step async for step in graphs.run(graph, turn, thread if saver else None)]
    assert isinstance(end, graphs.Ended)
    return Answer(end.turn, end.timings)


VALUES_FOR = {
    Mode.HYPOTHESIS: latest(hrv_rmssd=15, heart_rate=45),
    Mode.REFLEX: latest(hrv_rmssd=20),
    Mode.GUARDIAN: latest(recovery_score=35),
    Mode.SENTINEL: latest(recovery_score=19),
    Mode.COMPANION: latest(recovery_score=55),
    Mode.BASELINE: latest(heart_rate=61),
}


@pytest.mark.parametrize("mode", [mode for mode in VALUES_FOR if mode is not Mode.SENTINEL])
async def test_the_graph_ends_with_a_reply_from_every_mode_that_values_lead_to(mode: Mode) -> None:
    answer = analysis(await run("How am I doing?", VALUES_FOR[mode]), "s")
    assert answer.mode is mode
    assert answer.response.endswith(NO_MODEL)
    assert answer.model == "rules"
    assert REMARKS[mode] in answer.response
    assert [
        set(p.modes) & {mode} for p in PROTOCOLS.values() if p.title in {i.title for i in answer.interventions}
    ] == [{mode} for p in PROTOCOLS.values() if mode in p.modes]
    numbers = {f"{v.value:g}" for v in VALUES_FOR[mode].values.values()}
    assert {n for n in numbers if n in answer.response} == numbers


@pytest.mark.parametrize("mode", Mode)
async def test_the_graph_reaches_its_end_whatever_is_decided(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = Evidence("heart_rate", 61, "/min", NOW, "above", 60)
    decided = Decision(mode, "some-rule", "heart rate is 61 beats per minute, above 60", (evidence,), ())
    monkeypatch.setattr(choice, "choose", lambda _turn, _thresholds: decided)
    answer = analysis(await run("How am I doing?", latest(heart_rate=61)), "s")
    assert answer.mode is mode
    assert "above 60" in answer.response
    assert REMARKS[mode] in answer.response


async def test_no_data_is_said_as_no_data() -> None:
    answer = analysis(await run("How am I doing?", Latest({}, "postgres")), "s")
    assert NO_VALUES in answer.response
    assert answer.mode is Mode.BASELINE
    assert not re.search(r"\d", answer.response)
    assert "heart_rate" in answer.data_quality.absent


async def test_stores_that_are_away_are_named_and_nothing_is_made_up() -> None:
    answer = analysis(await run("How is my pulse?", None), "s")
    assert NO_ACCESS in answer.response
    assert answer.data_quality.origin is None
    assert any("database" in note for note in answer.data_quality.notes)
    assert not re.search(r"\d", answer.response)


async def test_redis_trouble_is_told() -> None:
    found = replace_origin(latest(heart_rate=61))
    answer = analysis(await run("How is my pulse?", found), "s")
    assert "61" in answer.response
    assert any(note.startswith("redis: ConnectionError") for note in answer.data_quality.notes)


def replace_origin(found: Latest) -> Latest:
    return Latest(found.values, "postgres", "ConnectionError")


async def test_what_was_asked_for_and_is_not_there_is_said() -> None:
    answer = analysis(await run("How did I sleep, and my HRV?", latest(hrv_sdnn=48, heart_rate=61)), "s")
    assert "no recent measurement of your time asleep." in answer.response
    assert [insight.metric for insight in answer.biometric_insights] == ["hrv_sdnn"]
    assert NO_BASELINE in answer.response
    assert answer.data_quality.without_baseline == ["hrv_sdnn", "heart_rate"]


async def test_an_old_value_is_shown_with_its_age_and_not_judged() -> None:
    old = Latest({"hrv_rmssd": value("hrv_rmssd", 12, hours=60)}, "redis")
    answer = analysis(await run("How am I?", old), "s")
    assert answer.mode is Mode.BASELINE
    assert "12 ms, 2 days ago" in answer.response
    assert REMARKS[Mode.BASELINE] not in answer.response
    assert answer.data_quality.stale == ["hrv_rmssd"]


async def test_a_feeling_from_the_app_counts_like_one_that_is_said() -> None:
    assert analysis(await run("How am I?", latest(heart_rate=61), feeling="off"), "s").mode is Mode.COMPANION


async def test_a_session_goes_on_where_it_ended_and_keeps_no_message() -> None:
    saver = InMemorySaver()
    await run("How is my pulse? secret words", latest(heart_rate=61), saver=saver)
    later = Latest({"heart_rate": replace_time(value("heart_rate", 70))}, "redis")
    answer = analysis(await run("Hello again, how is my pulse?", later, saver=saver), "s")
    assert "Hello again." in answer.response
    assert "When we last spoke in this session, your heart rate was 61 beats per minute." in answer.response
    other = analysis(await run("How is my pulse?", later, saver=saver, thread="anna/other"), "s")
    assert "last spoke" not in other.response
    kept = [item async for item in saver.alist({"configurable": {"thread_id": "anna/s"}})]
    assert "secret words" not in str(kept)


def replace_time(old: LatestValue) -> LatestValue:
    return LatestValue(
        metric=old.metric,
        value=old.value,
        time=NOW + timedelta(minutes=1),
        version=2,
        source=old.source,
        provider="oura",
    )


@pytest.mark.parametrize("metric", METRICS)
def test_every_number_of_a_reply_is_known(metric: str) -> None:
    found = Latest({metric: value(metric, 17.25, hours=7)}, "redis")
    session: Session = {**NEW_SESSION, "last_values": {metric: {"value": 3.5, "time": "2026-02-01T00:00:00+00:00"}}}
    turn = Turn("anna", "s", metric.replace("_", " "), NOW, latest=found)
    decision = Decision(Mode.REFLEX, "x", "y", (), (Off("spo2", "stale"),) if metric != "spo2" else ())
    decision = replace_evidence(decision, metric)
    reply = respond(replace(turn, decision=decision), decision, session)
    may_be_said = allowed(replace(turn, decision=decision), session)
    assert [fault for sentence in reply.sentences if (fault := check(sentence, may_be_said))] == []
    assert any("17.25" in sentence for sentence in reply.sentences)


def replace_evidence(decision: Decision, metric: str) -> Decision:
    evidence = Evidence(metric, 17.25, "x", NOW, "above", 1)
    return Decision(decision.mode, decision.rule, decision.reason, (evidence,), decision.off)


def test_two_sessions_never_share_a_thread() -> None:
    assert thread_id("anna", "s1") == "anna/s1"
    with pytest.raises(ValueError, match="slash"):
        thread_id("anna/s1", "x")
    with pytest.raises(ValueError, match="slash"):
        thread_id("anna", "s1/x")
