"""The HTTP side that every service shares: the app, errors as problem+json (RFC 9457), and the process that runs it."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, Final, Protocol

import uvicorn
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auren.auth import ForbiddenError, NotConfiguredError, Principal, TooManyError, UnauthorizedError, Verifier
from auren.health import Health
from auren.link import RETRY_AFTER_SECONDS, UnavailableError
from auren.openapi import PROBLEM_JSON, ROUTES, urn
from auren.settings import ServiceSettings
from auren.telemetry import Metrics, MetricsServer, logger
from auren.transport import JoiningProtocol

GRACE_SECONDS: Final = 20
"""How long requests in flight may take after the signal to stop; below the pod's grace period of 30 s."""

MOST_FRAME_BYTES: Final = 64 * 1024
"""Of a WebSocket's frame from outside: a message of 4000 characters, each of them escaped, is less."""

PONG_SECONDS: Final = 45
"""How long a socket's peer may take to answer a ping. A socket whose next frame waits for the one before is not read
meanwhile, so this is longer than any frame takes to be handled."""

_log = logger(__name__)


class ProblemError(Exception):
    """An error to answer with, as problem+json. `kind` makes the stable `type`."""

    def __init__(
        self, status: int, kind: str, title: str, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """`detail` is for the caller: no values of other people, no internals."""
        super().__init__(title)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})

    def body(self, **members: Any) -> dict[str, Any]:
        """The problem as JSON; `members` are added to its own."""
        body: dict[str, Any] = {"type": urn(self.kind), "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        return body | members

    def response(self, **members: Any) -> JSONResponse:
        """The answer, with `body`."""
        return JSONResponse(self.body(**members), self.status, self.headers, PROBLEM_JSON)


def problem_of(error: Exception) -> ProblemError | None:
    """The problem that stands for an error of the shared modules; None for any other error."""
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    match error:
        case ProblemError():
            return error
        case UnavailableError():
            return ProblemError(503, "unavailable", f"waiting for {error.dependency}", error.reason, retry)
        case NotConfiguredError():
            return ProblemError(503, "not-configured", "authentication is not configured", str(error), retry)
        case UnauthorizedError():
            return ProblemError(401, "unauthorized", "not authenticated", str(error), {"WWW-Authenticate": "Bearer"})
        case ForbiddenError():
            return ProblemError(403, "forbidden", "not allowed", str(error))
        case TooManyError():
            wait = {"Retry-After": str(error.retry_after_seconds)}
            return ProblemError(429, "too-many", "too many requests", "of this token's user in the last minute", wait)
        case _:
            return None


class Part(Protocol):
    """Something that lives as long as the service: a connection, a consumer. `start` must not wait for a peer."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def create_app(
    service: str, settings: ServiceSettings, health: Health, metrics: Metrics, parts: Sequence[Part] = ()
) -> FastAPI:
    """The app with health routes, CORS, problem+json and request metrics. Parts start in order and stop in reverse."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for part in parts:
                await part.start()
                stack.push_async_callback(part.stop)
            health.started()
            yield
            health.drain()

    app = FastAPI(
        title=f"AUREN {service}",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        routes=list(health.routes()),
        responses=ROUTES,
    )
    for error in (ProblemError, UnavailableError, NotConfiguredError, UnauthorizedError, ForbiddenError, TooManyError):
        app.add_exception_handler(error, _answer)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
        )
    app.add_middleware(RequestLog, metrics=metrics)
    return app


BEARER: Final = HTTPBearer(
    scheme_name="bearer",
    bearerFormat="JWT",
    description="A JWT (ES256) of the stack's issuer, as `python -m auren.auth mint` makes it; `sub` is the user.",
    auto_error=False,
)
"""Only told in the OpenAPI document: what a header is worth is for the verifier to say."""


async def begin(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`pieces` once the first one is there: what goes wrong before it is still an answer with a status of its own."""
    first = await anext(pieces)

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return whole()


Caller = Callable[..., Awaitable[Principal]]
"""A FastAPI dependency that gives the caller."""


def authenticated(verifier: Verifier, scope: str | None = None) -> Caller:
    """A FastAPI dependency: the caller, with `scope`; in a route with `{user}` also the rule about paths.

    Each request counts against the rate limit of its `sub`.
    Use: `principal: Annotated[Principal, Depends(authenticated(verifier, "read:biometrics"))]`.
    """
    told = Security(BEARER, scopes=[scope] if scope else [])

    async def principal(request: Request, _bearer: object = told) -> Principal:
        caller = await verifier.caller(request.headers.get("authorization"))
        if scope is not None:
            caller.require(scope)
        user = request.path_params.get("user")
        if user is not None:
            caller.require_user(user)
        return caller

    return principal


async def _answer(_request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem.response()


async def _answer_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return ProblemError(error.status_code, f"http-{error.status_code}", str(error.detail), headers=headers).response()


def _allowed(request: Request) -> str:
    """All methods of the path (RFC 9110, section 10.2.1): the router tells of its first route alone."""
    return ", ".join(
        method
        for method in sorted(_METHODS)
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    )


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = faults(error.errors())
    return ProblemError(422, "invalid", "the request is not valid", found[0]["field"] if found else "").response(
        errors=found
    )


def faults(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Pydantic's errors as a problem tells them."""
    return [{"field": _field(error), "message": error["msg"]} for error in errors]


def _field(error: Mapping[str, Any]) -> str:
    """Where it is wrong. The input itself stays out of the answer, also as a name of its own: it may be data."""
    place = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
    return ".".join(map(str, place))


class RequestLog:
    """Counts and times requests by route template and status, and answers what nobody caught with a bare 500.

    Paths and queries hold user ids, so only the route's template is ever written down.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """One per app: it registers the metrics."""
        self.app = app
        self._requests = metrics.counter("http_requests", "Requests answered", ("method", "route", "status"))
        self._seconds = metrics.histogram("http_request_duration_seconds", "Time to answer", ("method", "route"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0
        began = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:  # the outermost layer: whatever a route raises becomes a problem+json 500
            _log.exception("request failed", route=_template(scope))
            if status:
                raise
            status = 500
            await ProblemError(500, "internal", "internal error").response()(scope, receive, send)
        finally:
            method, route = _method(scope), _template(scope)
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - began)


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _template(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "unmatched"))


class Server(uvicorn.Server):
    """uvicorn that tells the health report at the signal, before requests in flight are awaited."""

    def __init__(self, config: uvicorn.Config, health: Health) -> None:
        """As uvicorn's, with the health to tell."""
        super().__init__(config)
        self._health = health

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal to stop."""
        self._health.drain()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a stop that was asked for ends the process with 0, not by the signal once more."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def serve(app: ASGIApp, settings: ServiceSettings, health: Health, metrics: Metrics) -> None:
    """Serve until SIGTERM or SIGINT, with the metrics on their own port. The listener opens before any connection."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,  # it writes paths, which hold user ids
        log_config=None,
        lifespan="on",
        server_header=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=GRACE_SECONDS,
        http=JoiningProtocol,
        ws_max_size=MOST_FRAME_BYTES,
        ws_ping_timeout=PONG_SECONDS,
        ws_per_message_deflate=False,  # frames are small, and its buffers cost more than a socket does
        proxy_headers=False,  # whom a header names is not believed
    )
    server = MetricsServer(metrics, settings.host, settings.metrics_port)
    # What the start has made stays; without this each full collection would walk through all of it.
    gc.collect()
    gc.freeze()
    try:
        await Server(config, health).serve()
    finally:
        server.close()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a service's main coroutine on uvloop."""

    async def entry() -> None:
        await main()

    with asyncio.Runner(loop_factory=_uvloop) as runner:
        runner.run(entry())


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
