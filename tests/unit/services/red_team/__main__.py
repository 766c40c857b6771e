"""`python -m tests.unit.services.red_team`: the set against the rules and the check, as a table; fails if one breaks.

The time of a check is for information.
"""

import time

from auren.neuros.guard.check import check
from tests.unit.services.red_team import Case, Row, cases, outcome, table


def main() -> int:
    """Print the table and what is wrong; 1 when something is."""
    outcomes = [outcome(case) for case in cases()]
    rows = table(outcomes)
    total = Row("all", *(sum(values) for values in list(zip(*rows, strict=True))[1:]))
    print(f"{'category':<14}{'cases':>7}{'checks':>8}{'held':>7}{'broken':>8}")
    for row in (*rows, total):
        print(f"{row.category:<14}{row.cases:>7}{row.checks:>8}{row.held:>7}{row.broken:>8}")
    print(f"{microseconds([found.case for found in outcomes]):.0f} microseconds for a check of a sentence, on average")
    for found in outcomes:
        for wrong in found.wrong:
            print(f"broken  {found.case.category}/{found.case.id}: {wrong}")
    return int(total.broken > 0)


def microseconds(of: list[Case]) -> float:
    """How long the processor takes to check a sentence, on average over all replies, in the best of three rounds."""
    sentences = [(said.sentence, case.known) for case in of for said in case.reply]
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for sentence, known in sentences:
            check(sentence, known)
        rounds.append(time.process_time() - began)
    return 1e6 * min(rounds) / len(sentences)


if __name__ == "__main__":
    raise SystemExit(main())
