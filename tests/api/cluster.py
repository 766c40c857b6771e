"""A small client for tests: objects are plain dicts, as kubectl shows them, and waiting is done by watching."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
import orjson

from tests.api.controlplane import Credentials
from tests.api.processes import POLL_SECONDS

Object = dict[str, Any]

MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "AurenStack": ("apis/aupex.ai/v1alpha1", "aurenstacks"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ConfigMap": ("api/v1", "configmaps"),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Event": ("api/v1", "events"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Job": ("apis/batch/v1", "jobs"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "Namespace": ("api/v1", "namespaces"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "Node": ("api/v1", "nodes"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Pod": ("api/v1", "pods"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "ReplicaSet": ("apis/apps/v1", "replicasets"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
}
"""Kind → API path and plural."""

CHILD_KINDS: Final = (
    "Secret",
    "ConfigMap",
    "ServiceAccount",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Deployment",
    "Job",
)
"""The kinds that a stack is made of."""

UNPROCESSABLE: Final = 422
"""The status with which the API server refuses an object that breaks a rule."""

TOO_MANY_REQUESTS: Final = 429
"""The status that asks for patience, also while the storage of a changed CRD is set up."""

STACK_LABEL: Final = "aupex.ai/stack"


class Ref(NamedTuple):
    """Which object."""

    kind: str
    namespace: str
    name: str


def ref_of(kind: str, obj: Object) -> Ref:
    """The reference of an object; lists leave the kind out of their items, hence the argument."""
    return Ref(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


class RefusedError(Exception):
    """The API server's no: HTTP status and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Cluster:
    """Calls on one API server as one user. Use as ``async with``."""

    def __init__(self, credentials: Credentials, connections: int = 100) -> None:
        self._address = credentials.address
        connector = aiohttp.TCPConnector(ssl=credentials.ssl_context(), limit=connections)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create(self, manifest: Object) -> Object:
        """POST a new object (its manifest names kind and namespace)."""
        kind, namespace = manifest["kind"], manifest["metadata"].get("namespace", "")
        return await self._call("POST", self._url(kind, namespace), manifest)

    async def read(self, ref: Ref) -> Object | None:
        """The object; None where it does not exist."""
        try:
            return await self._call("GET", self._url(*ref))
        except RefusedError as refused:
            if refused.code == 404:
                return None
            raise

    async def get(self, ref: Ref) -> Object:
        """The object. Raises RefusedError where it does not exist."""
        return await self._call("GET", self._url(*ref))

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """All objects of a kind, in one namespace or all, with a label selector."""
        query = {"labelSelector": selector} if selector else {}
        answer = await self._call("GET", self._url(kind, namespace), query=query)
        items: list[Object] = answer["items"]
        return items

    async def children(self, namespace: str, stack: str) -> dict[Ref, Object]:
        """Every object of the kinds that a stack is made of, by its label."""
        lists = await asyncio.gather(*(self.list(kind, namespace, f"{STACK_LABEL}={stack}") for kind in CHILD_KINDS))
        return {ref_of(kind, obj): obj for kind, objs in zip(CHILD_KINDS, lists, strict=True) for obj in objs}

    async def delete(self, ref: Ref, propagation: str = "Background", *, missing_ok: bool = False) -> None:
        """DELETE; ``propagation`` is Background, Foreground or Orphan."""
        try:
            await self._call("DELETE", self._url(*ref), {"propagationPolicy": propagation})
        except RefusedError as refused:
            if not (missing_ok and refused.code == 404):
                raise

    async def patch(
        self, ref: Ref, body: Any, content: str = MERGE, subresource: str = "", manager: str = ""
    ) -> Object:
        """PATCH by merge (default), JSON patch or server-side apply (which takes ``manager``)."""
        query = {"fieldManager": manager or "tests"}
        if content == APPLY:
            query["force"] = "true"
        url = self._url(*ref) + (f"/{subresource}" if subresource else "")
        return await self._call("PATCH", url, body, query=query, content=content)

    async def apply(self, manifest: Object, manager: str = "tests") -> Object:
        """Server-side apply of a whole manifest."""
        return await self.patch(ref_of(manifest["kind"], manifest), manifest, APPLY, manager=manager)

    async def watch(self, kind: str, namespace: str = "", **query: str) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of what exists and of every change after it, until the server ends the watch."""
        url = self._url(kind, namespace)
        async with self._session.get(url, params={"watch": "true", **query}) as response:
            if response.status >= 400:
                raise RefusedError(response.status, await response.text())
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    yield event["type"], event["object"]

    async def until(
        self, ref: Ref, holds: Callable[[Object | None], bool], what: str, timeout_seconds: float = 60
    ) -> Object | None:
        """Wait until a condition holds for one object (None: it does not exist); its state then.

        Raises AssertionError with the last state when it takes longer.
        """
        last: Object | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    async for last in self._states(ref):
                        if holds(last):
                            return last
        except TimeoutError:
            raise AssertionError(f"{ref}: not {what} after {timeout_seconds:.0f} s; {_excerpt(last)}") from None

    async def _states(self, ref: Ref) -> AsyncIterator[Object | None]:
        """What one object is and becomes, for a few seconds; ends early where the server asks for patience."""
        try:
            now = await self.read(ref)
            yield now
            query = {"fieldSelector": f"metadata.name={ref.name}", "timeoutSeconds": "5"}
            if now is not None:
                query["resourceVersion"] = now["metadata"]["resourceVersion"]
            async for event, obj in self.watch(ref.kind, ref.namespace, **query):
                if event == "ERROR":
                    return
                yield None if event == "DELETED" else obj
        except RefusedError as refused:
            if refused.code != TOO_MANY_REQUESTS:
                raise
            await asyncio.sleep(POLL_SECONDS)

    async def exists(self, ref: Ref, timeout_seconds: float = 60, *, not_uid: str = "") -> Object:
        """Wait until the object exists (again, with another uid than ``not_uid``) and is not being deleted."""

        def there(obj: Object | None) -> bool:
            return obj is not None and obj["metadata"]["uid"] != not_uid and "deletionTimestamp" not in obj["metadata"]

        obj = await self.until(ref, there, "there", timeout_seconds)
        assert obj is not None
        return obj

    async def gone(self, ref: Ref, timeout_seconds: float = 60) -> None:
        """Wait until the object does not exist."""
        await self.until(ref, lambda obj: obj is None, "gone", timeout_seconds)

    async def refuses(self, manifest: Object, *, refused: bool, timeout_seconds: float = 30) -> None:
        """Wait until the API server refuses (or takes) an object as invalid, by trying without writing it."""
        url = self._url(manifest["kind"], manifest["metadata"]["namespace"])
        async with asyncio.timeout(timeout_seconds):
            while True:
                try:
                    await self._call("POST", url, manifest, query={"dryRun": "All"})
                    now = False
                except RefusedError as error:
                    now = error.code == UNPROCESSABLE
                if now is refused:
                    return
                await asyncio.sleep(0.1)

    def _url(self, kind: str, namespace: str = "", name: str = "") -> str:
        path, plural = PLACES[kind]
        parts = [self._address, path, *(("namespaces", namespace) if namespace else ()), plural, name]
        return "/".join(part for part in parts if part)

    async def _call(
        self,
        verb: str,
        url: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
    ) -> Object:
        data = orjson.dumps(body) if body is not None else None
        headers = {"Content-Type": content}
        async with self._session.request(verb, url, params=query, data=data, headers=headers) as response:
            answer: Object = orjson.loads(await response.read() or b"{}")
        if response.status >= 400:
            raise RefusedError(response.status, str(answer.get("message", answer)))
        return answer


def _excerpt(obj: Object | None) -> str:
    """What a person needs of an object to see why it is not as expected."""
    if obj is None:
        return "it does not exist"
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    shown = {"metadata": meta, "status": obj.get("status")} if obj.get("status") else {**obj, "metadata": meta}
    return json.dumps(shown, indent=1)[:6000]


class Mirror:
    """What exists of some kinds, kept current by watches; knows when each object was last (re)made.

    Use as ``async with Mirror(cluster, kinds, selector)``: entering waits for the first list of every kind.
    """

    def __init__(
        self,
        cluster: Cluster,
        kinds: tuple[str, ...] = CHILD_KINDS,
        selector: str = STACK_LABEL,
        namespace: str = "",
    ) -> None:
        self._cluster, self._kinds, self._selector, self._namespace = cluster, kinds, selector, namespace
        self.objects: dict[Ref, Object] = {}
        self.created_at: dict[Ref, float] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        ready = [asyncio.Event() for _ in self._kinds]
        self._tasks = [asyncio.create_task(self._follow(*pair)) for pair in zip(self._kinds, ready, strict=True)]
        await asyncio.gather(*(event.wait() for event in ready))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, kind: str, ready: asyncio.Event) -> None:
        query = {"labelSelector": self._selector} if self._selector else {}
        while True:
            lists = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
            async for event, obj in self._cluster.watch(kind, self._namespace, **query, **lists):
                if event == "BOOKMARK":
                    ready.set()
                elif event == "ERROR":
                    break
                else:
                    self._take(event, ref_of(kind, obj), obj)

    def _take(self, event: str, ref: Ref, obj: Object) -> None:
        if event == "DELETED":
            self.objects.pop(ref, None)
        else:
            if ref not in self.objects or self.objects[ref]["metadata"]["uid"] != obj["metadata"]["uid"]:
                self.created_at[ref] = time.perf_counter()
            self.objects[ref] = obj
        self._changed.set()

    async def until(
        self, holds: Callable[[Mapping[Ref, Object]], bool], what: str, timeout_seconds: float = 60
    ) -> None:
        """Wait until a condition holds for everything that is known. Raises AssertionError."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not holds(self.objects):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not {what} after {timeout_seconds:.0f} s") from None

    async def still(self, seconds: float) -> None:
        """Wait until nothing of all this has changed for so long."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def again(self, ref: Ref, not_uid: str, timeout_seconds: float = 60) -> float:
        """Wait until the object exists under another uid; when that was seen (`time.perf_counter`)."""

        def there(objects: Mapping[Ref, Object]) -> bool:
            return ref in objects and objects[ref]["metadata"]["uid"] != not_uid

        await self.until(there, f"{ref} there again", timeout_seconds)
        return self.created_at[ref]
