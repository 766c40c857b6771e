"""The API server, as the operator uses it: apply, create, delete, read, report. One client for the whole process.

Requests go through ``kubernetes.aio``; answers are decoded JSON. Everything that the server refuses is a `Refused`
with its status code, reason and message; everything that did not get an answer is `Unreachable`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio import client, config

from auren_operator import metrics
from auren_operator.api import names
from auren_operator.kube.kinds import EVENT, STACK, WATCHED, Kind

TIMEOUT_SECONDS: Final = 20.0
CONNECTIONS: Final = 16
"""Each TLS connection holds a quarter of a MiB of buffers; the writes that run side by side are fewer."""
TOO_MANY_REQUESTS: Final = 429
BUSY_TRIES: Final = 5
BUSY_SECONDS: Final = 1.0
"""A busy API server says 429 and asks to come back after a second; so it does while a new CRD is being set up."""
PAGE: Final = 500
"""Objects in one page of a list."""

_APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
_JSON: Final = "application/json"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

Answer = dict[str, Any]


class Refused(Exception):
    """The API server said no. ``code`` is the HTTP status, ``reason`` its machine word, ``message`` its sentence."""

    def __init__(self, code: int, reason: str, message: str, causes: tuple[str, ...] = ()) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message, self.causes = code, reason, message, causes

    @property
    def missing(self) -> bool:
        """The object, or its whole kind, is not there."""
        return self.code == 404

    @property
    def conflict(self) -> bool:
        """Somebody else was faster, or the uid that was named is gone."""
        return self.code == 409

    @property
    def namespace_going(self) -> bool:
        """The namespace is being deleted: nothing can be made in it any more."""
        return "NamespaceTerminating" in self.causes


class Unreachable(Exception):
    """No answer from the API server: connection refused, cut, or no reply in time."""


async def connect() -> client.ApiClient:
    """A client from the pod's service account, else from KUBECONFIG. Raises `ConfigException` when there is neither."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    settings = client.Configuration.get_default_copy()
    settings.connection_pool_maxsize = CONNECTIONS
    # else each request asks two threads, one for ~/.netrc and one for a proxy; kubeconfig's proxy-url still holds
    settings.client_session_kwargs = {"trust_env": False}
    api = client.ApiClient(settings)
    api.user_agent = names.FIELD_MANAGER
    return api


class Kube:
    """Typed calls on one `ApiClient`. Safe to share between tasks."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def apply(self, manifest: Mapping[str, Any], manager: str = names.FIELD_MANAGER) -> Answer:
        """Server-side apply with force; the whole object as it is afterwards."""
        meta = manifest["metadata"]
        return await self.apply_to(WATCHED[manifest["kind"]], meta["namespace"], meta["name"], manifest, manager)

    async def apply_to(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        manager: str,
        subresource: str | None = None,
    ) -> Answer:
        """Server-side apply of ``body`` to one object or its subresource."""
        query = {"fieldManager": manager, "force": "true"}
        path = kind.path(namespace, name, subresource)
        return await self._call("PATCH", kind, path, query=query, body=body, content=_APPLY)

    async def patch(self, kind: Kind, place: tuple[str, str], body: Any, content: str, manager: str) -> Answer:
        """PATCH the object at (namespace, name) by a merge patch or a JSON patch; the whole object afterwards."""
        return await self._call(
            "PATCH", kind, kind.path(*place), query={"fieldManager": manager}, body=body, content=content
        )

    async def create(self, kind: Kind, body: Mapping[str, Any], manager: str, *, dry_run: bool = False) -> Answer:
        """POST a new object, or only ask whether it would be taken. Raises `Refused`, with ``conflict`` for a
        name that is taken.
        """
        query = {"fieldManager": manager} | ({"dryRun": "All"} if dry_run else {})
        return await self._call("POST", kind, kind.path(body["metadata"]["namespace"]), query=query, body=body)

    async def replace(self, kind: Kind, body: Mapping[str, Any]) -> Answer:
        """PUT an object; its resourceVersion must be the newest."""
        meta = body["metadata"]
        return await self._call("PUT", kind, kind.path(meta["namespace"], meta["name"]), body=body)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, propagation: str) -> None:
        """Delete exactly the object of that uid; already gone is fine."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", kind, kind.path(namespace, name), body=body)
        except Refused as refused:
            if not (refused.missing or refused.conflict):
                raise

    async def metadata(self, kind: Kind, namespace: str, name: str) -> Answer | None:
        """Only the metadata of one object; None when it does not exist."""
        try:
            return await self._call("GET", kind, kind.path(namespace, name), accept=_METADATA)
        except Refused as refused:
            if refused.missing:
                return None
            raise

    async def read(self, kind: Kind, namespace: str, name: str) -> Answer | None:
        """One whole object; None when it does not exist."""
        try:
            return await self._call("GET", kind, kind.path(namespace, name))
        except Refused as refused:
            if refused.missing:
                return None
            raise

    async def list_metadata(
        self, kind: Kind, namespace: str | None, selector: str, *, cached: bool = False
    ) -> AsyncIterator[Answer]:
        """Pages of a metadata-only list; each page carries the list's resourceVersion in its own metadata.

        With ``cached`` the API server answers from its watch cache, in one page: cheap, and a moment old.
        """
        query = {"resourceVersion": "0"} if cached else {"limit": str(PAGE)}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = await self._call("GET", kind, kind.path(namespace), query=query, accept=_METADATA_LIST)
            yield page
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return

    async def report(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> Answer:
        """Put the status of a stack in place of the one before; the uid guards against a namesake."""
        body = {
            "apiVersion": STACK.api_version,
            "kind": STACK.name,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "status": status,
        }
        return await self.apply_to(STACK, namespace, name, body, names.FIELD_MANAGER, "status")

    async def post_event(self, event: Mapping[str, Any]) -> None:
        """Post one core/v1 Event."""
        await self._call("POST", EVENT, EVENT.path(event["metadata"]["namespace"]), body=event)

    async def _call(
        self,
        method: str,
        kind: Kind,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Answer:
        headers = {"Accept": accept, "Content-Type": content, "User-Agent": self._api.user_agent}
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        for _ in range(BUSY_TRIES):
            try:
                return await self._once(method, kind, url, headers, body)
            except Refused as refused:
                if refused.code != TOO_MANY_REQUESTS:
                    raise
                busy = refused
                await asyncio.sleep(BUSY_SECONDS)
        raise busy

    async def _once(
        self, method: str, kind: Kind, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Answer:
        code, started, sent = "none", time.monotonic(), dict(headers)
        try:
            await self._api.update_params_for_auth(sent, [], ["BearerToken"], url, method, None)
            answer = await self._api.call_api(method, url, sent, body, _request_timeout=TIMEOUT_SECONDS)
            code = str(answer.status)
            return _decode(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {url}: {type(error).__name__}: {error}") from error
        finally:
            metrics.api_requests.labels(method, kind.name, code).inc()
            metrics.api_seconds.labels(method).observe(time.monotonic() - started)


def _decode(code: int, data: bytes) -> Answer:
    try:
        decoded: Answer = orjson.loads(data) if data else {}
    except orjson.JSONDecodeError:
        decoded = {"message": data[:200].decode(errors="replace")}
    if code < 400:
        return decoded
    causes = (decoded.get("details") or {}).get("causes") or ()
    words = tuple(str(cause.get("reason", "")) for cause in causes)
    raise Refused(code, str(decoded.get("reason", "")), str(decoded.get("message", "")), words)
