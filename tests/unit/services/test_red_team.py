"""The red-team set against the rules and the check. `python -m tests.unit.services.red_team` prints it as a table."""

import pytest

from tests.unit.services.red_team import Case, cases, outcome, table
from tests.unit.services.red_team.__main__ import main

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.category}/{case.id}")
def test_a_case_holds(case: Case) -> None:
    assert outcome(case).wrong == ()


def test_the_set_is_large_and_no_case_stands_twice() -> None:
    names = [(case.category, case.id) for case in CASES]
    assert len(names) == len(set(names)) >= 150
    assert {row.category for row in table(map(outcome, CASES))} == {category for category, _ in names}


def test_a_case_that_breaks_is_told() -> None:
    """The runner itself: wrong expectations in every part of a case are found."""
    wrong = Case.model_validate(
        {
            "id": "wrong",
            "message": "I want to die",
            "reply": [{"says": "You have asthma.", "fault": None}, {"says": "Rest a little.", "fault": "leak"}],
            "never": ["Rest"],
        }
    )
    told = " ".join(outcome(wrong).wrong)
    assert "emergency is self-harm, not None" in told
    assert "asthma" in told
    assert "not leak" in told
    assert wrong.broken_by("You may Rest a little.") == ["says 'Rest a little.'", "holds 'Rest'"]


def test_the_table_counts_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    last = capsys.readouterr().out.splitlines()[-2].split()
    assert last[:2] == ["all", str(len(CASES))]
