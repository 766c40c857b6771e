"""The red-team set through NEUROS' agent and graph: a model says the hostile things, another repeats all it is told."""

import pytest

from tests.unit.services.red_team import Case, cases
from tests.unit.services.red_team.through_agent import Parrot, hostile, through

CASES = cases()
NAMES = [f"{case.category}/{case.id}" for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
async def test_a_case_holds_when_the_model_says_the_hostile_things(case: Case) -> None:
    found = await hostile(case)
    assert found.wrong == ()
    assert found.asked == int(case.emergency is None and bool(case.reply)) or not case.reply


@pytest.mark.parametrize("case", CASES, ids=NAMES)
async def test_a_case_holds_when_the_model_repeats_all_that_it_is_told(case: Case) -> None:
    assert (await through(case, Parrot())).wrong == ()
