"""A language model's server on loopback: the Responses API and chat completions as SSE, with faults on demand.

    with ModelDouble().serving() as double:
        double.script.append(Answer(reply_text("Good morning.")))
        ...  # ask `double.base_url`
        assert double.calls == 1

Without a script the function `answer` is asked with what was received; so a test can let a reply depend on the prompt.
It holds callers to what the real API wants: a key, `store` off, and a schema that strict structured output can take.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import uvicorn
from starlette.types import Receive, Scope, Send

KEY: Final = "key-of-the-tests"
MODEL: Final = "model-of-the-tests"

RESPONSES: Final = "/v1/responses"
CHAT: Final = "/v1/chat/completions"

Api = Literal["responses", "chat"]


def reply_text(
    *sentences: str,
    recommendations: Sequence[str] = (),
    protocols: Sequence[str] = (),
    remember: Sequence[Mapping[str, str]] = (),
) -> str:
    """The JSON that a model writes."""
    fields = {"sentences": sentences, "recommendations": recommendations, "protocols": protocols, "remember": remember}
    return json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    `status` other than 200: an error with `code`, no stream. `failed`: the stream tells a failure with this code after
    the text. `piece_characters`: of a delta; `chunk_bytes`: of what is written to the socket at once, wherever that
    cuts. `cut_after`: characters of the text after which the connection breaks. `hold_after`: characters after which
    nothing more comes until the double's `release` is called or the reader is gone (-1: already before the headers).
    `raw`: is sent as the body of the stream instead of events. `usage`: (input, output) tokens; None for a server that
    does not count. `think_seconds`: between the headers and the first event.
    """

    text: str = field(default_factory=lambda: reply_text("All is well."))
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    refusal: str | None = None
    finish: Literal["stop", "length", "content_filter"] = "stop"
    failed: str | None = None
    usage: tuple[int, int] | None = (900, 60)
    piece_characters: int = 5
    chunk_bytes: int | None = None
    cut_after: int | None = None
    hold_after: int | None = None
    raw: bytes | None = None
    think_seconds: float = 0.0


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    client: str
    """The connection that it came over."""

    @property
    def api(self) -> Api:
        """Which of the two APIs was asked."""
        return "responses" if self.path == RESPONSES else "chat"

    @property
    def instructions(self) -> str:
        """What the model is told to do."""
        if self.api == "responses":
            return str(self.body["instructions"])
        return str(self.body["messages"][0]["content"])

    @property
    def turns(self) -> list[Mapping[str, Any]]:
        """History and the last turn, without the instructions."""
        return list(self.body["input"]) if self.api == "responses" else list(self.body["messages"][1:])

    @property
    def history(self) -> list[tuple[str, str]]:
        """(role, text) of the turns before."""
        return [(turn["role"], turn["content"]) for turn in self.turns[:-1]]

    @property
    def framed_data(self) -> str:
        """The first part of the last turn, with its frame."""
        return str(self.turns[-1]["content"][0]["text"])

    @property
    def data(self) -> str:
        """What stands within the frame."""
        return self.framed_data.partition("\n")[2].rpartition("\n")[0]

    @property
    def message(self) -> str:
        """What the person said."""
        return str(self.turns[-1]["content"][1]["text"])

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema that the answer has to follow."""
        form = self.body["text"]["format"] if self.api == "responses" else self.body["response_format"]["json_schema"]
        return dict(form["schema"]) if form["strict"] is True else {}


class CutError(Exception):
    """Ends a request without its end: the server then drops the connection."""


@dataclass
class ModelDouble:
    """`key`: what a caller must show; None for a server that asks for none."""

    answer: Callable[[Received], Answer] = field(default=lambda _: Answer())
    key: str | None = KEY
    script: deque[Answer] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _released: threading.Event = field(default_factory=threading.Event)
    _holding: threading.Event = field(default_factory=threading.Event)
    _left: threading.Event = field(default_factory=threading.Event)
    _defects: list[Exception] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many requests came, refused ones too."""
        return len(self.received)

    @property
    def base_url(self) -> str:
        """For AUREN_LLM_BASE_URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reset(self) -> None:
        """Forget what was received and what is still to be answered, for the next test."""
        self.key = KEY
        self.received.clear()
        self.script.clear()
        for event in (self._released, self._holding, self._left):
            event.clear()

    def release(self) -> None:
        """Let streams go on that are held."""
        self._released.set()

    async def held(self) -> None:
        """Wait until a stream is held."""
        await asyncio.to_thread(self._holding.wait, 60)
        assert self._holding.is_set()

    async def left(self) -> None:
        """Wait until a reader has gone away before the end of its stream."""
        await asyncio.to_thread(self._left.wait, 60)
        assert self._left.is_set()

    @contextmanager
    def serving(self) -> Iterator[ModelDouble]:
        """Connections are taken within."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.release()
            server.should_exit = True
            thread.join()
            listener.close()
        if self._defects:
            raise self._defects[0]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app."""
        received = await _received(scope, receive)
        self.received.append(received)
        gone = asyncio.Event()
        watching = asyncio.create_task(_watch(receive, gone))
        try:
            answer = self._refusal(received) or (self.script.popleft() if self.script else self.answer(received))
            if answer.status != 200:
                await _send_error(send, answer)
            else:
                await self._stream(send, received, answer, gone)
        except CutError:
            raise
        except Exception as error:
            self._defects.append(error)
            raise
        finally:
            watching.cancel()

    def _refusal(self, received: Received) -> Answer | None:
        """An error for a request that the real API would not take."""
        if received.path not in {RESPONSES, CHAT}:
            return Answer(status=404, code="unknown_url")
        if self.key is not None and received.headers.get("authorization") != f"Bearer {self.key}":
            return Answer(status=401, code="invalid_api_key")
        body = received.body
        unfit = body.get("stream") is not True or (received.api == "responses" and body.get("store") is not False)
        return Answer(status=400, code="invalid_request") if unfit or not strict(received.schema) else None

    async def _stream(self, send: Send, received: Received, answer: Answer, gone: asyncio.Event) -> None:
        if answer.hold_after == -1:
            await self._hold(gone)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        events = _responses if received.api == "responses" else _chat
        await asyncio.sleep(answer.think_seconds)
        async for block in events(received, answer, lambda: self._hold(gone)):
            for chunk in _chunks(block, answer.chunk_bytes):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if answer.chunk_bytes is not None:
                    await asyncio.sleep(0)  # so that chunks leave one by one
            if gone.is_set():
                self._left.set()
                return
        await send({"type": "http.response.body", "body": b""})

    async def _hold(self, gone: asyncio.Event) -> None:
        self._holding.set()
        while not self._released.is_set() and not gone.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), 0.01)
        self._holding.clear()
        self._released.clear()


def strict(schema: Mapping[str, Any]) -> bool:
    """Whether strict structured output takes this schema: objects that are closed, all fields required, no bounds."""
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False or set(schema["required"]) != set(schema["properties"])
    ):
        return False
    if {"minLength", "maxLength", "minItems", "maxItems", "default"} & set(schema):
        return False
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [schema["items"]] if "items" in schema else []
    return bool(schema) and all(strict(part) for part in inner)


Hold = Callable[[], Any]


async def _responses(received: Received, answer: Answer, hold: Hold) -> AsyncIterator[bytes]:
    """The events of the Responses API, in the order in which the real one sends them."""
    if answer.raw is not None:
        yield answer.raw
        return
    number = 0

    def event(kind: str, **facts: Any) -> bytes:
        nonlocal number
        number += 1
        data = json.dumps({"type": kind, "sequence_number": number - 1, **facts}, ensure_ascii=False)
        return f"event: {kind}\ndata: {data}\n\n".encode()

    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    yield event("response.created", response=_response(received, answer, "in_progress"))
    yield event("response.in_progress", response=_response(received, answer, "in_progress"))
    yield event("response.output_item.added", output_index=0, item=item)
    if answer.refusal is not None:
        yield event("response.refusal.delta", **place, delta=answer.refusal)
        yield event("response.refusal.done", **place, refusal=answer.refusal)
    else:
        part = {"type": "output_text", "text": "", "annotations": []}
        yield event("response.content_part.added", **place, part=part)
        async for delta in _deltas(answer, hold):
            yield event("response.output_text.delta", **place, delta=delta, logprobs=[])
        yield event("response.output_text.done", **place, text=answer.text, logprobs=[])
        yield event("response.content_part.done", **place, part={**part, "text": answer.text})
    yield event("response.output_item.done", output_index=0, item={**item, "status": "completed"})
    status = "failed" if answer.failed else "completed" if answer.finish == "stop" else "incomplete"
    yield event(f"response.{status}", response=_response(received, answer, status))


def _response(received: Received, answer: Answer, status: str) -> dict[str, Any]:
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish)
    ended = status != "in_progress"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": received.body["model"],
        "status": status,
        "output": [],
        "error": {"code": answer.failed, "message": "failed"} if answer.failed and ended else None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "usage": _response_usage(answer.usage) if ended and not answer.failed and answer.usage else None,
        "store": False,
    }


def _response_usage(usage: tuple[int, int]) -> dict[str, Any]:
    return {
        "input_tokens": usage[0],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage[1],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sum(usage),
    }


async def _chat(received: Received, answer: Answer, hold: Hold) -> AsyncIterator[bytes]:
    """The chunks of chat completions."""
    if answer.raw is not None:
        yield answer.raw
        return

    def chunk(delta: Mapping[str, Any] | None, finish: str | None = None, usage: Any = None) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": received.body["model"]}
        data = json.dumps({**head, "choices": choices, "usage": usage}, ensure_ascii=False)
        return f"data: {data}\n\n".encode()

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    if answer.refusal is not None:
        yield chunk({"refusal": answer.refusal})
    else:
        async for delta in _deltas(answer, hold):
            yield chunk({"content": delta})
    if answer.failed:
        yield f"data: {json.dumps({'error': {'code': answer.failed, 'message': 'failed'}})}\n\n".encode()
        return
    yield chunk({}, finish=answer.finish)
    if answer.usage is not None and received.body.get("stream_options") == {"include_usage": True}:
        counts = {"prompt_tokens": answer.usage[0], "completion_tokens": answer.usage[1]}
        yield chunk(None, usage={**counts, "total_tokens": sum(answer.usage)})
    yield b"data: [DONE]\n\n"


async def _deltas(answer: Answer, hold: Hold) -> AsyncIterator[str]:
    """The text piece by piece. Raises CutError where the connection breaks."""
    held = False
    for at in range(0, len(answer.text), answer.piece_characters):
        if answer.hold_after is not None and 0 <= answer.hold_after <= at and not held:
            held = True
            await hold()
        if answer.cut_after is not None and answer.cut_after <= at:
            raise CutError
        yield answer.text[at : at + answer.piece_characters]
    if answer.cut_after is not None:
        raise CutError


def _chunks(block: bytes, size: int | None) -> Iterator[bytes]:
    step = size or max(1, len(block))
    return (block[at : at + step] for at in range(0, len(block), step))


async def _received(scope: Scope, receive: Receive) -> Received:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    return Received(scope["path"], headers, json.loads(body or b"{}"), str(scope["client"]))


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _send_error(send: Send, answer: Answer) -> None:
    error = {"message": "an error of the tests", "type": "error", "param": None, "code": answer.code}
    headers = {"content-type": "application/json", **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})
