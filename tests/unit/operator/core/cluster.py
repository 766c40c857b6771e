"""A cluster in memory: an API server with managedFields, uids and versions, and controllers that do as they are told.

Only what the operator relies on is there, and only as exactly as it relies on it; `tests/api` runs the same ways on a
real API server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from auren_operator.api import names
from auren_operator.kube.client import Answer, Kube, Refused
from auren_operator.kube.kinds import EVENT, LEASE, STACK, WATCHED, Kind
from tests.unit.operator.core.ownership import Path, drop, fields_v1, get, paths_of, put

Manager = tuple[str, str, str]
"""Name, operation (Apply or Update) and subresource of a manager."""

KINDS: Final = {kind.plural: kind for kind in (*WATCHED.values(), STACK, LEASE, EVENT)}
SCALED: Final = {"Deployment", "StatefulSet"}


@dataclass(frozen=True)
class Call:
    """One request that reached the API server."""

    method: str
    kind: str
    name: str
    manager: str
    body: Mapping[str, Any]
    subresource: str = ""

    def __str__(self) -> str:
        """As short as an assertion wants it."""
        return f"{self.method} {self.kind} {self.name}" + (f" as {self.manager}" if self.manager else "")


@dataclass
class Stored:
    """An object and who owns which of its fields."""

    obj: dict[str, Any]
    managers: dict[Manager, set[Path]] = field(default_factory=dict)


Rule = Callable[[Call], Refused | Exception | None]
"""What the API server has against a call; None lets it pass."""

Event = tuple[str, str, dict[str, Any]]
"""What a watch brings: ADDED, MODIFIED or DELETED, the kind, the object."""


class FakeKube(Kube):
    """`Kube` on a cluster in memory. ``calls`` are the requests so far, ``events`` what watches have not read yet."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Stored] = {}
        self.calls: list[Call] = []
        self.events: list[Event] = []
        self.rules: list[Rule] = []
        self._version = 100
        self._uids = 0

    # -- what tests do -------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str = "people") -> dict[str, Any]:
        """One object as the API server would send it."""
        return self._seen(self.objects[kind, namespace, name])

    def has(self, kind: str, name: str, namespace: str = "people") -> bool:
        """Whether it exists."""
        return (kind, namespace, name) in self.objects

    def of(self, kind: str, namespace: str = "people") -> dict[str, dict[str, Any]]:
        """All objects of a kind, by name."""
        found = [(key, stored) for key, stored in self.objects.items() if key[:2] == (kind, namespace)]
        return {key[2]: self._seen(stored) for key, stored in found}

    def writes(self) -> list[str]:
        """The requests that changed or tried to change something, in short."""
        return [str(call) for call in self.calls if call.method != "GET"]

    @property
    def changes(self) -> int:
        """How many changes there have been, whoever made them."""
        return self._version

    def put(self, kind: str, obj: Mapping[str, Any], manager: str = "kubectl-create") -> dict[str, Any]:
        """Somebody else makes an object."""
        return self._post(KINDS_BY_NAME[kind], _copy(obj), manager)

    def edit(
        self, kind: str, name: str, change: Callable[[dict[str, Any]], None], manager: str = "kubectl-edit"
    ) -> dict[str, Any]:
        """Somebody else changes an object."""
        stored = self.objects[kind, "people", name]
        new = _copy(stored.obj)
        change(new)
        return self._updated(kind, stored, new, (manager, "Update", ""))

    def set_status(self, kind: str, name: str, status: Mapping[str, Any]) -> None:
        """A controller reports."""
        stored = self.objects[kind, "people", name]
        self._store(kind, stored, {**stored.obj, "status": dict(status)}, stored.managers)

    def remove(self, kind: str, name: str, namespace: str = "people") -> dict[str, Any]:
        """Somebody else deletes an object, and it is gone at once."""
        stored = self.objects.pop((kind, namespace, name))
        stored.obj["metadata"]["resourceVersion"] = self._next_version()
        self.events.append(("DELETED", kind, self._seen(stored)))
        return self._seen(stored)

    def owners_of(self, kind: str, name: str, path: Path) -> set[str]:
        """The managers that own a field."""
        stored = self.objects[kind, "people", name]
        return {manager[0] for manager, paths in stored.managers.items() if path in paths}

    # -- what the operator's client does ---------------------------------------------------------------------------

    async def close(self) -> None:
        """Nothing is open."""

    async def _call(
        self,
        method: str,
        kind: Kind,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "",
        accept: str = "",
    ) -> Answer:
        namespace, name, subresource = _parts(kind, path)
        query, body = query or {}, _copy(body or {})
        target = name or body.get("metadata", {}).get("name", "")
        call = Call(method, kind.name, target, query.get("fieldManager", ""), body, subresource)
        self.calls.append(call)
        for rule in self.rules:
            if error := rule(call):
                raise error
        answer = self._serve(call, kind, namespace, target, query)
        return _metadata_of(answer) if "PartialObjectMetadata;" in accept else answer

    def _serve(self, call: Call, kind: Kind, namespace: str, name: str, query: Mapping[str, str]) -> Answer:
        stored = self.objects.get((kind.name, namespace, name))
        body = dict(call.body)
        match call.method:
            case "GET" if not name:
                return self._list(kind, namespace, query)
            case "POST" if "dryRun" in query:
                return body
            case "POST":
                return self._post(kind, body, call.manager)
            case "PATCH":
                return self._apply(kind, stored, body, (call.manager, "Apply", call.subresource))
        if stored is None:
            raise Refused(404, "NotFound", f'{kind.plural} "{name}" not found')
        match call.method:
            case "GET":
                return self._seen(stored)
            case "PUT":
                if body["metadata"]["resourceVersion"] != stored.obj["metadata"]["resourceVersion"]:
                    raise Refused(409, "Conflict", "the object has been modified")
                return self._updated(kind.name, stored, body, ("put", "Update", ""))
            case "DELETE":
                return self._delete(kind, stored, body)
        raise AssertionError(call)

    def _list(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> Answer:
        selector = query.get("labelSelector", "")
        label, without = selector.removeprefix("!"), selector.startswith("!")
        items = [
            _metadata_of(self._seen(stored))
            for (found, where, _), stored in self.objects.items()
            if found == kind.name
            and (not namespace or where == namespace)
            and (not label or (label in stored.obj["metadata"].get("labels", {})) != without)
        ]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": items}

    def _post(self, kind: Kind, body: dict[str, Any], manager: str) -> Answer:
        meta = body["metadata"]
        if (kind.name, meta["namespace"], meta["name"]) in self.objects:
            raise Refused(409, "AlreadyExists", f'{kind.plural} "{meta["name"]}" already exists')
        stored = Stored(body, {(manager, "Update", ""): paths_of(body)})
        return self._created(kind, stored)

    def _apply(self, kind: Kind, stored: Stored | None, body: dict[str, Any], manager: Manager) -> Answer:
        uid = body["metadata"].pop("uid", None)
        if stored is None:
            if uid is not None or manager[2]:
                raise Refused(409, "Conflict", f"uid mismatch: the provided object specified uid {uid}, none exists")
            if kind.name in SCALED and "template" not in body.get("spec", {}):
                raise Refused(422, "Invalid", f"{kind.name} is invalid: spec.template: Required value")
            return self._created(kind, Stored(body, {manager: paths_of(body)}))
        if uid is not None and uid != stored.obj["metadata"]["uid"]:
            raise Refused(409, "Conflict", f"uid mismatch: the provided object specified uid {uid}")
        if manager[2]:  # a subresource: the status of a stack
            return self._updated(kind.name, stored, {**stored.obj, "status": body["status"]}, None)
        _forbid_immutable(kind, stored.obj, body)
        return self._merged(kind, stored, body, manager)

    def _merged(self, kind: Kind, stored: Stored, body: dict[str, Any], manager: Manager) -> Answer:
        new, owners = _copy(stored.obj), {who: set(paths) for who, paths in stored.managers.items()}
        wanted, before = paths_of(body), owners.pop(manager, set())
        for path in sorted(before - wanted):  # an item's own "." comes before the name by which it is found
            if not any(path in paths for paths in owners.values()):
                drop(new, path)
        for path in sorted(wanted):
            value = get(body, path)
            if path[-1] != "." and get(new, path) != value:
                for paths in owners.values():
                    paths.discard(path)
            put(new, path, value)
        owners[manager] = wanted
        _default(kind.name, new)
        return self._store(kind.name, stored, new, {who: paths for who, paths in owners.items() if paths})

    def _updated(self, kind: str, stored: Stored, new: dict[str, Any], manager: Manager | None) -> Answer:
        before, after = paths_of(stored.obj), paths_of(new)
        changed = {path for path in after if path[-1] != "." and get(stored.obj, path) != get(new, path)}
        owners = {who: paths - changed - (before - after) for who, paths in stored.managers.items()}
        if manager is not None and changed:
            owners[manager] = owners.get(manager, set()) | changed
        return self._store(kind, stored, new, {who: paths for who, paths in owners.items() if paths})

    def _store(self, kind: str, stored: Stored, new: dict[str, Any], owners: dict[Manager, set[Path]]) -> Answer:
        if new == stored.obj and owners == stored.managers:
            return self._seen(stored)  # a write that changes nothing is no write
        if new.get("spec") != stored.obj.get("spec"):
            new["metadata"]["generation"] = stored.obj["metadata"].get("generation", 0) + 1
        new["metadata"] = new["metadata"] | {"resourceVersion": self._next_version()}
        stored.obj, stored.managers = new, owners
        self.events.append(("MODIFIED", kind, self._seen(stored)))
        return self._seen(stored)

    def _created(self, kind: Kind, stored: Stored) -> Answer:
        meta = stored.obj["metadata"]
        self._uids += 1
        meta |= {"uid": f"uid-{self._uids}", "generation": 1, "resourceVersion": self._next_version()}
        _default(kind.name, stored.obj)
        self.objects[kind.name, meta["namespace"], meta["name"]] = stored
        self.events.append(("ADDED", kind.name, self._seen(stored)))
        return self._seen(stored)

    def _delete(self, kind: Kind, stored: Stored, options: Mapping[str, Any]) -> Answer:
        meta = stored.obj["metadata"]
        if options["preconditions"]["uid"] != meta["uid"]:
            raise Refused(409, "Conflict", "the uid in the precondition does not match")
        assert options["propagationPolicy"] in {"Background", "Orphan"}
        self.remove(kind.name, meta["name"], meta["namespace"])
        return {}

    def _seen(self, stored: Stored) -> dict[str, Any]:
        obj = _copy(stored.obj)
        obj["metadata"]["managedFields"] = [
            {
                "manager": name,
                "operation": operation,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields_v1(paths),
                **({"subresource": subresource} if subresource else {}),
            }
            for (name, operation, subresource), paths in stored.managers.items()
        ]
        return obj

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)


KINDS_BY_NAME: Final = {kind.name: kind for kind in KINDS.values()}


def _copy(obj: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON carries it."""
    copied: dict[str, Any] = orjson.loads(orjson.dumps(obj))
    return copied


def _parts(kind: Kind, path: str) -> tuple[str, str, str]:
    """Namespace, name and subresource of a path."""
    head, _, tail = path.partition(f"/{kind.plural}")
    namespace = head.partition("/namespaces/")[2]
    name, _, subresource = tail.removeprefix("/").partition("/")
    return namespace, name, subresource


def _metadata_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": obj["metadata"]}


def _default(kind: str, obj: dict[str, Any]) -> None:
    if kind in SCALED:
        obj["spec"].setdefault("replicas", 1)


def _forbid_immutable(kind: Kind, old: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    if kind.name == "StatefulSet" and "volumeClaimTemplates" in body.get("spec", {}):
        for name in ("volumeClaimTemplates", "serviceName", "podManagementPolicy", "selector"):
            if body["spec"][name] != old["spec"][name]:
                message = (
                    f'StatefulSet.apps "{old["metadata"]["name"]}" is invalid: spec: Forbidden: updates to '
                    "statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
                    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
                )
                raise Refused(422, "Invalid", message)


def our_stack(spec: Mapping[str, Any] | None = None, name: str = "demo") -> dict[str, Any]:
    """An AurenStack as a person writes it."""
    meta = {"name": name, "namespace": "people"}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": meta, "spec": dict(spec or {})}
