"""A proxy between the operator and the API server whose watches a test can cut, as a network does, for as long as it
takes until their history is compacted.

Everything else goes through untouched. After the cut, each watch first asks for a version from the beginning of time,
so that it is the real API server that answers 410 Gone (once it was compacted and started anew).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from tests.api.controlplane import ControlPlane, Credentials

PASSED_ON = ("Accept", "Content-Type", "User-Agent")


class Proxy:
    """Forwards ``https://127.0.0.1:<port>`` to the control plane as one user. Use as ``async with``."""

    def __init__(self, plane: ControlPlane, credentials: Credentials) -> None:
        self._plane, self._credentials = plane, credentials
        self._cut = False
        self._expired: set[str] | None = None
        self._watches: list[web.Request] = []
        self.expired_watches = 0
        self.address = ""

    async def __aenter__(self) -> Self:
        connector = TCPConnector(ssl=self._credentials.ssl_context(), limit=0)
        self._session = ClientSession(connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False)
        app = web.Application(client_max_size=16 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._server_context())
        await site.start()
        port = self._runner.addresses[0][1]
        self.address = f"https://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_watches()
        await self._session.close()
        await self._runner.cleanup()

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._plane.authority.server("proxy", ["localhost"]))
        return context

    def cut_watches(self) -> None:
        """Break all watches at once, and let none start again."""
        self._cut = True
        for request in list(self._watches):
            _abort(request)

    def restore_watches(self) -> None:
        """Let watches start again; the first of each kind is told that its history is gone."""
        self._cut, self._expired = False, set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        watching = "watch" in request.query
        if watching and self._cut:
            _abort(request)
            return web.Response(status=503)
        query = dict(request.query)
        if watching and self._expired is not None and request.path not in self._expired:
            self._expired.add(request.path)
            self.expired_watches += 1
            query["resourceVersion"] = "1"
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        url = self._plane.address + request.path
        body = await request.read() or None
        async with self._session.request(request.method, url, params=query, headers=headers, data=body) as answer:
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers.items()))
            if watching:
                self._watches.append(request)
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            finally:
                if watching:
                    self._watches.remove(request)
        return response


def _end_to_end(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that are not about the connection itself."""
    hop_by_hop = {"transfer-encoding", "connection", "content-length"}
    return {name: value for name, value in headers if name.lower() not in hop_by_hop}


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
