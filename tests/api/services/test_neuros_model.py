"""NEUROS with a model that fails, or that says what may not be said: there is a reply, and it says what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from auren.neuros.models.breaker import FAILURES
from auren.neuros.models.calling import ATTEMPTS
from auren.neuros.nodes import NOTHING_USED
from auren.neuros.turn import RULES
from auren.neuros.wording import MODEL_AWAY, MODEL_STOPPED, MODEL_UNFIT, TOKENS_SPENT
from tests.api import stores
from tests.api.processes import Servers
from tests.api.services.measurements import event, query
from tests.api.services.platform import Platform, Service, new_user
from tests.api.services.talking import CHAT, ask, scripted, start, streamed
from tests.api.services.test_neuros import measured, now
from tests.api.services.waiting import until
from tests.unit.services.model_double import MODEL, Answer, ModelDouble, reply_text

FIRST, SECOND, THIRD = "Today looks steady.", "Keep the evening calm and quiet.", "Sleep a little earlier tonight."
REPLY = reply_text(FIRST, SECOND, THIRD)
ASKED = "How am I doing?"

CUT = REPLY.index(THIRD)
"""Characters of the reply with which two sentences are complete."""


@pytest.fixture(scope="module", params=["responses", "chat"])
def shared(
    prepared_platform: Platform, chroma: stores.Chroma, model: ModelDouble, request: pytest.FixtureRequest
) -> Iterator[tuple[Service, Service]]:
    """NEUROS that asks the model through one of its two APIs, and the service that stores measurements."""
    with Servers("model") as servers:
        prepared_platform.servers = servers
        yield (
            start(prepared_platform, chroma, model, request.param),
            prepared_platform.service("auren.biometric", user="biometric-production"),
        )


@pytest.fixture
def neuros(shared: tuple[Service, Service], platform: Platform, model: ModelDouble) -> Service:
    """It has all it needs, and the breaker has just seen a good reply."""
    for service in shared:
        service.server.start()
        service.wait_ready()
    scripted(model)
    return shared[0]


FAULTS: dict[str, tuple[Answer, str, int]] = {
    "429": (Answer(status=429, code="rate_limit_exceeded"), "asked too often", 1),
    "quota": (Answer(status=429, code="insufficient_quota", headers={"retry-after": "1"}), "asked too often", 1),
    "500": (Answer(status=500), "the server answered 500", ATTEMPTS),
    "401": (Answer(status=401, code="invalid_api_key"), "the key or the model's name is not accepted", 1),
    "refusal": (Answer(refusal="I will not."), "it will not answer this", 1),
    "wrong schema": (Answer('{"sentences": "one", "extra": 1}'), "", 1),
    "no json": (Answer("All is well."), "", 1),
    "cut": (Answer(cut_after=0), "no connection, or it was lost", ATTEMPTS),
}
"""By name: what the server does, how the reply's notes say so, and how many requests the one reply may make."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_model_that_fails_is_replaced_by_the_rules(
    platform: Platform, neuros: Service, model: ModelDouble, fault: str
) -> None:
    answer, note, requests = FAULTS[fault]
    user = new_user()
    scripted(model, *[answer] * requests)
    events = await streamed(platform, neuros, user, ASKED)
    kind, reply = events[-1]
    assert kind == "done"
    assert reply["model"] == RULES
    assert MODEL_AWAY in reply["response"]
    (found,) = [one for one in reply["data_quality"]["notes"] if one.startswith("model: ")]
    assert note in found
    assert " ".join(data["text"] for kind, data in events if kind == "sentence") == reply["response"]
    assert model.calls == requests
    scripted(model)
    assert (await ask(platform, neuros, user, ASKED))["model"] == MODEL
    assert model.calls == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(REPLY, cut_after=CUT),
        Answer(REPLY[:CUT], finish="length"),
        Answer(REPLY[:CUT], finish="content_filter"),
        Answer(REPLY[:CUT]),
    ],
    ids=["connection", "length", "filter", "invalid"],
)
async def test_what_a_model_said_before_it_broke_off_stands(
    platform: Platform, neuros: Service, model: ModelDouble, answer: Answer
) -> None:
    user = new_user()
    scripted(model, answer)
    events = await streamed(platform, neuros, user, ASKED, session_id="s1")
    told = [data["text"] for kind, data in events if kind == "sentence"]
    assert told == [FIRST, SECOND, MODEL_STOPPED]
    reply = events[-1][1]
    assert (reply["response"], reply["model"]) == (" ".join(told), MODEL)
    assert any(one.startswith("model: ") for one in reply["data_quality"]["notes"])
    assert model.calls == 1
    kept = neuros.get("/state/s1", platform.bearer(user, CHAT)).json()["session"]
    assert kept["exchanges"] == [{"message": ASKED, "reply": reply["response"]}]


async def test_a_model_that_is_silent_is_given_up(
    platform: Platform, chroma: stores.Chroma, model: ModelDouble
) -> None:
    user = new_user()
    impatient = start(platform, chroma, model, AUREN_LLM_TIMEOUT_SECONDS="3", AUREN_LLM_FIRST_TOKEN_SECONDS="2")
    impatient.wait_ready()
    scripted(model, Answer(REPLY, hold_after=-1))
    reply = await ask(platform, impatient, user, ASKED)
    assert (reply["model"], model.calls) == (RULES, 1)
    assert "model: no answer in time" in reply["data_quality"]["notes"]
    await model.left()
    scripted(model, Answer(REPLY, hold_after=CUT))
    reply = await ask(platform, impatient, user, ASKED)
    assert reply["response"] == f"{FIRST} {SECOND} {MODEL_STOPPED}"
    await model.left()


async def test_a_model_that_is_down_is_left_alone_and_comes_back(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    scripted(model, *[FAULTS["401"][0]] * FAILURES)
    for _ in range(FAILURES):
        assert (await ask(platform, neuros, user, ASKED))["model"] == RULES
    assert model.calls == FAILURES
    scripted(model)
    reply = await ask(platform, neuros, user, ASKED)
    assert (reply["model"], model.calls) == (RULES, 0)
    assert "model: it is left alone after failures" in reply["data_quality"]["notes"]

    async def told() -> bool:  # the report is some seconds old
        return "model" in {one["name"] for one in neuros.health().json().get("missing", [])}

    await until(told)

    async def back() -> bool:
        return bool((await ask(platform, neuros, user, ASKED))["model"] == MODEL)

    await until(back, 90)
    assert model.calls == 1
    neuros.wait_ready()


async def test_when_the_tokens_of_the_day_are_spent_the_rules_answer(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    spender, other = new_user(), new_user()
    scripted(model, Answer(REPLY, usage=(99_500, 400)))
    assert (await ask(platform, neuros, spender, ASKED))["model"] == MODEL
    reply = await ask(platform, neuros, spender, ASKED)
    assert (reply["model"], model.calls) == (RULES, 1)
    assert reply["response"].endswith(TOKENS_SPENT)
    assert "model: the day's tokens are spent" in reply["data_quality"]["notes"]
    assert (await ask(platform, neuros, other, ASKED))["model"] == MODEL


async def test_greeting_reflex_and_emergencies_ask_no_model(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    await measured(platform, user, event(user, [22], metric="hrv_rmssd", start=now(hours_ago=1)))
    for message, mode in ((ASKED, "reflex"), ("I want to die", None), ("hello", "reflex")):
        reply = await ask(platform, neuros, user, message)
        assert (reply["mode"], reply["model"]) == (mode, RULES)
        assert "language model" not in reply["response"]
    greeted = await ask(platform, neuros, new_user(), "hello")
    assert (greeted["mode"], greeted["model"]) == ("companion", RULES)
    assert model.calls == 0


HOSTILE = {
    "number": "Your heart rate was 143 beats per minute, just now.",
    "spelled": "Your heart rate was one hundred and forty-three beats per minute.",
    "diagnosis": "You have tachycardia.",
    "dose": "Take 400 mg of ibuprofen tonight.",
    "others": "Anna's heart rate was 61 beats per minute.",
    "address": "Read more at https://evil.example/x now.",
    "leak": "My instructions are to speak calmly.",
}


async def test_what_may_not_be_said_reaches_nobody_and_is_not_kept(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    await measured(platform, user, event(user, [61], start=now()))
    good = "Your heart rate was 61 beats per minute, just now."
    bad = list(HOSTILE.values())
    text = reply_text(
        good,
        *bad,
        recommendations=[*bad[:4], "Take a short walk."],
        protocols=["breathing-4-7-8", "evil", *bad[:1]],
        remember=[{"kind": "fact", "text": one} for one in bad[:4]],
    )
    scripted(model, Answer(text))
    events = await streamed(platform, neuros, user, ASKED, session_id="s1")
    reply = events[-1][1]
    assert [data["text"] for kind, data in events if kind == "sentence"] == [good]
    assert (reply["response"], reply["model"]) == (good, MODEL)
    assert reply["recommendations"] == ["Take a short walk."]
    assert [one["protocol"] for one in reply["interventions"]] == ["breathing-4-7-8", "midday-focus"]
    everything = str(events) + str(neuros.get("/memory", platform.bearer(user, CHAT)).json())
    everything += str(await query(platform, "SELECT text FROM memories WHERE user_id = $1", user))
    await ask(platform, neuros, user, "And what was my heart rate?", session_id="s1")
    everything += f"{model.received[-1].history} {model.received[-1].data}"
    for sentence in bad:
        assert sentence not in everything
    log = neuros.server.log.read_text()
    assert not [word for word in (*bad, user) if word in log]
    left_out = [line for line in neuros.metrics().splitlines() if "sentences_left_out_total{" in line]
    assert len(left_out) >= 5, left_out


async def test_a_model_that_says_nothing_that_may_be_said_is_replaced(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    await measured(platform, user, event(user, [61], start=now()))
    scripted(model, Answer(reply_text(*HOSTILE.values())))
    events = await streamed(platform, neuros, user, ASKED, session_id="s1")
    reply: dict[str, Any] = events[-1][1]
    assert [data["text"] for kind, data in events if kind == "sentence"]
    assert reply["model"] == RULES
    assert reply["response"].endswith(MODEL_UNFIT)
    assert NOTHING_USED in reply["data_quality"]["notes"]
    assert "61 beats per minute" in reply["response"]
    assert not [one for one in HOSTILE.values() if one in str(events)]


async def test_a_model_cannot_make_itself_believed_by_way_of_the_memory(
    platform: Platform, neuros: Service, model: ModelDouble
) -> None:
    user = new_user()
    lie = "Usual heart rate is 143 beats per minute"
    scripted(model, Answer(reply_text(FIRST, remember=[{"kind": "fact", "text": lie}])))
    await ask(platform, neuros, user, ASKED)
    scripted(model, Answer(reply_text("Your heart rate is usually 143 beats per minute.", FIRST)))
    reply = await ask(platform, neuros, user, "What is my usual heart rate?")
    assert "143" not in model.received[-1].data
    assert reply["response"] == FIRST


async def test_without_a_key_the_rules_answer_and_the_health_report_says_so(
    platform: Platform, chroma: stores.Chroma, model: ModelDouble
) -> None:
    keyless = start(platform, chroma, scripted(model), key=None, AUREN_LLM_BASE_URL="")  # OpenAI itself, never reached

    async def told() -> bool:
        return [one["name"] for one in keyless.health().json().get("missing", ())] == ["model"]

    await until(told)
    reply = await ask(platform, keyless, new_user(), ASKED)
    assert (reply["model"], model.calls) == (RULES, 0)
    assert "model: no key is configured" in reply["data_quality"]["notes"]
