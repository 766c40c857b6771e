"""The terminal chat: what frames look like to people, and a conversation with a socket on loopback."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from auren.neuros import chat

MODE = {
    "type": "mode",
    "mode": "reflex",
    "mode_reason": "HRV (RMSSD) is 20 ms, below 25 ms",
    "evidence": [
        {"metric": "hrv_rmssd", "value": 20.5, "unit": "ms", "baseline": 62.0, "time": "2026-03-01T05:00:00Z"},
        {"metric": "heart_rate", "value": 61, "unit": "/min", "baseline": None, "time": "2026-03-01T05:00:00Z"},
    ],
}
REPLY = {
    "type": "reply",
    "recommendations": ["Take a break."],
    "interventions": [{"title": "Slow breathing", "duration_minutes": 5, "goal": "to calm down"}],
    "data_quality": {"notes": ["memory: chroma: away"]},
    "model": "rules",
    "timings": {"total": 12.4},
}


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            MODE,
            "\n[reflex: HRV (RMSSD) is 20 ms, below 25 ms]\n"
            "  hrv_rmssd 20.5 ms, usual 62 (2026-03-01T05:00:00Z)\n"
            "  heart_rate 61 /min (2026-03-01T05:00:00Z)\n",
        ),
        ({"type": "sentence", "text": "Your pulse was 61."}, "Your pulse was 61.\n"),
        (
            REPLY,
            "  - Take a break.\n  > Slow breathing, 5 min: to calm down\n  (memory: chroma: away)\n  [rules, 12 ms]\n",
        ),
        (
            {"type": "intervention", "title": "Slow breathing", "reason": "HRV is low"},
            "\n*** Slow breathing: HRV is low (GET /protocols has the steps)\n",
        ),
        ({"type": "error", "title": "too many", "retry_after": 7}, "\n! too many: . Try again in 7 s.\n"),
        ({"type": "error", "title": "not valid", "detail": "message"}, "\n! not valid: message.\n"),
        ({"type": "weather"}, "\n[weather]\n"),
    ],
)
def test_frames_as_people_read_them(frame: dict[str, Any], text: str) -> None:
    assert chat.shown(frame) == text


Talk = Callable[[ServerConnection], None]


@contextmanager
def neuros(talk: Talk) -> Iterator[str]:
    """A NEUROS on loopback that talks like this; its address."""

    def choose(_connection: ServerConnection, offered: Any) -> Subprotocol:
        assert list(offered) == ["bearer", "t0ken"]
        return Subprotocol("bearer")

    def handler(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            talk(connection)

    server: Server = serve(handler, "127.0.0.1", 0, subprotocols=[Subprotocol("bearer")], select_subprotocol=choose)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        serving.join()


def answers(connection: ServerConnection) -> None:
    """Each message with a mode, what was said, and the end."""
    assert connection.request is not None
    assert connection.request.path == "/ws/evening"
    for text in connection:
        message = json.loads(text)["message"]
        for frame in (MODE, {"type": "sentence", "text": f"You said {message}."}, REPLY):
            connection.send(json.dumps(frame))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What the person types; the token is in the variable."""
    monkeypatch.setenv(chat.TOKEN, " t0ken\n")

    def lines(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return lines


def run(url: str, *more: str) -> int:
    return chat.main(["--url", url + "/", "--session", "evening", *more])


@pytest.mark.parametrize("ending", ["", "quit\nnever said\n", " EXIT \nnever said\n"])
def test_a_conversation_goes_in_turn_until_the_input_ends(
    typed: Callable[[str], None], capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    typed(f"hello\n\n  how am I?  \n{ending}")
    with neuros(answers) as url:
        assert run(url) == 0
    out = capsys.readouterr().out
    first, second = out.index("You said hello."), out.index("You said how am I?.")
    assert out.index("[rules, 12 ms]") < second
    assert first < second
    assert "never said" not in out
    assert out.count("you: ") == 4


def test_the_token_may_stand_in_a_file(
    typed: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(chat.TOKEN, raising=False)
    typed("hello\n")
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    monkeypatch.delenv(chat.TOKEN, raising=False)
    with neuros(answers) as url:
        assert run(url, "--token-file", str(file)) == 0


@pytest.mark.parametrize("token", [None, "", "  "])
def test_without_a_token_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str | None
) -> None:
    monkeypatch.delenv(chat.TOKEN, raising=False)
    if token is not None:
        monkeypatch.setenv(chat.TOKEN, token)
    assert run("http://127.0.0.1:9") == 2
    assert "--token-file FILE" in capsys.readouterr().err
    assert run("http://127.0.0.1:9", "--token-file", "/nowhere/token") == 2


def test_a_neuros_that_is_not_there_is_told(typed: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    typed("hello\n")
    with neuros(answers) as url:
        pass
    assert run(url) == 1
    error = capsys.readouterr().err
    assert "cannot be talked to" in error
    assert "t0ken" not in error


def test_a_refusal_is_told(typed: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    typed("hello\n")
    with neuros(answers) as url:
        assert chat.main(["--url", url + "/no such path\r\n", "--session", "x"]) == 1
    assert "cannot be talked to" in capsys.readouterr().err


@pytest.mark.parametrize("code", [1000, 1013, 4401])
def test_a_conversation_that_neuros_ends_is_told(
    typed: Callable[[str], None], capsys: pytest.CaptureFixture[str], code: int
) -> None:
    typed("hello\nstill there?\nhello?\n")

    def ends(connection: ServerConnection) -> None:
        connection.recv()
        connection.close(code, "token expired")

    with neuros(ends) as url:
        assert run(url) == 1
    assert "has ended the conversation" in capsys.readouterr().err


def test_a_frame_that_cannot_be_read_ends_it_as_a_defect(typed: Callable[[str], None]) -> None:
    typed("hello\nand?\n")

    def nonsense(connection: ServerConnection) -> None:
        connection.recv()
        connection.send("{}")
        connection.recv()

    with neuros(nonsense) as url, pytest.raises(KeyError):
        run(url)


def test_what_comes_by_itself_is_shown_between(
    typed: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    typed("hello\n")

    def intervenes(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(json.dumps({"type": "intervention", "title": "Slow breathing", "reason": "HRV is low"}))
        connection.send(json.dumps({"type": "error", "title": "busy", "detail": "later", "retry_after": 3}))
        connection.recv()

    with neuros(intervenes) as url:
        assert run(url) == 0
    out = capsys.readouterr().out
    assert out.index("*** Slow breathing") < out.index("! busy: later. Try again in 3 s.")
