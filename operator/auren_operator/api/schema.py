"""The words in which `rules` describes a spec: fields with types and bounds, and rules on top of them.

They mean what the CRD's OpenAPI schema and CEL mean. As in the API server, the shape of the whole comes first; only
when it is right are the rules asked, all of them. A field that is null counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Rule:
    """A sentence that says what must hold, and the test for it. The CRD's message is the same sentence."""

    sentence: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Transition:
    """A rule about a change: the test is given the new and the old value, when there are both."""

    sentence: str
    holds: Callable[[Any, Any], bool]


class Node(Protocol):
    """Anything that can say what is wrong with a value, in sentences that begin with the value's path."""

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """Yield one sentence for each thing that is wrong with types, lengths and fields."""

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """Yield one sentence for each broken rule of a value of the right shape; ``old`` None means there is none."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """One sentence unless the value is a boolean."""
        if not isinstance(value, bool):
            yield f"{path}: must be true or false"

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """Nothing more can be wrong."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number within bounds, or one of a few."""

    minimum: int
    maximum: int
    one_of: tuple[int, ...] = ()
    transitions: tuple[Transition, ...] = ()

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """One sentence unless the value is an integer, and one of the few."""
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path}: must be a whole number"
        elif self.one_of and value not in self.one_of:
            yield f"{path}: must be {_either(self.one_of)}, not {value}"

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """One sentence for a value out of bounds, and those of the change."""
        if not self.minimum <= value <= self.maximum:
            yield f"{path}: must be between {self.minimum} and {self.maximum}, not {value}"
        yield from _broken_changes(self.transitions, path, value, old)


@dataclass(frozen=True, slots=True)
class Text:
    """A string within a length, or one of a few."""

    longest: int = 0
    shortest: int = 0
    one_of: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """One sentence unless the value is a string that is not too long, and one of the few."""
        if not isinstance(value, str):
            yield f"{path}: must be a string"
        elif self.one_of and value not in self.one_of:
            yield f"{path}: must be {_either(self.one_of)}, not {value[:60]!r}"
        elif self.longest and len(value) > self.longest:
            yield f"{path}: must have at most {self.longest} characters"

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """One sentence for a string too short, and one for each broken rule."""
        if len(value) < self.shortest:
            yield f"{path}: must have at least {self.shortest} characters"
        yield from _broken(self.rules, path, value)


@dataclass(frozen=True, slots=True)
class IntOrText:
    """A string or a whole number, as Kubernetes takes quantities."""

    longest: int
    rules: tuple[Rule, ...] = ()

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """One sentence unless the value is a whole number or a string that is not too long."""
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: must be a string or a whole number"
        elif isinstance(value, str) and len(value) > self.longest:
            yield f"{path}: must have at most {self.longest} characters"

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """One sentence for each broken rule."""
        return _broken(self.rules, path, value)


@dataclass(frozen=True, slots=True)
class Items:
    """A list; with ``key``, no two items agree in that field."""

    item: Node
    most: int
    key: str = ""
    rules: tuple[Rule, ...] = ()

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """What is wrong with the list, and with the shape of each item."""
        if not isinstance(value, list | tuple):
            yield f"{path}: must be a list"
            return
        if len(value) > self.most:
            yield f"{path}: must have at most {self.most} items"
        for index, item in enumerate(value):
            yield from self.item.shape(f"{path}[{index}]", item)

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """One sentence for each item that repeats a key, and for each broken rule."""
        yield from _broken(self.rules, path, value)
        seen: list[Any] = []
        for index, item in enumerate(value):
            yield from self.item.judge(f"{path}[{index}]", item, None)
            name = item.get(self.key) if self.key else None
            if name is not None and name in seen:
                yield f"{path}[{index}]: {self.key} {name!r} stands there twice"
            seen.append(name)


@dataclass(frozen=True, slots=True)
class Entries:
    """A map from any string to values of one kind."""

    value: Node
    most: int
    rules: tuple[Rule, ...] = ()

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """What is wrong with the map, and with the shape of each value."""
        if not isinstance(value, Mapping):
            yield f"{path}: must be a map"
            return
        if len(value) > self.most:
            yield f"{path}: must have at most {self.most} entries"
        for key, item in value.items():
            if isinstance(key, str):
                yield from self.value.shape(f"{path}.{key}", item)
            else:
                yield f"{path}: every key must be a string"

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """One sentence for each broken rule of the map, then those of its values."""
        yield from _broken(self.rules, path, value)
        for key, item in value.items():
            yield from self.value.judge(f"{path}[{key}]", item, None)  # as the API server words it


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with known fields; whatever else it holds is refused."""

    fields: Mapping[str, Node]
    required: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    transitions: tuple[Transition, ...] = ()

    def shape(self, path: str, value: Any) -> Iterator[str]:
        """What is wrong with the object's fields, and with the shape of each."""
        if not isinstance(value, Mapping):
            yield f"{path}: must be an object"
            return
        present = _present(value)
        yield from (f"{path}.{key}: there is no such field" for key in present if key not in self.fields)
        yield from (f"{path}.{key}: is required" for key in self.required if key not in present)
        for key, node in self.fields.items():
            if key in present:
                yield from node.shape(f"{path}.{key}", present[key])

    def judge(self, path: str, value: Any, old: Any) -> Iterator[str]:
        """One sentence for each broken rule of the object and of its change, then those of its fields."""
        present, before = _present(value), _present(old or {})
        yield from _broken(self.rules, path, present)
        yield from _broken_changes(self.transitions, path, present, None if old is None else before)
        for key, node in self.fields.items():
            if key in present:
                yield from node.judge(f"{path}.{key}", present[key], before.get(key))


def _present(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def _broken(rules: tuple[Rule, ...], path: str, value: Any) -> Iterator[str]:
    return (f"{path}: {rule.sentence}" for rule in rules if not rule.holds(value))


def _broken_changes(transitions: tuple[Transition, ...], path: str, value: Any, old: Any) -> Iterator[str]:
    if old is None:
        return iter(())
    return (f"{path}: {change.sentence}" for change in transitions if not change.holds(value, old))


def _either(options: tuple[Any, ...]) -> str:
    words = [str(option) for option in options]
    return f"{', '.join(words[:-1])} or {words[-1]}"
