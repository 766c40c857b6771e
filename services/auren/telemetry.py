"""Logs and metrics. Logs are JSON lines that name no person; metrics are `auren_<service>_<what>_<unit>`."""

from __future__ import annotations

import hashlib
import hmac
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from auren.settings import LogSettings

FORBIDDEN_LABELS: Final = frozenset(
    {"user", "user_id", "sub", "person", "session", "session_id", "trace", "trace_id", "jti", "token", "event_id"}
)
"""Labels that would name a person or grow without end."""

LATENCY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_log_key: bytes = b""


def person(user_id: str) -> str:
    """A keyed hash that stands for a person in logs: equal for equal ids, useless without the stack's key."""
    if not _log_key:
        return "person-unknown"
    return "person-" + hmac.new(_log_key, user_id.encode(), hashlib.sha256).hexdigest()[:16]


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger. Give facts as keyword arguments; people only as `person(user_id)`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def configure_logging(settings: LogSettings, service: str) -> None:
    """Write every log line of this process, libraries' included, as one JSON object on standard output.

    Without a log key people are left out of the logs altogether.
    """
    global _log_key
    _log_key = bytes.fromhex(settings.log_key.get_secret_value()) if settings.log_key else b""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _constants(service=service, stack=settings.stack),
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(_traceback),
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    # aiokafka logs each retry of a lost connection several times a second; what matters of it we log ourselves.
    # At DEBUG it would also print keys and values, which name people.
    for name in ("aiokafka", "asyncio", "httpx", "httpcore", "httpx2", "httpcore2", "openai"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # uvicorn logs the path of each WebSocket, and at DEBUG the websockets library its frames through the same logger.
    server = logging.getLogger("uvicorn.error")
    server.setLevel(max(logging.INFO, logging.getLogger().level))
    server.addFilter(_no_path)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _no_path(record: logging.LogRecord) -> bool:
    """Whether a record of uvicorn's is none that quotes a WebSocket's path."""
    return '"WebSocket %s"' not in str(record.msg)


def _traceback(exc_info: structlog.typing.ExcInfo) -> list[dict[str, object]]:
    """Type and frames of an exception, and the server's SQLSTATE where it has one.

    Locals may hold people's data, and so may messages: only our own classes promise that theirs do not.
    """
    kind, error, trace = exc_info
    facts: dict[str, object] = {"type": kind.__name__}
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        facts["sqlstate"] = sqlstate
    if kind.__module__.partition(".")[0] == "auren":
        facts["message"] = (str(error).splitlines() or [""])[0][:200]
    facts["frames"] = [f"{f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(trace)]
    return [facts]


def _constants(**facts: str) -> structlog.typing.Processor:
    def add(
        _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event.update(facts)
        return event

    return add


class Metrics:
    """The metrics of one service in a registry of its own. Names are built here and nowhere else."""

    def __init__(self, service: str) -> None:
        """`service` is the second word of every name: bridge, collector, biometric, neuros."""
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def counter(self, what: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        """A count; `what` is given without `_total`."""
        return Counter(self._name(what, labels), help_text, labels, registry=self.registry)

    def gauge(self, what: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        """A level; `what` ends in its unit."""
        return Gauge(self._name(what, labels), help_text, labels, registry=self.registry)

    def histogram(
        self, what: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_SECONDS
    ) -> Histogram:
        """A distribution; `what` ends in its unit."""
        return Histogram(self._name(what, labels), help_text, labels, buckets=buckets, registry=self.registry)

    def _name(self, what: str, labels: Sequence[str]) -> str:
        named = FORBIDDEN_LABELS.intersection(labels)
        if named:
            raise ValueError(f"labels {sorted(named)} would name people in metrics")
        return f"auren_{self.service}_{what}"


class MetricsServer:
    """Prometheus text on a port of its own, from a thread: it answers while the event loop is busy."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        """Opens the listener at once; `port` 0 lets the system choose."""
        self._server, self._thread = start_http_server(port, addr=host, registry=metrics.registry)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=1)
