"""The rules as sentences: the table of good and bad specs, and whether every rule stands in the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auren_operator.api import schema
from auren_operator.api.rules import NAME_SENTENCE, SPEC, name_violations, violations
from tests.unit.operator.spec_cases import BAD_NAMES, CASES, GOOD_NAMES, Case


@pytest.mark.parametrize("case", CASES, ids=str)
def test_says_what_is_wrong_and_nothing_else(case: Case) -> None:
    found = violations(case.spec, case.old)
    misshapen = [sentence for sentence in found if sentence not in case.broken]
    assert sorted(set(found) - set(misshapen)) == sorted(case.broken)
    assert sorted(sentence.split(": ")[0] for sentence in misshapen) == sorted(case.misshapen)


@pytest.mark.parametrize("case", [case for case in CASES if case.old is not None], ids=str)
def test_what_a_change_comes_from_is_good(case: Case) -> None:
    assert violations(case.old) == []


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_names(name: str) -> None:
    assert name_violations(name) == []


@pytest.mark.parametrize("name", [*BAD_NAMES, "", "A", "a\n", None, 3])
def test_bad_names(name: object) -> None:
    assert name_violations(name) == [NAME_SENTENCE]


def test_every_rule_stands_in_the_table() -> None:
    told = {sentence.split(": ", 1)[1] for case in CASES for sentence in case.broken}
    assert set(sentences(SPEC)) == told


def test_an_unknown_field_is_named_with_its_path() -> None:
    assert violations({"kafka": {"storage": {"sise": "1Gi"}}}) == ["spec.kafka.storage.sise: there is no such field"]


def test_null_counts_as_absent() -> None:
    assert violations({"neuros": {"autoscaling": None, "replicas": 2}, "kafka": None, "size": None}) == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries({}, optional=dict.fromkeys(SPEC.fields, ANYTHING))


@given(spec=ANYTHING | NEARLY, old=NEARLY | st.none())
def test_garbage_is_answered_never_raised(spec: object, old: Mapping[str, Any] | None) -> None:
    assert all(sentence.startswith("spec") for sentence in violations(spec, old if not violations(old or {}) else None))


def sentences(node: object) -> Iterator[str]:
    """Every rule's sentence in a tree of `schema` nodes."""
    for rule in (*getattr(node, "rules", ()), *getattr(node, "transitions", ())):
        yield rule.sentence
    if isinstance(node, schema.Fields):
        for child in node.fields.values():
            yield from sentences(child)
    elif isinstance(node, schema.Items):
        yield from sentences(node.item)
    elif isinstance(node, schema.Entries):
        yield from sentences(node.value)
