"""`python -m auren.neuros chat`: a conversation in a terminal, against a running NEUROS, by its socket.

Replies come sentence by sentence, with the mode and the values that led to it; interventions come when they come.
The token stands in the file that --token-file names, or in the variable AUREN_TOKEN; never in the list of processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from auren.modes.engine import number

TOKEN: Final = "AUREN_TOKEN"  # noqa: S105 - the variable's name
ENDS: Final = frozenset({"reply", "error"})
"""Frames after which it is the person's turn."""

QUIT: Final = frozenset({"quit", "exit", "bye", "/quit"})

Write = Callable[[str], None]


def main(arguments: Sequence[str]) -> int:
    """Talk until the input ends. Exit code 0; 1 when NEUROS cannot be reached or refuses; 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        token = _token(options.token_file)
    except (OSError, ValueError) as error:
        print(f"chat: {error}", file=sys.stderr)
        return 2
    url = f"{options.url.rstrip('/').replace('http', 'ws', 1)}/ws/{options.session}"
    try:
        asyncio.run(_talk(url, token))
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
        print(f"chat: {options.url} cannot be talked to ({error})", file=sys.stderr)
        return 1
    except ConnectionClosed as error:
        print(f"chat: NEUROS has ended the conversation ({error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m auren.neuros chat", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of NEUROS (%(default)s)")
    parser.add_argument("--session", default="terminal", help="what is said in a session is known in it (%(default)s)")
    parser.add_argument("--token-file", type=Path, help=f"holds the bearer token; without it {TOKEN} does")
    return parser


def _token(file: Path | None) -> str:
    """Raises OSError, and ValueError where there is none."""
    token = (file.read_text() if file is not None else os.environ.get(TOKEN, "")).strip()
    if not token:
        raise ValueError(f"a token is needed: --token-file FILE, or the variable {TOKEN} (hack/token makes one)")
    return token


async def _talk(url: str, token: str) -> None:
    async with connect(url, subprotocols=[Subprotocol("bearer"), Subprotocol(token)]) as socket:
        answered = asyncio.Event()
        answered.set()
        hearing = asyncio.create_task(_hear(socket, answered, _write))
        try:
            async for line in _lines(answered, hearing):
                if line.strip().lower() in QUIT:
                    break
                if line.strip():
                    answered.clear()
                    await socket.send(json.dumps({"message": line.strip()}))
        finally:
            if not hearing.done():
                hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        if not hearing.cancelled() and (error := hearing.exception()) is not None:
            raise error


async def _lines(ready: asyncio.Event, hearing: asyncio.Task[None]) -> AsyncIterator[str]:
    """What the person types, until they or NEUROS end it; a prompt stands there once NEUROS has answered."""
    while True:
        await ready.wait()
        if hearing.done():
            return
        _write("\nyou: ")
        typed = _typed()
        waiting: list[asyncio.Future[Any]] = [typed, hearing]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not typed.done() or not typed.result():
            return
        yield typed.result()


def _typed() -> asyncio.Future[str]:
    """The next line. Its thread dies with the process, which must not wait for a key: see `__main__`."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def tell(text: str) -> None:
        if not line.done():
            line.set_result(text)

    def read() -> None:
        text = sys.stdin.readline()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, text)

    threading.Thread(target=read, name="terminal", daemon=True).start()
    return line


async def _hear(socket: ClientConnection, answered: asyncio.Event, write: Write) -> None:
    """Show what comes. Raises ConnectionClosed at the end, however it came."""
    try:
        while True:
            frame = json.loads(await socket.recv())
            write(shown(frame))
            if frame["type"] in ENDS:
                answered.set()
    finally:
        answered.set()


def shown(frame: dict[str, Any]) -> str:
    """A frame as people read it."""
    match frame["type"]:
        case "mode":
            return f"\n[{frame['mode']}: {frame['mode_reason']}]\n" + "".join(map(_evidence, frame["evidence"]))
        case "sentence":
            return f"{frame['text']}\n"
        case "reply":
            return _after(frame)
        case "intervention":
            return f"\n*** {frame['title']}: {frame['reason']} (GET /protocols has the steps)\n"
        case "error":
            wait = f" Try again in {frame['retry_after']} s." if "retry_after" in frame else ""
            return f"\n! {frame['title']}: {frame.get('detail', '')}.{wait}\n"
        case other:
            return f"\n[{other}]\n"


def _evidence(found: dict[str, Any]) -> str:
    usual = f", usual {number(found['baseline'])}" if found["baseline"] is not None else ""
    return f"  {found['metric']} {number(found['value'])} {found['unit']}{usual} ({found['time']})\n"


def _after(frame: dict[str, Any]) -> str:
    """What comes with a reply, besides its sentences."""
    lines = [f"  - {text}" for text in frame["recommendations"]]
    lines += [f"  > {one['title']}, {one['duration_minutes']} min: {one['goal']}" for one in frame["interventions"]]
    lines += [f"  ({note})" for note in frame["data_quality"]["notes"]]
    lines.append(f"  [{frame['model']}, {frame['timings']['total']:.0f} ms]")
    return "\n".join(lines) + "\n"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
