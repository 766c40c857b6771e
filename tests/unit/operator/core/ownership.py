"""Who owns which field: as much of the API server's managedFields as the operator relies on.

Fields are sets of paths, such as ``("f:spec", "f:replicas")``. Lists whose items have a name (containers, variables,
volumes) and owner references (by uid) are merged by item, every other list is one value. Source of the format:
https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

Path = tuple[str, ...]

IDENTITY: Final = {
    ("f:apiVersion",),
    ("f:kind",),
    *(("f:metadata", f"f:{key}") for key in ("name", "namespace", "uid", "resourceVersion", "generation")),
    ("f:metadata", "f:creationTimestamp"),
    ("f:metadata", "f:managedFields"),
    ("f:metadata", "f:deletionTimestamp"),
}
"""What the API server itself says of an object; nobody owns it."""


def item_key(field: str, item: Any) -> str:
    """How managedFields name one item of a list that is merged by item; empty for any other list."""
    by = "uid" if field == "f:ownerReferences" else "name"
    if not isinstance(item, dict) or by not in item:
        return ""
    return f"k:{orjson.dumps({by: item[by]}).decode()}"


def paths_of(value: Any) -> set[Path]:
    """Every field that an object or an apply sets."""
    return {path for path in _walk(value, ()) if path not in IDENTITY and path[:2] not in IDENTITY}


def _walk(value: Any, at: Path) -> Iterable[Path]:
    if at and at[-2:-1] == ("f:ownerReferences",):
        yield at
    elif isinstance(value, dict) and value:
        if at and at[-1].startswith("k:"):
            yield (*at, ".")
        for key, inner in value.items():
            yield from _walk(inner, (*at, f"f:{key}"))
    elif isinstance(value, list) and value and all(item_key(at[-1], item) for item in value):
        for item in value:
            yield from _walk(item, (*at, item_key(at[-1], item)))
    elif not (isinstance(value, list) and at[-1] == "f:ownerReferences"):
        yield at


def fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """A set of paths as managedFields write it."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        at = root
        for step in path:
            at = at.setdefault(step, {})
    return root


def get(obj: Any, path: Path) -> Any:
    """The value at a path; None where there is none."""
    at = obj
    for i, step in enumerate(path):
        if step == ".":
            return True
        if step.startswith("k:"):
            at = next((item for item in at or () if item_key(path[i - 1], item) == step), None)
        else:
            at = at.get(step[2:]) if isinstance(at, dict) else None
        if at is None:
            return None
    return at


def put(obj: dict[str, Any], path: Path, value: Any) -> None:
    """Set the value at a path; what is on the way comes into being."""
    at: Any = obj
    for i, step in enumerate(path):
        if step == ".":
            return
        following = path[i + 1] if i + 1 < len(path) else None
        empty: Any = [] if following is not None and following.startswith("k:") else {}
        if step.startswith("k:"):
            found = next((item for item in at if item_key(path[i - 1], item) == step), None)
            if found is None:
                found = dict(orjson.loads(step[2:]))
                at.append(found)
            if following is None:
                found.clear()
                found.update(value)
            at = found
        elif following is None:
            at[step[2:]] = value
        else:
            at = at.setdefault(step[2:], empty)


def drop(obj: dict[str, Any], path: Path) -> None:
    """Remove what stands at a path; nothing when nothing does."""
    *way, last = path
    if last == ".":
        way, last = way[:-1], way[-1]
    parent = get(obj, tuple(way)) if way else obj
    if isinstance(parent, list):
        parent[:] = [item for item in parent if item_key(way[-1], item) != last]
    elif isinstance(parent, dict):
        parent.pop(last[2:], None)
