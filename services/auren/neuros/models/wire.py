"""The two APIs of the `openai` SDK as one stream of text. This module imports the SDK, which takes half a second.

Wire formats: https://developers.openai.com/api/docs/guides/streaming-responses (events of the Responses API, chunks of
chat completions, which servers such as vLLM and llama.cpp speak too), and structured outputs of the same guide.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import httpx2
from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from auren.neuros.models.framing import SCHEMA, Asked
from auren.neuros.models.pieces import Fault, Pieces, Usage
from auren.neuros.models.port import Outcome
from auren.neuros.models.settings import ModelSettings

CONNECT_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 64
"""Replies under way at one time in this process; more wait for a place until their time is over."""

DRAIN_SECONDS: Final = 0.1
"""How long the end of a stream is waited for after the last event, so that its connection can be used again."""

SHORT_WAIT_SECONDS: Final = 2.0
"""A server that wants to be left alone for longer is not asked again for the same reply."""

NO_KEY: Final = "none"
"""The SDK wants a key; a server of one's own that needs none does not look at it."""

SCHEMA_NAME: Final = "reply"


class Wire:
    """One server, asked through one of its two APIs. The SDK's own retries are off."""

    def __init__(self, settings: ModelSettings) -> None:
        """Nothing is connected before it is used. No proxy of the environment is used, no redirect is followed."""
        self._model = settings.llm_model
        self._most_output_tokens = settings.llm_max_output_tokens
        timeout = httpx2.Timeout(settings.llm_timeout_seconds, connect=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS)
        self._client = AsyncOpenAI(
            api_key=settings.llm_key or NO_KEY,
            base_url=settings.llm_url,
            timeout=timeout,
            max_retries=0,
            http_client=httpx2.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False, trust_env=False),
        )
        self._ask = self._responses if settings.llm_api == "responses" else self._chat

    async def open(self, asked: Asked) -> Pieces:
        """Send the request; the pieces of its answer, to be closed by the caller. Both raise Fault."""
        with _faults():
            return await self._ask(asked)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _responses(self, asked: Asked) -> Pieces:
        stream = await self._client.responses.create(
            model=self._model,
            instructions=asked.instructions,
            input=_turns(asked, "input_text"),
            text={"format": {"type": "json_schema", "name": SCHEMA_NAME, "schema": SCHEMA, "strict": True}},
            max_output_tokens=self._most_output_tokens,
            store=False,
            stream=True,
        )
        return _closing(stream, _response_pieces)

    async def _chat(self, asked: Asked) -> Pieces:
        # max_tokens: servers that have only this API know the newer name of it rarely.
        stream = await self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "system", "content": asked.instructions}, *_turns(asked, "text")],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": SCHEMA_NAME, "schema": SCHEMA, "strict": True},
            },
            max_tokens=self._most_output_tokens,
            stream=True,
            stream_options={"include_usage": True},
        )
        return _closing(stream, _chat_pieces)


def _turns(asked: Asked, part: Literal["input_text", "text"]) -> Any:
    """History, then ONE turn of the user with two parts: some models' templates refuse two turns of one role."""
    last = [{"type": part, "text": asked.data}, {"type": part, "text": asked.message}]
    return [*({"role": role, "content": text} for role, text in asked.history), {"role": "user", "content": last}]


async def _closing(stream: AsyncStream[Any], pieces: Callable[[AsyncStream[Any]], Pieces]) -> Pieces:
    """`pieces` of a stream whose connection is given back or closed, however reading ends."""
    async with stream, contextlib.aclosing(pieces(stream)) as read:
        with _faults():
            async for piece in read:
                yield piece


async def _response_pieces(stream: AsyncStream[ResponseStreamEvent]) -> Pieces:
    refused = False
    async for event in stream:
        if event.type == "response.output_text.delta":
            yield _text(event.delta)
        elif event.type == "response.refusal.delta":
            refused = True
        elif event.type == "error":
            raise _told_failure(event.code)
        elif event.type in {"response.completed", "response.incomplete", "response.failed"}:
            if (usage := _response_usage(event.response)) is not None:
                yield usage
            _judge_response(event.response, refused)
            await _drain(stream)
            return
    raise _cut_off()


def _response_usage(response: Response) -> Usage | None:
    if response.usage is None:
        return None
    return Usage(response.model, _count(response.usage.input_tokens), _count(response.usage.output_tokens))


def _judge_response(response: Response, refused: bool) -> None:
    """Raises Fault for a response that did not come to its end as it should."""
    if response.status == "failed":
        raise _told_failure(response.error.code if response.error else None)
    reason = response.incomplete_details.reason if response.incomplete_details else None
    if refused or reason == "content_filter":
        raise _refused()
    if response.status == "incomplete":
        raise _truncated()


async def _chat_pieces(stream: AsyncStream[ChatCompletionChunk]) -> Pieces:
    finish, refused, usage = None, False, Usage("", None, None)
    async for chunk in stream:
        usage = _chat_usage(chunk, usage)
        for choice in chunk.choices:
            if choice.delta.content:
                yield _text(choice.delta.content)
            refused = refused or bool(choice.delta.refusal)
            finish = choice.finish_reason or finish
    if finish is None:
        raise _cut_off()
    yield usage
    if refused or finish == "content_filter":
        raise _refused()
    if finish == "length":
        raise _truncated()


def _chat_usage(chunk: ChatCompletionChunk, before: Usage) -> Usage:
    if chunk.usage is None:
        return Usage(chunk.model or before.model, before.input_tokens, before.output_tokens)
    return Usage(chunk.model or before.model, _count(chunk.usage.prompt_tokens), _count(chunk.usage.completion_tokens))


def _text(delta: object) -> str:
    """The SDK hands on whatever stood in the event."""
    if not isinstance(delta, str):
        raise TypeError("a piece of text is a string")
    return delta


def _count(tokens: object) -> int | None:
    return tokens if isinstance(tokens, int) and tokens >= 0 else None


async def _drain(stream: AsyncStream[Any]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in stream:
                pass


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turns what the SDK raises into Faults, without the server's words."""
    try:
        yield
    except APIError as error:
        raise fault_of(error) from None
    except (ValueError, TypeError, AttributeError):  # the SDK takes events as they come, of whatever form
        raise Fault("its stream is not of the form that the API has", Outcome.INVALID) from None


def fault_of(error: APIError) -> Fault:
    """What an error of the SDK means, and whether the same request may be sent again."""
    if isinstance(error, APITimeoutError):
        return Fault("no answer in time", Outcome.TIMEOUT)
    if isinstance(error, APIConnectionError):
        return Fault("no connection, or it was lost", Outcome.CONNECTION, retry=True)
    if isinstance(error, APIStatusError):
        return _status_fault(error.status_code, error.code, retry_after_seconds(error.response.headers))
    return _told_failure(error.code)


def _status_fault(status: int, code: str | None, wait: float | None) -> Fault:
    if status == 429:
        short = wait is not None and wait <= SHORT_WAIT_SECONDS and code != "insufficient_quota"
        return Fault("asked too often (429)", Outcome.RATE_LIMITED, retry=wait if short and wait is not None else False)
    if status >= 500:
        return Fault(f"the server answered {status}", Outcome.SERVER_ERROR, retry=_soon(wait))
    if status in {401, 403, 404}:
        return Fault(f"the key or the model's name is not accepted ({status})", Outcome.MISCONFIGURED)
    return Fault(f"the request is not accepted ({status})", Outcome.REJECTED)


def _soon(wait: float | None) -> bool | float:
    """Whether a failing server may be asked again: by our own back-off where it names no time."""
    if wait is None:
        return True
    return wait if wait <= SHORT_WAIT_SECONDS else False


def retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """How long the server wants to be left alone: `retry-after-ms`, else `retry-after` in seconds; None unless said."""
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = headers.get(name, "").strip()
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text) / scale
    return None


def _told_failure(code: str | None) -> Fault:
    """A failure that the stream itself tells."""
    if code == "rate_limit_exceeded":
        return Fault("asked too often", Outcome.RATE_LIMITED)
    if code in {"invalid_prompt", "bio_policy", "misalignment_policy_violation"}:
        return _refused()
    return Fault("the server failed while it answered", Outcome.SERVER_ERROR, retry=True)


def _refused() -> Fault:
    return Fault("it will not answer this", Outcome.REFUSED)


def _truncated() -> Fault:
    return Fault("the reply was longer than it may be", Outcome.TRUNCATED)


def _cut_off() -> Fault:
    return Fault("the stream ended before the reply did", Outcome.CONNECTION, retry=True)
