"""Servers as plain processes on the loopback interface, none of which outlives the test run.

Each is started through ``setpriv --pdeathsig``: the kernel ends it when the thread that started it ends, however that
happens. So start them from the main thread only, never through ``asyncio.to_thread``.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from tests.api.places import on_path

POLL_SECONDS = 0.02
"""How often a start-up condition is looked at."""

CLOSE_SECONDS = 3.0
"""How long servers may take to end when their data is thrown away anyway."""


class ServerFailedError(Exception):
    """A server ended, or did not become ready in time; the message holds the end of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a TCP connection to this loopback port succeeds."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Server:
    """One process with a fixed command line: it can be stopped, killed and started again on the same port and data."""

    name: str
    command: Sequence[str | Path]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    root: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    ready_seconds: float = 60
    _process: subprocess.Popen[bytes] | None = None
    _log_file: IO[bytes] | None = None
    _log_start: int = 0

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def exit_status(self) -> int | None:
        """How it ended (negative: the signal); None while it runs."""
        return self._process.poll() if self._process else None

    def launch(self) -> None:
        """Start the process, and return without waiting for it to be ready."""
        if self.running:
            return
        self._log_file = self.log.open("ab")
        self._log_start = self._log_file.tell()
        self._process = subprocess.Popen(
            self._full_command(),
            stdin=subprocess.DEVNULL,
            stdout=self._log_file,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", **self.environment},
            cwd=self.cwd,
            start_new_session=True,
        )

    def _full_command(self) -> list[str]:
        prefix = ["chroot", str(self.root)] if self.root else []
        setpriv = "/usr/bin/setpriv" if self.root else str(on_path("setpriv"))
        identity: list[str] = []
        if self.user is not None:
            identity = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return [*prefix, setpriv, "--pdeathsig", "KILL", *identity, "--", *map(str, self.command)]

    def wait_ready(self) -> None:
        """Block until the server answers. Raises ServerFailedError if it ends or is not ready in ``ready_seconds``."""
        self.wait_until(self.ready, "ready")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Block until a condition holds that this server brings about. Raises ServerFailedError like `wait_ready`."""
        deadline = time.monotonic() + self.ready_seconds
        while not condition():
            if not self.running:
                raise ServerFailedError(f"{self.name} ended by itself:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(f"{self.name}: not {what} after {self.ready_seconds:.0f} s:\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def start(self) -> None:
        """Start the process (again) and wait until it answers."""
        self.launch()
        self.wait_ready()

    def terminate(self) -> None:
        """Ask the process to end, without waiting for it."""
        if self._process is not None and self.running:
            self._process.send_signal(self.stop_signal)

    def stop(self, timeout_seconds: float = 20) -> None:
        """End the process gracefully, and with SIGKILL where that takes longer than the timeout."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, e.g. SIGSTOP for a server that hangs; SIGCONT wakes it."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(number)

    def wait_ended(self, timeout_seconds: float) -> int:
        """Wait until the process ended by itself and return its exit status (negative: the signal).

        Raises subprocess.TimeoutExpired.
        """
        assert self._process is not None, f"{self.name} was not started"
        return self._process.wait(timeout_seconds)

    def said(self, words: str) -> bool:
        """Whether the log holds these words since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return words.encode() in log.read()

    def tail(self, lines: int = 25) -> str:
        """The end of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _close(self) -> None:
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None


class Servers:
    """A group of servers with one data folder; leaving the ``with`` block ends them and removes the folder."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"auren-{name}-"))
        self.folder.chmod(0o755)
        self._servers: list[Server] = []
        self._folders = [self.folder]

    def add(self, server: Server) -> Server:
        """Take over the responsibility for ending this server."""
        self._servers.append(server)
        return server

    def owns(self, folder: Path) -> Path:
        """Have this folder removed at the end, too."""
        self._folders.append(folder)
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything at once and remove the data; what takes longer than a moment is killed."""
        for server in reversed(self._servers):
            server.terminate()
        deadline = time.monotonic() + CLOSE_SECONDS
        for server in self._servers:
            server.stop(max(0.0, deadline - time.monotonic()))
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
