"""The model that NEUROS asks in a benchmark: `python -m tests.bench.thinking PORT THINK_SECONDS`, a process of its own.

It is the double of the tests (tests/unit/services/model_double.py) and takes nothing that the real API would not take.
It thinks for the stated time, then writes a reply in some twenty pieces as fast as they are read. The reply names one
of the values that it was shown, so that its sentences go through the checks like any other.

`GET /calls` tells how many requests have come, refused ones too, and the body of the last one that was answered.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

import uvicorn
from starlette.types import Receive, Scope, Send

from tests.unit.services.model_double import Answer, ModelDouble, Received, reply_text

PIECES: Final = 20
CALLS: Final = "/calls"

_MEASURED: Final = re.compile(r'"name":"(?P<name>[^"]+)","value":"(?P<value>[^"]+)","measured":"(?P<ago>[^"]+)"')
"""One measured value in what the model is shown: that text may be cut at its end, so it is no JSON to rely on."""


class Thinking:
    """An ASGI app around the double, which keeps no request but the last."""

    def __init__(self, think_seconds: float) -> None:
        """`think_seconds`: before the first piece of each answer."""
        self._think_seconds = think_seconds
        self._double = ModelDouble(answer=self._answer, key=None)
        self._calls = 0
        self._last: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"] == CALLS:
            await _send_json(send, {"calls": self._calls, "last": self._last})
            return
        self._calls += 1
        await self._double.app(scope, receive, send)

    def _answer(self, received: Received) -> Answer:
        self._last = dict(received.body)
        self._double.received.clear()
        text = reply_text(*_sentences(received), recommendations=["Keep your usual bedtime."])
        return Answer(text, piece_characters=-(-len(text) // PIECES), think_seconds=self._think_seconds)


def _sentences(received: Received) -> list[str]:
    """Four, one of them about the first measured value."""
    found = _MEASURED.search(received.data)
    assert found is not None, "the model was shown no value"
    return [
        f"Your {found['name']} was {found['value']}, {found['ago']}.",
        "That is much like what is usual for you.",
        "A calm evening would suit you well.",
        "Tell me how the day went if you like.",
    ]


async def _send_json(send: Send, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def main(port: int, think_seconds: float) -> None:
    """Serve until told to stop."""
    config = uvicorn.Config(
        Thinking(think_seconds), host="127.0.0.1", port=port, interface="asgi3", lifespan="off", access_log=False
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
