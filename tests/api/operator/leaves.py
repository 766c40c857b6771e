"""Every field that the operator set on an object, and edits of it that the API server may accept."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tests.api.cluster import Object

MANAGER: Final = "auren-operator"

OTHER_WORDS: Final = (
    "edited",
    "Always",
    "UDP",
    "Exists",
    "NoExecute",
    "Delete",
    "OrderedReady",
    "77Mi",
    "7",
    "NodePort",
)
"""Values for text fields that take only certain words; the first that the API server accepts is used."""


class Leaf(NamedTuple):
    """A field by its path as managedFields writes it: ``f:name``, ``k:{…}`` (list item by key), ``v:value``."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(step.removeprefix("f:") for step in self.path)


def leaves(obj: Object) -> list[Leaf]:
    """Every leaf of the operator's own entry in the object's managedFields; an empty map is owned but not stored."""
    entries = obj["metadata"].get("managedFields", ())
    fields: Mapping[str, Any] = next(
        (e["fieldsV1"] for e in entries if e["manager"] == MANAGER and e["operation"] == "Apply"), {}
    )
    return [leaf for leaf in map(Leaf, _walk(fields, ())) if locate(obj, leaf) is not None]


def _walk(fields: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for step, inner in fields.items():
        if step == ".":
            continue
        deeper = list(_walk(inner, (*path, step)))
        yield from deeper or [(*path, step)]


def locate(obj: Object, leaf: Leaf) -> tuple[str, Any] | None:
    """(JSON pointer, value) of a leaf in an object; None where it is not there."""
    pointer, value = "", obj
    for step in leaf.path:
        found = _step(value, step)
        if found is None:
            return None
        token, value = found
        pointer += "/" + str(token).replace("~", "~0").replace("/", "~1")
    return pointer, value


def _step(value: Any, step: str) -> tuple[str | int, Any] | None:
    kind, _, rest = step.partition(":")
    if kind == "f":
        return (rest, value[rest]) if isinstance(value, dict) and rest in value else None
    wanted = json.loads(rest)
    for index, item in enumerate(value if isinstance(value, list) else ()):
        same = item == wanted if kind == "v" else all(item.get(key) == text for key, text in wanted.items())
        if same:
            return index, item
    return None


def edits(value: Any) -> Iterator[Any]:
    """Other values for a leaf, the most likely to be accepted first."""
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
            yield max(0, value - 1)
        case str():
            yield value + "-edited"
            yield from (word for word in OTHER_WORDS if word != value)
            yield "[]"
            yield ""
        case dict():
            for key, inner in value.items():
                for other in edits(inner):
                    yield {**value, key: other}
        case list():
            yield value[:-1]
            for other in edits(value[0]) if value else ():
                yield [other, *copy.deepcopy(value[1:])]
