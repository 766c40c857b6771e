"""Vendors' documents with something wrong in them, as text: what no JSON library would write is in it too."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import strategies as st

SECRET: Final = "qzx-7-heart-of-anna"
"""A value of a person: no reason of a refusal may show it."""

RAW: Final = (
    "NaN",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "-0",
    "9" * 400,
    "9" * 5000,
    "-" + "1" * 30,
    "01",
    "0x1F",
    "1.",
    "tru",
    "",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u0000"',
    '"a\\u0000b"',
    '"' + SECRET + '\\u0000"',
    '"unterminated',
    "[" * 300 + "]" * 300,
    "[" * 50_000 + "]" * 50_000,
    '{"a":' * 300 + "1" + "}" * 300,
    '{"":{"":[]}}',
)
"""Fragments in the place of a value: some are JSON, some are not."""

TIMES: Final = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01 00:00:00 +1400",
    "9999-12-31T23:59:59.999999-14:00",
    "9999-12-31 23:59:59 -1400",
    "1899-12-31T23:59:59Z",
    "2200-12-31T23:59:59-23:59",
    "2201-01-01T00:00:00Z",
    "2025-03-01T07:30:00",
    "2025-03-01T07:30:00+00:00:30",
    "2025-03-01 07:30:00 +01:00:30",
    "2025-03-01T07:30:00.123456789+01:00",
    "2025-03-01T24:00:00Z",
    "2025-02-30T00:00:00Z",
    "2025-03-01T07:30:00+24:00",
    "2025-03-01 12:30:00 AM +0100",
    "2025-03-01 7:30:00\u202fPM +0100",
    "2025-W09-6",
    "20250301T073000Z",
    "2025-03-01",
    "\u0662\u0660\u0662\u0665-03-01",
)
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    5e-324,
    1e308,
    -1e308,
    1.7976931348623157e308,
    2**53 + 1,
    2**63,
    10**15,
    "",
    " ",
    "1e999",
    "nan",
    "1_000",
    "\u0663",
    "9" * 5000,
    "\x00",
    SECRET,
    SECRET * 200,
    "\U0001f4f1" * 130,
    '"\\' * 100,
    "\u202e\u0000\u2028",
    "../../etc/passwd",
    "deleted",
    "count/min",
    "hr",
    "km",
    [],
    {},
    [None] * 3,
    [[]],
    [{}],
)


def values() -> st.SearchStrategy[Any]:
    """What may stand in the place of a value; a `Raw` stands for its text."""
    known = st.sampled_from([*map(Raw, RAW), *TIMES, *VALUES]).map(copy.deepcopy)
    return known | st.integers() | st.floats() | st.text(max_size=12)


class Raw:
    """Text that takes the place of a value as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __deepcopy__(self, _memo: object) -> Raw:
        return self

    def __repr__(self) -> str:
        return f"Raw({self.text[:40]!r}, {len(self.text)} characters)"


@st.composite
def mutated(draw: st.DrawFn, document: Any, most: int = 4) -> bytes:
    """The document after some mutations: values replaced, dropped, doubled, or given twice under one name."""
    found = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(found))
        place, key = places[draw(st.integers(0, len(places) - 1))]
        _mutate(draw, place, key)
    return text(found[0]).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys, the outermost first."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _mutate(draw: st.DrawFn, place: Any, key: Any) -> None:
    match draw(st.sampled_from(("replace", "replace", "replace", "drop", "double", "twice", "empty", "add"))):
        case "drop" if isinstance(place, dict):
            del place[key]
        case "double" if isinstance(place, list):
            place.insert(key, copy.deepcopy(place[key]))
        case "empty" if isinstance(place[key], list | dict):
            place[key].clear()
        case "add" if isinstance(place[key], dict):
            place[key][draw(st.text(max_size=12))] = draw(values())
        case "twice" if isinstance(place, dict):
            # The name is taken by what stands there already; what follows is written after it.
            place[key] = Raw(f"{text(place[key])},{json.dumps(key)}:{text(draw(values()))}")
        case _:
            place[key] = draw(values())


def text(value: Any) -> str:
    """As JSON, with what is not JSON as it is."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(name))}:{text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    if isinstance(value, int) and abs(value) > 10**4000:
        return hex(value)
    return json.dumps(value)
