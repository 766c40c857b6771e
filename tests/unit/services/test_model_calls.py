"""The model's port against a server on loopback that speaks both APIs: what is yielded, retried, counted, closed."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import httpx2
import pytest
import stamina
from openai import APIStatusError
from prometheus_client import generate_latest
from pydantic import SecretStr

from auren.health import UnhealthyError
from auren.link import CLOSED, OPEN, UnavailableError
from auren.neuros.models import (
    BudgetSpentError,
    Finished,
    LanguageModel,
    Model,
    ModelSettings,
    ModelUnavailableError,
    Outcome,
    Prompt,
    from_settings,
)
from auren.neuros.models.breaker import FAILURES
from auren.neuros.models.calling import ATTEMPTS, Tally
from auren.neuros.models.framing import framed
from auren.neuros.models.pieces import wait_before_retry
from auren.neuros.models.wire import fault_of
from auren.settings import LogSettings, RedisSettings
from auren.telemetry import Metrics, configure_logging
from tests.unit.services.model_counts import Counts
from tests.unit.services.model_double import CHAT, KEY, MODEL, RESPONSES, Answer, Api, ModelDouble, reply_text

PROMPT = Prompt(
    "Be kind.", '{"hrv_ms": 45, "note": "private-note"}', (("user", "hi"), ("assistant", "hello")), "private-message"
)
SECONDS = 120.0
"""So that a busy machine is not taken for a slow model."""

GREETING = reply_text("Good morning.", "You slept well.", recommendations=["Walk."])


class Works:
    """A model, its server and its counts."""

    def __init__(self, double: ModelDouble, **settings: Any) -> None:
        self.double, self.counts, self.metrics = double, Counts(), Metrics("neuros")
        fields = {
            "llm_mode": "openai",
            "llm_base_url": double.base_url,
            "llm_model": MODEL,
            "llm_api_key": SecretStr(KEY),
            "llm_timeout_seconds": SECONDS,
            "llm_first_token_seconds": SECONDS,
        }
        self.settings = ModelSettings(**{**fields, **settings})
        self.model = LanguageModel(self.settings, self.counts.redis, self.metrics)
        self.model.load()  # which would take of the time of a first reply

    async def said(self, user_id: str = "anna", prompt: Prompt = PROMPT) -> list[str | Finished]:
        """All that a reply yields."""
        async with aclosing(self.model.reply(user_id, prompt)) as items:
            return [item async for item in items]

    async def read_into(self, items: list[str | Finished]) -> None:
        """A reply, item by item."""
        async with aclosing(self.model.reply("anna", PROMPT)) as reply:
            async for item in reply:
                items.append(item)

    async def told(self, items: list[str | Finished]) -> None:
        """Wait until the server's first sentence has come to its reader."""
        for _ in range(6000):
            if items:
                return
            await asyncio.sleep(0.01)
        pytest.fail("nothing was told")

    async def fails(self, outcome: Outcome, *told: str) -> ModelUnavailableError:
        """The error of a reply that yields only `told`."""
        items: list[str | Finished] = []
        with pytest.raises(ModelUnavailableError) as raised:
            await self.read_into(items)
        assert (raised.value.outcome, items) == (outcome, list(told))
        assert self.value("model_calls_total", outcome=outcome.value) >= 1
        return raised.value

    def value(self, name: str, **labels: str) -> float:
        """A metric's."""
        found = self.metrics.registry.get_sample_value(f"auren_neuros_{name}", labels)
        assert found is not None, name
        return found

    @property
    def uncounted(self) -> int:
        """What one request costs whose end is not known."""
        return Tally(framed(PROMPT), self.settings.llm_max_output_tokens, begun=1).tokens


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[ModelDouble]:
    with ModelDouble().serving() as double:
        yield double


@pytest.fixture
def double(server: ModelDouble) -> ModelDouble:
    server.reset()
    server.answer = lambda _: Answer(GREETING)
    return server


@pytest.fixture(params=["responses", "chat"])
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.param
    return found


@pytest.fixture
async def works(double: ModelDouble, api: Api) -> AsyncIterator[Works]:
    works = Works(double, llm_api=api)
    yield works
    await works.model.stop()
    assert works.counts.closed


async def test_sentences_come_first_and_the_whole_reply_at_the_end(works: Works) -> None:
    *sentences, finished = await works.said()
    assert sentences == ["Good morning.", "You slept well."]
    assert isinstance(finished, Finished)
    assert finished.reply.recommendations == ["Walk."]
    assert (finished.model, finished.input_tokens, finished.output_tokens) == (MODEL, 900, 60)
    assert works.double.calls == 1
    assert works.counts.total == 960


async def test_the_request_is_the_one_that_the_api_wants(works: Works, api: Api) -> None:
    await works.said()
    (received,) = works.double.received
    assert received.path == {"responses": RESPONSES, "chat": CHAT}[api]
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.body["model"] == MODEL
    assert received.body["max_output_tokens" if api == "responses" else "max_tokens"] == 600
    assert received.instructions.startswith("Be kind.\n")
    assert received.history == list(PROMPT.history)
    assert (received.data, received.message) == (PROMPT.context, PROMPT.message)
    assert [turn["role"] for turn in received.turns] == ["user", "assistant", "user"]
    assert received.framed_data.split("\n")[0].removeprefix("DATA ") == received.framed_data[-32:]


async def test_a_sentence_is_told_before_the_next_is_written(works: Works) -> None:
    works.double.script.append(Answer(GREETING, hold_after=GREETING.index('"You')))
    async with aclosing(works.model.reply("anna", PROMPT)) as items:
        assert await anext(items) == "Good morning."
        assert works.value("model_first_sentence_seconds_count") == 1
        works.double.release()
        assert await anext(items) == "You slept well."


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7])
async def test_chunks_may_end_within_a_character_or_an_escape(works: Works, chunk_bytes: int, ascii_only: bool) -> None:
    sentences = ["Grüß dich 😀.", 'Say "no" \\ or\tnot.']
    fields = {"sentences": sentences, "recommendations": [], "protocols": [], "remember": []}
    text = json.dumps(fields, ensure_ascii=ascii_only)
    works.double.script.append(Answer(text, chunk_bytes=chunk_bytes, piece_characters=1))
    assert (await works.said())[:2] == sentences


async def test_connections_are_used_again(works: Works) -> None:
    for _ in range(3):
        await works.said()
    assert len({received.client for received in works.double.received}) == 1


async def test_a_server_that_does_not_count_is_paid_by_an_estimate(works: Works) -> None:
    works.double.script.append(Answer(GREETING, usage=None))
    finished = (await works.said())[-1]
    assert isinstance(finished, Finished)
    assert (finished.input_tokens, finished.output_tokens) == (None, None)
    assert works.counts.total == works.uncounted


async def test_a_refusal_is_no_reply(works: Works) -> None:
    works.double.script.append(Answer(refusal="I will not."))
    error = await works.fails(Outcome.REFUSED)
    assert "I will not" not in str(error)
    assert works.counts.total == 960
    assert works.double.calls == 1


async def test_a_filtered_reply_is_a_refusal(works: Works) -> None:
    works.double.script.append(Answer(GREETING[:40], finish="content_filter"))
    await works.fails(Outcome.REFUSED, "Good morning.")


async def test_a_reply_that_was_cut_by_its_length_is_none(works: Works) -> None:
    works.double.script.append(Answer(GREETING[:40], finish="length"))
    await works.fails(Outcome.TRUNCATED, "Good morning.")
    assert works.counts.total == 960


@pytest.mark.parametrize("text", ["", "I am well.", '{"sentences": []}', '{"mood": "good"}', reply_text("")])
async def test_what_is_not_of_the_form_is_no_reply(works: Works, text: str) -> None:
    works.double.script.append(Answer(text))
    await works.fails(Outcome.INVALID)
    assert works.double.calls == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {no json\n\n",
        b"data: \xff\xfe\n\n",
        b'data: {"type": "response.completed", "choices": 3}\n\n',
        b'data: {"type": "response.output_text.delta", "delta": 3, "choices": [{"delta": {"content": 3}}]}\n\n',
    ],
)
async def test_a_stream_of_another_form_is_no_reply(works: Works, raw: bytes) -> None:
    works.double.script.append(Answer(raw=raw))
    await works.fails(Outcome.INVALID)


async def test_a_connection_that_breaks_after_a_sentence_is_not_tried_again(works: Works) -> None:
    works.double.script.append(Answer(GREETING, cut_after=40))
    await works.fails(Outcome.CONNECTION, "Good morning.")
    assert works.double.calls == 1
    assert works.counts.total == works.uncounted


async def test_a_connection_that_breaks_before_the_first_text_is_tried_again(works: Works) -> None:
    works.double.script.append(Answer(GREETING, cut_after=0))
    assert len(await works.said()) == 3
    assert works.double.calls == 2
    assert works.counts.total == 960 + works.uncounted


async def test_a_stream_that_just_ends_is_a_lost_connection(works: Works) -> None:
    works.double.answer = lambda _: Answer(raw=b": nothing\n\n")
    await works.fails(Outcome.CONNECTION)
    assert works.double.calls == ATTEMPTS


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_failing_server_is_asked_again(works: Works, status: int) -> None:
    works.double.script += [Answer(status=status), Answer(status=status, headers={"retry-after": "0.5"})]
    assert len(await works.said()) == 3
    assert works.double.calls == ATTEMPTS
    assert works.value("model_requests_total") == ATTEMPTS
    assert works.value("model_calls_total", outcome="ok") == 1
    assert works.counts.total == 960


async def test_a_server_that_goes_on_failing_is_given_up(works: Works) -> None:
    works.double.answer = lambda _: Answer(status=500)
    await works.fails(Outcome.SERVER_ERROR)
    assert works.double.calls == ATTEMPTS
    assert works.counts.total == 0


@pytest.mark.parametrize(
    ("headers", "code", "calls"),
    [
        ({"retry-after": "0"}, None, 2),
        ({"retry-after": "1"}, "rate_limit_exceeded", 2),
        ({"retry-after-ms": "20"}, None, 2),
        ({"retry-after": "30"}, "rate_limit_exceeded", 1),
        ({"retry-after": "Fri, 27 Nov 2026 23:00:00 GMT"}, None, 1),
        ({}, None, 1),
        ({"retry-after": "1"}, "insufficient_quota", 1),
    ],
)
async def test_429_is_asked_again_only_after_a_short_wait(
    works: Works, headers: dict[str, str], code: str | None, calls: int
) -> None:
    works.double.script.append(Answer(status=429, headers=headers, code=code))
    if calls == 1:
        await works.fails(Outcome.RATE_LIMITED)
    else:
        assert len(await works.said()) == 3
    assert works.double.calls == calls


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"retry-after": "1.5"}, 1.5),
        (429, {"retry-after": "3"}, False),
        (503, {"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        (503, {"retry-after": "3"}, False),
        (503, {"retry-after": "soon"}, True),
        (400, {"retry-after": "1"}, False),
    ],
)
def test_the_wait_is_the_one_that_the_server_asks_for(status: int, headers: dict[str, str], wait: float) -> None:
    answered = httpx2.Response(status, headers=headers, request=httpx2.Request("POST", "http://127.0.0.1"))
    asked_to_wait = wait_before_retry(fault_of(APIStatusError("of the test", response=answered, body=None)))
    assert (asked_to_wait, type(asked_to_wait)) == (wait, type(wait))
    assert wait_before_retry(ValueError()) is False


async def test_a_failing_server_that_wants_a_long_rest_gets_it(works: Works) -> None:
    works.double.script.append(Answer(status=503, headers={"retry-after": "60"}))
    await works.fails(Outcome.SERVER_ERROR)
    assert works.double.calls == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (401, Outcome.MISCONFIGURED),
        (403, Outcome.MISCONFIGURED),
        (404, Outcome.MISCONFIGURED),
        (400, Outcome.REJECTED),
        (422, Outcome.REJECTED),
        (307, Outcome.REJECTED),
    ],
)
async def test_what_will_not_get_better_is_not_asked_again(works: Works, status: int, outcome: Outcome) -> None:
    works.double.script.append(Answer(status=status, headers={"location": f"{works.double.base_url}/elsewhere"}))
    error = await works.fails(outcome)
    assert str(status) in error.reason
    assert "an error of the tests" not in str(error)
    assert works.double.calls == 1
    assert works.counts.total == 0


@pytest.mark.parametrize(
    ("code", "outcome", "calls"),
    [
        ("server_error", Outcome.SERVER_ERROR, ATTEMPTS),
        ("rate_limit_exceeded", Outcome.RATE_LIMITED, 1),
        ("invalid_prompt", Outcome.REFUSED, 1),
    ],
)
async def test_a_failure_that_the_stream_tells_before_any_text(
    works: Works, code: str, outcome: Outcome, calls: int
) -> None:
    works.double.answer = lambda _: Answer("", failed=code)
    await works.fails(outcome)
    assert works.double.calls == calls


async def test_a_failure_that_the_stream_tells_later_is_not_tried_again(works: Works) -> None:
    works.double.script.append(Answer(GREETING, failed="server_error"))
    await works.fails(Outcome.SERVER_ERROR, "Good morning.", "You slept well.")
    assert works.double.calls == 1


async def test_an_error_event_ends_a_response(double: ModelDouble) -> None:
    works = Works(double)
    data = {"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None, "sequence_number": 0}
    double.script.append(Answer(raw=f"event: error\ndata: {json.dumps(data)}\n\n".encode()))
    await works.fails(Outcome.RATE_LIMITED)


async def test_nobody_listens(api: Api) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    works = Works(ModelDouble(port=port), llm_api=api)
    await works.fails(Outcome.CONNECTION)
    assert works.value("model_requests_total") == ATTEMPTS
    assert works.counts.total == 0


@pytest.mark.parametrize("hold_after", [-1, 0])
async def test_a_first_token_that_does_not_come_is_a_timeout(double: ModelDouble, api: Api, hold_after: int) -> None:
    works = Works(double, llm_api=api, llm_first_token_seconds=1.0)
    double.script.append(Answer(GREETING, hold_after=hold_after))
    await works.fails(Outcome.TIMEOUT)
    assert double.calls == 1
    assert works.counts.total == works.uncounted


async def test_a_reply_that_does_not_end_is_a_timeout(double: ModelDouble) -> None:
    works = Works(double, llm_timeout_seconds=3.0)
    double.script.append(Answer(GREETING, hold_after=40))
    await works.fails(Outcome.TIMEOUT, "Good morning.")


async def test_time_runs_out_within_the_reader_without_ending_it(double: ModelDouble) -> None:
    works = Works(double, llm_timeout_seconds=3.0)
    double.script.append(Answer(GREETING, hold_after=40))
    async with aclosing(works.model.reply("anna", PROMPT)) as items:
        assert await anext(items) == "Good morning."
        await asyncio.sleep(3.1)  # longer than the whole reply may take
        with pytest.raises(ModelUnavailableError):
            await anext(items)


async def test_a_cancelled_reader_closes_the_stream_and_settles_the_budget(works: Works) -> None:
    works.double.script.append(Answer(GREETING, hold_after=40))
    told: list[str | Finished] = []
    reader = asyncio.create_task(works.read_into(told))
    await works.double.held()
    await works.told(told)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert told == ["Good morning."]
    await works.double.left()
    assert works.counts.total == works.uncounted
    assert works.value("model_calls_total", outcome="cancelled") == 1
    assert works.model.breaker_state == CLOSED


async def test_a_reader_that_stops_closes_the_stream_and_settles_the_budget(works: Works) -> None:
    works.double.script.append(Answer(GREETING, hold_after=40))
    async with aclosing(works.model.reply("anna", PROMPT)) as items:
        assert await anext(items) == "Good morning."
        await works.double.held()
    await works.double.left()
    assert works.counts.total == works.uncounted
    assert works.value("model_calls_total", outcome="cancelled") == 1


async def test_a_second_cancellation_does_not_lose_what_is_given_back(works: Works) -> None:
    settled = asyncio.Event()

    async def slow(keys: list[str], args: list[int]) -> int:
        if args[0] == 0:
            settled.set()
            await asyncio.sleep(0.05)
        return await works.counts._count(keys, args)

    works.model._budget._count = slow  # type: ignore[assignment]
    works.double.script.append(Answer(GREETING, hold_after=0))
    reader = asyncio.create_task(works.said())
    await works.double.held()
    reader.cancel()
    await settled.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await asyncio.gather(*works.model._settling)
    assert works.counts.total == works.uncounted


async def test_an_open_breaker_answers_at_once(works: Works) -> None:
    works.double.answer = lambda _: Answer(status=401)
    for _ in range(FAILURES):
        await works.fails(Outcome.MISCONFIGURED)
    await works.fails(Outcome.BREAKER_OPEN)
    assert works.double.calls == FAILURES
    assert works.value("model_breaker_state") == OPEN
    assert works.model.fact.endswith("breaker open")
    with pytest.raises(UnhealthyError, match="left alone"):
        await works.model.check()


async def test_a_spent_budget_asks_nobody(double: ModelDouble) -> None:
    works = Works(double, llm_daily_tokens=700)
    with pytest.raises(BudgetSpentError) as spent:
        await works.said()
    assert 0 < spent.value.retry_after_seconds <= 86_400
    assert double.calls == 0
    assert works.value("model_calls_total", outcome="budget_spent") == 1
    assert works.counts.total == 0


async def test_users_at_once_never_spend_more_than_their_day(double: ModelDouble) -> None:
    most = Tally(framed(PROMPT), 600).most_tokens
    works = Works(double, llm_daily_tokens=3 * most)
    double.answer = lambda _: Answer(GREETING, usage=(most - 60, 60))
    results = await asyncio.gather(*(works.said() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, BudgetSpentError) for result in results) == 5
    assert works.counts.total == 3 * most


async def test_without_a_key_openai_is_not_asked(double: ModelDouble) -> None:
    works = Works(double, llm_api_key=None, llm_base_url="")
    await works.fails(Outcome.NO_KEY)
    assert double.calls == 0
    with pytest.raises(UnhealthyError, match="auren_llm_api_key"):
        await works.model.check()


@pytest.mark.parametrize("mode", ["local", "openai"])
async def test_a_server_of_ones_own_needs_no_key(double: ModelDouble, mode: str) -> None:
    double.key = None
    works = Works(double, llm_api_key=None, llm_mode=mode, llm_api="chat")
    assert len(await works.said()) == 3
    await works.model.check()
    assert works.model.fact == f"{MODEL} ({mode}, chat), breaker closed"
    assert double.calls == 1  # health asks nobody


async def test_instructions_that_are_too_long_are_counted_too(works: Works) -> None:
    with pytest.raises(ModelUnavailableError, match="shorten"):
        await works.said(prompt=Prompt("x" * 100_000, "{}", (), "hi"))
    assert works.value("model_calls_total", outcome="failed") == 1


async def test_no_proxy_and_no_base_url_of_the_environment_is_used(
    double: ModelDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert len(await Works(double).said()) == 3


@contextmanager
def _logging_everything() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging(LogSettings(log_level="DEBUG"), "neuros")
        yield
    finally:
        root.handlers[:], root.level = handlers, level


async def test_neither_people_nor_what_is_said_is_in_logs_or_metrics(
    works: Works, capsys: pytest.CaptureFixture[str]
) -> None:
    works.counts.away = True
    with _logging_everything():
        works.double.script += [Answer(status=500), Answer(reply_text("private-reply")), Answer("private-reply")]
        async with aclosing(works.model.reply("anna-private", PROMPT)) as items:
            async for _ in items:
                pass
        await works.fails(Outcome.INVALID)
    out = capsys.readouterr()
    metrics = generate_latest(works.metrics.registry).decode()
    assert "stamina.retry_scheduled" in out.out  # logs are on
    assert "private" not in out.out + out.err + metrics
    assert not any(f'"{library}' in out.out for library in ("openai", "httpx2", "httpcore2"))
    assert KEY not in out.out + out.err + metrics
    assert works.value("model_tokens_total", direction="input") == 1800
    assert works.value("model_tokens_total", direction="output") == 120
    assert works.value("model_call_duration_seconds_count") == 2


async def test_prompts_do_not_print() -> None:
    assert "private" not in repr(PROMPT) + repr(framed(PROMPT))


async def test_the_client_is_made_when_it_is_needed(double: ModelDouble) -> None:
    works = Works(double)
    model = LanguageModel(works.settings, Counts().redis, Metrics("other"))
    async with aclosing(model.reply("anna", PROMPT)) as items:
        assert await anext(items) == "Good morning."
    await model.stop()


def test_the_port_is_light_until_it_is_used() -> None:
    heavy = "import sys, auren.neuros.models; print({'openai', 'httpx2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, check=True, text=True).stdout == "set()\n"


def test_rules_have_no_model_and_others_do() -> None:
    redis = RedisSettings(redis_host="127.0.0.1", redis_port=1, redis_password=SecretStr("x"))
    assert from_settings(ModelSettings(llm_mode="rules"), redis, Metrics("neuros")) is None
    found: Model | None = from_settings(ModelSettings(llm_mode="openai", llm_model="m"), redis, Metrics("neuros"))
    assert found is not None
    assert found.name == "m"


def test_an_absent_model_is_one_of_what_may_be_away() -> None:
    error = ModelUnavailableError("of the test")
    assert isinstance(error, UnavailableError)
    assert (error.dependency, error.reason, error.outcome) == ("model", "of the test", Outcome.FAILED)
