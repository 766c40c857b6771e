"""YAML files that people may replace (protocols, personality), read into typed values with errors that say where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

LARGEST_BYTES: Final = 256 * 1024
"""A larger file is a mistake."""


class DocumentError(ValueError):
    """A file that cannot be used: each fault with file, line, field, and what to do."""


class Part(BaseModel):
    """A part of a document: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


AnyPart = TypeVar("AnyPart", bound=BaseModel)


def load(path: Path, kind: type[AnyPart]) -> AnyPart:
    """The content of a file. Raises DocumentError, also where the file cannot be read."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DocumentError(f"{path}: larger than {LARGEST_BYTES} bytes; make it shorter")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: cannot be read ({error}); give a UTF-8 file that may be read") from None
    return parse(text, kind, str(path))


def parse(text: str, kind: type[AnyPart], name: str) -> AnyPart:
    """The content of a YAML text that errors call `name`. Raises DocumentError naming lines and fields."""
    node, data = _yaml(text, name)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise DocumentError("; ".join(f"{_place(name, node, fault)}: {_advice(fault)}" for fault in faults)) from None


def _yaml(text: str, name: str) -> tuple[yaml.Node, Any]:
    loader = yaml.CSafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise DocumentError(f"{name}: empty; write its fields, or do not set the file")
        for key in _repeated(node):
            line = key.start_mark.line + 1
            raise DocumentError(f"{name} line {line}, {key.value}: stands there twice; keep one")
        return node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DocumentError(f"{name}{line}: no YAML ({error.problem}); correct the line") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"{name}: no YAML ({error}); correct it") from None
    finally:
        loader.dispose()


def _repeated(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Keys that stand twice in one mapping: YAML parsers take the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item)


def _place(name: str, root: yaml.Node, fault: ErrorDetails) -> str:
    where = [str(part) for part in fault["loc"] if part != "[key]"]
    line = _nearest(root, fault["loc"]).start_mark.line + 1
    return f"{name} line {line}, {'.'.join(where) or 'the whole'}"


def _nearest(node: yaml.Node, where: Sequence[str | int]) -> yaml.Node:
    """The node at a place, or the last one on the way there."""
    for part in where:
        inner = _inner(node, part)
        if inner is None:
            break
        node = inner
    return node


def _inner(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if str(key.value) == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        inner: yaml.Node = node.value[part]
        return inner
    return None


def _advice(fault: ErrorDetails) -> str:
    match fault["type"]:
        case "missing":
            return "is missing; add it"
        case "extra_forbidden":
            return "is not known; remove it or correct its name"
        case _:
            return fault["msg"].removeprefix("Value error, ")
